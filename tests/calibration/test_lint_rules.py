"""Each rule of the linter against the smallest graph that breaks it, and silence where nothing is broken."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import pytest
from broken_graphs import (
    BROKEN,
    FLOAT,
    average,
    biased_product,
    conv,
    dropout,
    edited,
    free_resize,
    if_of,
    matrix,
    model_of,
    node,
    of_rank,
    products,
    resize,
    single,
)  # fmt: skip
from calibration_nets import TAIL, mobile, pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto
from random_graphs import Net

from edge_sdk.calibration import QuantizeOptions, quantize
from edge_sdk.calibration.lint.linter import lint
from edge_sdk.calibration.lint.mend import mend
from edge_sdk.calibration.lint.rule_table import FIRST, RULES
from edge_sdk.calibration.rewrite.clean import tidy
from edge_sdk.errors import BadInput, BadUsage, EdgeError

# What the smallest graph can't help breaking too: a scale is a constant, standard Attention came with opset 23, and a
# pair before nothing but float weights is one that serves no int8 operator.
ALSO = {"L79": {"L68"}, "L16": {"L62"}, "L66": {"L68"}, "L85": {"L26"}}


def unnamed(model: ModelProto) -> None:
    for one in model.graph.node:
        one.ClearField("name")


@pytest.mark.parametrize(
    "build",
    [lambda: edited(unnamed), lambda: model_of([node("Relu", "x")], {}, shape=("N", 4, "H", "W"))],
    ids=["nodes without names", "free axes beside the batch"],
)
def test_what_every_runtime_takes_breaks_no_rule(build: Callable[[], ModelProto]) -> None:
    """TensorRT builds with a profile for every free axis, whose largest sizes the bundle states."""
    assert lint(build().SerializeToString()) == ()


@pytest.mark.parametrize(("rule", "build"), BROKEN, ids=[f"{rule}-{n}" for n, (rule, _) in enumerate(BROKEN)])
def test_each_rule_alone_is_found_in_its_smallest_graph(rule: str, build: Callable[[], ModelProto]) -> None:
    found = lint(build().SerializeToString())
    assert {v.rule for v in found} - {rule} <= ALSO.get(rule, set())
    assert rule in {v.rule for v in found}
    assert all(v.what and v.hint and v.node for v in found)


def test_every_rule_has_a_graph() -> None:
    assert {one.number for one in (FIRST, *RULES)} == {rule for rule, _ in BROKEN}


@pytest.mark.parametrize(
    "build",
    [
        conv,
        lambda: matrix(1),
        lambda: products(rows=16),
        lambda: biased_product(20),
        lambda: biased_product(shape=(3, 4)),
        average,
        resize,
        lambda: single("Relu"),
        lambda: dropout(training=False),
        lambda: dropout(training=None),
        lambda: dropout(ratio=0.0),
        lambda: single("AveragePool", kernel_shape=[2, 2], dilations=[1, 1], opset=19),
        lambda: model_of([node("Cast", "x", to=FLOAT)], {}, kind=TensorProto.UINT8),
    ],
)
def test_sound_graphs_pass_in_silence(build: Callable[[], ModelProto]) -> None:
    assert lint(build().SerializeToString()) == ()


@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize(("op", "rule", "right"), [("Conv", "L08", 0), ("ConvTranspose", "L10", 1)])
def test_the_axis_of_output_channels_is_found_at_any_rank_and_counted_from_either_end(
    op: str, rule: str, right: int, spatial: int
) -> None:
    weight = (4, 4, *[1] * spatial)
    for axis in (0, 1):
        for counted in (axis, axis - len(weight)):
            broken = {v.rule for v in lint(of_rank(op, weight, counted).SerializeToString())}
            assert (rule in broken) is (axis != right), (counted, broken)


def test_a_rule_counts_only_for_those_it_affects() -> None:
    shifted = conv(z=np.uint8(128)).SerializeToString()
    assert "L02" in {v.rule for v in lint(shifted, ("tensorrt",))}
    assert lint(shifted, ("onnxruntime", "openvino")) == ()


def test_the_layout_is_evaluated_only_for_a_single_runtime() -> None:
    options = QuantizeOptions(variants=("int8",), keep_fp32=TAIL, threads=1)
    made = quantize(mobile().SerializeToString(), pictures(1), options=options)
    a, b = (made.get("int8", layout).graph for layout in ("conv-relu-q", "conv-q-relu-q"))
    assert lint(a) == lint(a, ("tensorrt",)) == lint(b, ("onnxruntime",)) == ()
    assert {v.rule for v in lint(a, ("onnxruntime",))} == {"L25"}


def test_between_convolution_and_relu_a_pair_is_one_step_more_for_tensorrt() -> None:
    model = conv(y=node("Conv", "d wd b", "c"), closed=False)
    model.graph.node.extend(
        [node("QuantizeLinear", "c s z", "cq"), node("DequantizeLinear", "cq s z", "cd"), node("Relu", "cd")]
    )
    assert {v.rule for v in lint(model.SerializeToString(), ("tensorrt",))} == {"L24"}
    assert lint(model.SerializeToString()) == ()


def test_a_pair_that_others_read_as_well_can_not_stand_behind_the_relu() -> None:
    model = conv(y=node("Conv", "d wd b", "c"), closed=False)
    model.graph.node.extend([
        node("QuantizeLinear", "c s z", "cq"), node("DequantizeLinear", "cq s z", "cd"), node("Relu", "cd", "r"),
        node("Add", "cd r"),
    ])  # fmt: skip
    assert "L24" not in {v.rule for v in lint(model.SerializeToString(), ("tensorrt",))}


def test_a_node_without_a_name_is_called_by_operator_and_output() -> None:
    model = conv(z=np.int8(3))
    unnamed(model)
    assert {v.node for v in lint(model.SerializeToString())} == {"QuantizeLinear -> q", "DequantizeLinear -> d"}


@pytest.mark.parametrize("rule", ["L32", "L41", "L49", "L51", "L55", "L03"])
def test_graphs_inside_a_graph_are_looked_into(rule: str) -> None:
    inner = next(build() for number, build in BROKEN if number == rule)
    model = if_of(inner)
    wanted = [v for v in lint(inner.SerializeToString()) if v.rule == rule]
    found = [v for v in lint(model.SerializeToString()) if v.rule == rule]
    assert {v.node for v in found} == {
        f"choice/{part}_branch/{part}_{v.node}" for v in wanted for part in ("then", "else")
    }


def test_a_call_of_a_function_is_no_foreign_operator_and_its_body_is_looked_into() -> None:
    model = next(build() for number, build in BROKEN if number == "L33")
    model.functions[0].node[0].op_type = "NonZero"
    assert {(v.rule, v.node) for v in lint(model.SerializeToString())} == {("L33", "F"), ("L51", "F/NonZero -> b")}


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), data=st.data())
def test_whatever_parses_is_linted_without_an_exception(seed: int, data: st.DataObject) -> None:
    """Random graphs with nodes that lost inputs, outputs, types or names, and weights of another size."""
    model = Net(seed % 60).model()
    for _ in range(data.draw(st.integers(0, 4))):
        broken = model.graph.node[data.draw(st.integers(0, len(model.graph.node) - 1))]
        match data.draw(st.sampled_from(["inputs", "outputs", "type", "name", "attributes", "initializer", "domain"])):
            case "inputs":
                del broken.input[:]
            case "outputs":
                del broken.output[:]
            case "type":
                broken.op_type = data.draw(
                    st.sampled_from(["QuantizeLinear", "DequantizeLinear", "Conv", "Resize", ""])
                )
            case "name":
                broken.name = model.graph.node[0].name
            case "attributes":
                del broken.attribute[:]
            case "initializer" if model.graph.initializer:
                del model.graph.initializer[0]
            case _:
                broken.domain = "elsewhere"
    for violation in lint(model.SerializeToString()):
        assert violation.rule
        assert violation.node
        assert violation.what
    with contextlib.suppress(EdgeError):
        mend(model, exact=False)


def test_a_weight_that_can_not_be_read_is_named() -> None:
    model = conv()
    model.graph.initializer[0].raw_data = b"abc"
    with pytest.raises(BadInput, match=r"m\.onnx: its tensor .* can't be read"):
        lint(model.SerializeToString(), where="m.onnx")


def test_rubbish_and_unknown_targets_are_refused() -> None:
    with pytest.raises(BadInput, match="not an ONNX graph"):
        lint(b"rubbish")
    with pytest.raises(BadUsage, match="not tflite"):
        lint(conv().SerializeToString(), ("tflite",))


def test_cleaning_mends_what_needs_no_choice() -> None:
    """Names, order, constants as nodes, inputs that are initializers, a Resize that loses the batch."""
    model = free_resize()
    model.graph.node[0].ClearField("name")
    model.graph.node[0].doc_string = "/home/somebody/net.py"
    mended = tidy(model)
    assert lint(mended.SerializeToString()) == ()
    assert b"somebody" not in mended.SerializeToString()
    assert mended.ir_version == 8
