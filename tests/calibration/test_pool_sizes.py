"""How many windows a pool has: by torch, ONNX Runtime, our inference, and by the mend of pools, which keeps it."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper
from rule_claims import standard, tensorrt_effect

from edge_sdk.calibration.graphs import with_types
from edge_sdk.calibration.lint.linter import lint
from edge_sdk.calibration.lint.mend import mend
from edge_sdk.errors import NotThere
from edge_sdk.runtimes import trt_build, trt_confirm
from edge_sdk.runtimes.ov import core_of
from edge_sdk.tensors import Array


def pool(op: str, sizes: tuple[int, int], *, after: int = 0, stated: bool = False, **attributes: object) -> ModelProto:
    """Pools of one kind in a row: 1 + after. stated: shapes as onnx's inference has them are in the file."""
    names = ["x", *(f"t{number}" for number in range(after)), "y"]
    nodes = [helper.make_node(op, [one], [other], name=other, **attributes) for one, other in itertools.pairwise(names)]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, [1, 2, *sizes])],
        [helper.make_tensor_value_info("y", 1, None)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model) if stated else model


def fed(model: ModelProto, seed: int = 0) -> dict[str, Array]:
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    return {"x": np.random.default_rng(seed).normal(size=shape).astype(np.float32)}


def shape_of(model: ModelProto) -> tuple[int, ...]:
    return tuple(d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim)


SIDES = st.integers(5, 14)
AXIS = st.tuples(st.integers(2, 4), st.integers(1, 4), st.integers(0, 1), st.integers(0, 1))
"""Kernel, stride, pads."""


@settings(max_examples=80, deadline=None)
@given(
    op=st.sampled_from(["AveragePool", "MaxPool", "LpPool"]), sizes=st.tuples(SIDES, SIDES), one=AXIS, other=AXIS,
    after=st.integers(0, 1), stated=st.booleans(), dilation=st.integers(1, 2),
)  # fmt: skip
def test_inference_says_what_the_runtime_answers(
    op: str, sizes: tuple[int, int], one: tuple[int, ...], other: tuple[int, ...], after: int, stated: bool,
    dilation: int,
) -> None:  # fmt: skip
    """Of pools behind pools, too, and where the file states what onnx's inference says."""
    kernel, stride, before, behind = zip(one, other, strict=True)
    model = pool(
        op, sizes, after=after, stated=stated, kernel_shape=kernel, strides=stride, pads=[*before, *behind],
        dilations=[dilation] * 2, ceil_mode=1,
    )  # fmt: skip
    answered = standard(model, fed(model))
    if answered is not None and answered[0].size:
        assert shape_of(with_types(model)) == answered[0].shape


def answers(model: ModelProto, feeds: dict[str, Array], runtime: str) -> Array | None:
    """None where the runtime does not load or run the graph."""
    if runtime == "onnxruntime":
        found = standard(model, feeds)
        return None if found is None else found[0]
    ov = pytest.importorskip("openvino")
    core = core_of(ov)
    try:
        return np.array(core.compile_model(core.read_model(model.SerializeToString()), "CPU")(feeds)[0])
    except RuntimeError:
        return None


def alike(one: Array | None, other: Array) -> bool:
    return one is not None and one.shape == other.shape and np.allclose(one, other, atol=1e-5)


KINDS = st.sampled_from(["MaxPool", "AveragePool", "AveragePool that counts", "LpPool"])


