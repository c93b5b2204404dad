"""What `lint --fix` makes of broken graphs: no violation, and the outputs as they were, where it says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from broken_graphs import BROKEN as GRAPHS
from broken_graphs import chain, conv, matrix, node, scales, weights
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto
from rule_claims import feeds_for, standard

from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.lint.draft import Draft
from edge_sdk.calibration.lint.linter import lint
from edge_sdk.calibration.lint.mend import mend
from edge_sdk.calibration.lint.mend_copies import paired_behind_copies
from edge_sdk.calibration.lint.mend_weights import dequantized
from edge_sdk.errors import BadInput

ROUNDING = 1e-5
"""Of the largest value: float32 sums in another order. A step of int8, as a tie may fall the other way, is allowed on
top where a quantized operator is written as Q/DQ."""
STEPPED = ("L29", "L31")

FIXED = [
    (rule, build) for rule, build in GRAPHS
    if rule != "L70" and any(v.fix for v in lint(build().SerializeToString()) if v.rule == rule)
]  # fmt: skip
NAMES = [f"{rule}-{number}" for number, (rule, _) in enumerate(FIXED)]


def gap(before: ModelProto, after: ModelProto) -> float:
    """The largest difference of outputs by the largest value, in ONNX Runtime to the letter."""
    feeds = feeds_for(before)
    wanted, got = standard(before, feeds), standard(after, feeds)
    assert wanted is not None
    assert got is not None
    worst = 0.0
    for left, right in zip(wanted, got, strict=True):
        assert left.shape == right.shape
        assert left.dtype == right.dtype
        scale = float(np.abs(left.astype(np.float64)).max(initial=1e-30))
        worst = max(worst, float(np.abs(left.astype(np.float64) - right).max(initial=0.0)) / scale)
    return worst


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("rule", "build"), FIXED, ids=NAMES)
def test_an_exact_mend_keeps_every_output(rule: str, build: Callable[[], ModelProto]) -> None:
    model = build()
    made, done = mend(model, exact=True)
    assert all(one.exact for one in done)
    left = {v.rule for v in lint(made.SerializeToString())}
    assert (rule in left) is not any(one.rule == rule for one in done)
    if standard(model, feeds_for(model)) is None:  # a rule that ONNX Runtime refuses: nothing to compare with
        assert standard(made, feeds_for(model)) is not None or not done
        return
    assert gap(model, made) <= (0.03 if rule in STEPPED else ROUNDING)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("rule", "build"), GRAPHS, ids=[f"{rule}-{n}" for n, (rule, _) in enumerate(GRAPHS)])
def test_what_a_rule_says_fixes_it_does(rule: str, build: Callable[[], ModelProto]) -> None:
    """fix == "exact" if and only if the exact mend ends it, "values" if only the other one does."""
    model = build()
    said = {v.fix for v in lint(model.SerializeToString()) if v.rule == rule}
    assert said == {"exact" if ends(model, rule, exact=True) else "values" if ends(model, rule, exact=False) else ""}


def ends(model: ModelProto, rule: str, *, exact: bool) -> bool:
    try:
        made, _ = mend(model, exact=exact)
    except BadInput:  # weights that are not there
        return False
    return rule not in {v.rule for v in lint(made.SerializeToString())}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("rule", "build"), FIXED, ids=NAMES)
def test_fix_all_leaves_no_violation_that_can_be_mended(rule: str, build: Callable[[], ModelProto]) -> None:
    model = build()
    made, done = mend(model, exact=False)
    left = [v for v in lint(made.SerializeToString()) if v.rule == rule]
    assert [str(v) for v in left if v.fix] == []
    assert any(one.rule == rule for one in done) or left == []
    again, nothing = mend(made, exact=False)
    assert nothing == ()
    assert again.graph.node == made.graph.node
    if standard(model, feeds_for(model)) is not None and rule not in ("L09", "L21"):  # there the old values are wrong
        assert gap(model, made) < 0.3  # coarser grids; a wrong rewrite is off by the signal


@given(point=st.integers(0, 255), step=st.floats(2.0**-13, 8.0, width=32))
def test_symmetric_int8_reaches_as_far_as_what_it_replaces(point: int, step: float) -> None:
    made, _ = mend(conv(z=np.uint8(point), s=np.float32(step)), exact=False)
    index = Index.of(made)
    scale = float(index.constants[next(n for n in made.graph.node if n.op_type == "QuantizeLinear").input[1]])
    assert 127 * scale >= (255 - point) * step * (1 - 1e-6)
    assert 128 * scale >= point * step * (1 - 1e-6)
    assert min(127 * scale / max((255 - point) * step, 1e-30), 128 * scale / max(point * step, 1e-30)) <= 1 + 1e-5


@given(shift=st.integers(-60, 60))
def test_a_weight_whose_numbers_fit_without_its_zero_point_is_the_same_weight(shift: int) -> None:
    model = matrix(
        1, w=(np.arange(16) - 8).astype(np.int8).reshape(4, 4) + np.int8(shift), wz=np.full(4, shift, np.int8)
    )
    made, done = mend(model)
    before, after = (dequantized(_weight(one), Index.of(one)) for one in (model, made))
    assert np.array_equal(before, after)
    assert [one.rule for one in done] == (["L06"] if shift else [])


def _weight(model: ModelProto) -> onnx.NodeProto:
    stored = {t.name for t in model.graph.initializer}
    return next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in stored)


def test_stale_types_are_dropped() -> None:
    """ONNX Runtime refuses a graph whose value_info still says uint8 where int8 has come in."""
    model = conv(z=np.uint8(128))
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("q", onnx.TensorProto.UINT8, [1, 4, 8, 8]))
    made, _ = mend(model)
    assert standard(made, feeds_for(model)) is not None
    assert gap(model, made) == 0


def test_a_graph_of_uint8_pictures_that_is_moved_before_its_cast_is_cast_first() -> None:
    model = chain(
        node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("Cast", "t", "f", to=1), node("Relu", "f"),
        kind=onnx.TensorProto.UINT8,
    )  # fmt: skip
    made, done = mend(model)
    assert [n.op_type for n in made.graph.node] == ["Cast", "Transpose", "Relu"]
    assert [one.rule for one in done] == ["L38"]
    assert gap(model, made) == 0


def test_the_callers_model_stays_as_it_was() -> None:
    model = conv(z=np.uint8(128))
    before = model.SerializeToString()
    mend(model)
    assert model.SerializeToString() == before


def test_a_sound_graph_comes_back_as_it_is() -> None:
    model = conv()
    made, done = mend(model, exact=False)
    assert done == ()
    assert made.graph.node == model.graph.node
    assert made.graph.initializer == model.graph.initializer


def test_weights_in_another_file_are_refused_with_what_to_do() -> None:
    model = next(build() for rule, build in GRAPHS if rule == "L70")
    with pytest.raises(BadInput, match=r"1 weights lie outside the graph.*Save the model with its weights inside"):
        mend(model)


@pytest.mark.parametrize("target", ["tensorrt", "openvino", "onnxruntime", ""])
@pytest.mark.parametrize(
    ("first", "second", "behind"),
    [
        ((0.02, 0), (0.02, 0), (0.02, 0)), ((0.02, 0), (0.02, 100), (0.02, 100)), ((0.02, 0), (0.02, 128), (0.02, 128)),
        ((0.02, 150), (0.02, 150), (0.04, 150)), ((0.02, 150), (0.02, 150), (0.02, 140)),
    ],
)  # fmt: skip
def test_a_pair_is_a_repetition_only_on_the_same_grid(
    first: tuple[float, int], second: tuple[float, int], behind: tuple[float, int], target: str
) -> None:
    grids, names = {"first": first, "second": second, "behind": behind}, []
    constants = []
    for name, (step, point) in grids.items():
        constants += [
            onnx.numpy_helper.from_array(np.asarray(step, np.float32), f"{name}_scale"),
            onnx.numpy_helper.from_array(np.asarray(point, np.uint8), f"{name}_zero"),
        ]
    tensor = "x"
    for op, grid in (("Q", "first"), ("DQ", "first"), ("Q", "second"), ("DQ", "behind")):
        kind = {"Q": "QuantizeLinear", "DQ": "DequantizeLinear"}[op]
        names.append(onnx.helper.make_node(kind, [tensor, f"{grid}_scale", f"{grid}_zero"], [f"{tensor}{op}"]))
        tensor = f"{tensor}{op}"
    names.append(onnx.helper.make_node("Relu", [tensor], ["y"]))
    value = onnx.helper.make_tensor_value_info
    model = onnx.helper.make_model(
        onnx.helper.make_graph(names, "twice", [value("x", 1, [1, 8])], [value("y", 1, [1, 8])], constants),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
    )
    made, _ = mend(model, [target] if target else [])
    assert gap(model, made) <= 1e-6


@pytest.mark.parametrize(
    ("dims", "places"),
    [
        ([10**6, 10**6], [0]), ([2**40, 2**40], [0]), ([2], [2]), ([2], [-1]), ([-2, 2], [0]), ([2], [0, 1]),
        ([2, 2], [[0, 2]]),
    ],
)  # fmt: skip
def test_a_sparse_weight_that_is_not_what_it_says_is_refused(dims: list[int], places: list[Any]) -> None:
    model = chain()
    values = onnx.numpy_helper.from_array(np.ones(1, np.float32), "s")
    where = onnx.numpy_helper.from_array(np.asarray(places, np.int64), "places")
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, where, dims))
    with pytest.raises(BadInput, match="sparse tensor s"):
        mend(model)


def test_the_ratio_of_channels_goes_into_the_bias_as_well() -> None:
    """A depthwise convolution reads a tensor with a scale per channel; what makes it has a bias of those sizes."""
    model = conv(closed=False, b=np.array([3.0, 0.9], np.float32))
    model.graph.node[-1].name, model.graph.node[-1].output[0] = "makes", "c"
    model.graph.node.extend([
        node("QuantizeLinear", "c steps points", "cq", axis=1),
        node("DequantizeLinear", "cq steps points", "cd", axis=1),
        node("DequantizeLinear", "v vs points", "vd", axis=0), node("Conv", "cd vd", group=2),
    ])  # fmt: skip
    constants = {
        "steps": np.array([0.04, 0.01], np.float32), "points": np.zeros(2, np.int8), "vs": scales(2),
        "v": np.full((2, 1, 1, 1), 50, np.int8),
    }  # fmt: skip
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    made, done = mend(model, exact=False)
    assert any("the ratio of each channel is in the weights" in one.what for one in done if one.rule == "L14")
    assert gap(model, made) < 0.02


def test_the_border_of_a_centred_picture_is_minus_128() -> None:
    """The convolution padded with 0, which is -128 now."""
    model = conv(y=node("Conv", "f wd b", pads=[1] * 4), w=weights(2, 4, 3, 3), so=np.float32(30))
    del model.graph.node[:2]  # the pair in front
    model.graph.node.insert(0, node("Cast", "x", "f", to=onnx.TensorProto.FLOAT))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    made, done = mend(model)
    assert any("reads the picture less 128" in one.what for one in done)
    assert gap(model, made) <= ROUNDING


@pytest.mark.parametrize(("other", "pairs"), [(0, 4), (100, 3)])
def test_a_pair_behind_a_concat_stands_where_all_that_is_joined_is_on_one_grid(other: int, pairs: int) -> None:
    model = conv(
        q=node("QuantizeLinear", "x s z", "q"), d=node("DequantizeLinear", "q s z", "d"), z=np.uint8(0),
        p=node("QuantizeLinear", "x s z2", "p"), e=node("DequantizeLinear", "p s z2", "e"), z2=np.uint8(other),
        j=node("Concat", "d e", "j", axis=1), wd=node("DequantizeLinear", "w ws wz", "wd", axis=0),
        y=node("Conv", "j wd b"), w=weights(2, 8, 1, 1),
    )  # fmt: skip
    draft = Draft(model, exact=True)
    paired_behind_copies(draft, {one.name for one in model.graph.node if one.op_type == "Conv"})
    assert sum(one.op_type == "QuantizeLinear" for one in draft.model.graph.node) == pairs
    assert gap(model, draft.model) == 0