def rounded_up(
    kind: str, sizes: tuple[int, int], one: tuple[int, ...], other: tuple[int, ...], dilation: int, auto: bool
) -> ModelProto:
    """auto: VALID padding, which is none, in the place of pads."""
    kernel, stride, before, behind = zip(one, other, strict=True)
    padding = {"auto_pad": "VALID"} if auto else {"pads": [*before, *behind]}
    counts = {"count_include_pad": 1} if kind.endswith("counts") else {}
    return pool(
        kind.split()[0], sizes, kernel_shape=kernel, strides=stride, dilations=[dilation] * 2, ceil_mode=1, **padding,
        **counts,
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    kind=KINDS, sizes=st.tuples(SIDES, SIDES), one=AXIS, other=AXIS, dilation=st.integers(1, 2), auto=st.booleans(),
    free=st.tuples(st.booleans(), st.booleans()),
)  # fmt: skip
def test_the_linter_says_what_openvino_answers_otherwise_and_the_mend_ends_it(
    kind: str, sizes: tuple[int, int], one: tuple[int, ...], other: tuple[int, ...], dilation: int, auto: bool,
    free: tuple[bool, bool],
) -> None:  # fmt: skip
    """Of fixed sizes exactly; of free ones, where the sizes that are tried need not show it, never too little, as long
    as the kernel is no larger than what it is laid on. What is left as it is needs padding as large as the kernel, for
    which there are dilations."""
    model = rounded_up(kind, sizes, one, other, dilation, auto)
    feeds = fed(model)
    wanted = answers(model, feeds, "onnxruntime")
    assume(wanted is not None and wanted.size)
    assert wanted is not None
    dims = model.graph.input[0].type.tensor_type.shape.dim[2:]
    for dim, name, is_free, axis, side in zip(dims, "HW", free, (one, other), sizes, strict=True):
        if is_free:
            assume((axis[0] - 1) * dilation < side)
            dim.dim_param = name
    said = {v.rule for v in lint(model.SerializeToString(), ("openvino",))}
    right = alike(answers(model, feeds, "openvino"), wanted)
    assert said <= {"L46", "L82", "L83", "L84"}
    assert (not said) == right if not any(free) else said or right
    made, done = mend(model)
    assert alike(answers(made, feeds, "onnxruntime"), wanted)
    left = [v for v in lint(made.SerializeToString()) if v.fix]
    assert not left or dilation > 1
    assert not said or done or dilation > 1
    assert left or alike(answers(made, feeds, "openvino"), wanted)


@pytest.mark.parametrize("count", [0, 1], ids=["without the border", "with the border"])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(2, 2, 1), (3, 2, 1), (2, 3, 1), (3, 3, 1), (2, 3, 0)])
@pytest.mark.parametrize("side", range(6, 12))
def test_torch_counts_alike_and_openvino_answers_the_fixed_graph_as_torch_does(
    side: int, kernel: int, stride: int, pad: int, count: int
) -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.AvgPool2d(kernel, stride, pad, ceil_mode=True, count_include_pad=bool(count))
    model = pool(
        "AveragePool", (side, side), kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, ceil_mode=1,
        count_include_pad=count,
    )  # fmt: skip
    feeds = fed(model)
    wanted = layer(torch.from_numpy(feeds["x"])).numpy()
    assert shape_of(with_types(model)) == wanted.shape
    made, _ = mend(model, ("openvino",))
    assert alike(answers(made, feeds, "openvino"), wanted)


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool", "AveragePool that counts", "LpPool"])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(2, 2, 1), (3, 2, 1), (2, 4, 0), (4, 3, 1), (3, 4, 2)])
def test_one_fixed_graph_of_free_sizes_serves_all_of_them(kind: str, kernel: int, stride: int, pad: int) -> None:
    axis = (kernel, stride, pad, pad)
    model = rounded_up(kind, (6, 6), axis, axis, 1, auto=False)
    for dim, name in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], "HW", strict=True):
        dim.dim_param = name
    made, _ = mend(model)
    for side in range(4, 14):
        feeds = {"x": np.random.default_rng(side).normal(size=(1, 2, side, side + 1)).astype(np.float32)}
        wanted = answers(model, feeds, "onnxruntime")
        assert wanted is not None
        assert all(alike(answers(made, feeds, runtime), wanted) for runtime in ("onnxruntime", "openvino"))


@pytest.mark.parametrize("sizes", [(9, 9), (9, 8), (1, 9)], ids=str)
@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool", "AveragePool that counts", "LpPool"])
def test_tensorrt_counts_the_windows_of_the_fixed_graph(kind: str, sizes: tuple[int, int]) -> None:
    try:
        trt_build.load(trt_confirm.RUNTIME)
    except NotThere as exc:
        pytest.skip(f'TensorRT-RTX is not here ({exc}): pip install ".[tensorrt-rtx]" to run this')
    model = rounded_up(kind, sizes, (2, 2, 1, 1), (2, 2, 1, 1), 1, auto=False)
    assert tensorrt_effect(model)[0]
    assert tensorrt_effect(mend(model)[0]) == ("", "")


def test_with_automatic_padding_nothing_is_rounded_up() -> None:
    for op in ("MaxPool", "AveragePool", "LpPool"):
        model = pool(op, (9, 10), kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER", ceil_mode=1)
        assert lint(model.SerializeToString()) == ()
        assert mend(model)[1] == ()
