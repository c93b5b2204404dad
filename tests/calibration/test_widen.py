"""Half and double precision become float32: the same stored values, the same answers but for the rounding of half."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge_sdk.calibration.rewrite.clean import clean
from edge_sdk.calibration.rewrite.widen import OTHERS, types_in, widened
from edge_sdk.errors import BadInput

KINDS = {TensorProto.FLOAT16: np.float16, TensorProto.DOUBLE: np.float64, TensorProto.BFLOAT16: ml_dtypes.bfloat16}


def network(kind: int, *, casts: bool = True) -> ModelProto:
    """x (float32, cast) or x of that type -> x W + b -> clipped, cast forth and back on the way."""
    rng = np.random.default_rng(2)
    weight, bias = rng.normal(size=(8, 4)).astype(KINDS[kind]), rng.normal(size=4).astype(KINDS[kind])
    start, zero = "h" if casts else "x", numpy_helper.from_array(np.zeros(1, KINDS[kind]))
    nodes = [helper.make_node("Cast", ["x"], ["h"], "in", to=kind)] if casts else []
    nodes += [
        helper.make_node("MatMul", [start, "W"], ["p"], "mul"),
        helper.make_node("Cast", ["p"], ["wide"], "up", to=TensorProto.FLOAT),
        helper.make_node("Cast", ["wide"], ["narrow"], "down", to=kind),
        helper.make_node("Constant", [], ["b"], "bias", value=numpy_helper.from_array(bias)),
        helper.make_node("Add", ["narrow", "b"], ["s"], "add"),
        helper.make_node("ConstantOfShape", ["two"], ["zero"], "zero", value=zero),
        helper.make_node("Max", ["s", "zero"], ["y"], "max"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT if casts else kind, ["N", 8])],
        [helper.make_tensor_value_info("y", kind, ["N", 4])],
        [numpy_helper.from_array(weight, "W"), numpy_helper.from_array(np.array([1]), "two")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("kind", KINDS, ids=["float16", "float64", "bfloat16"])
@pytest.mark.parametrize("casts", [True, False])
def test_nothing_but_float32_is_left_and_stored_values_are_the_same(kind: int, casts: bool) -> None:
    before = network(kind, casts=casts)
    after = widened(before)
    onnx.checker.check_model(after, full_check=True)
    assert types_in(before) == (OTHERS[kind],)
    assert types_in(after) == ()
    assert before == network(kind, casts=casts)  # a copy was made
    held = numpy_helper.to_array(after.graph.initializer[0])
    assert held.dtype == np.float32
    np.testing.assert_array_equal(held, numpy_helper.to_array(before.graph.initializer[0]).astype(np.float32))
    assert [node.op_type for node in clean(after).model.graph.node].count("Cast") == 0
    weight = held.astype(np.float64)
    x = np.random.default_rng(3).normal(size=(5, 8)).astype(np.float32)
    bias = helper.get_attribute_value(next(n for n in before.graph.node if n.name == "bias").attribute[0])
    wanted = np.maximum(x.astype(np.float64) @ weight + numpy_helper.to_array(bias).astype(np.float64), 0)
    np.testing.assert_allclose(run(after, x), wanted, rtol=1e-5, atol=1e-5)


def test_answers_differ_from_half_precision_by_its_rounding_alone() -> None:
    x = np.random.default_rng(4).normal(size=(6, 8)).astype(np.float32)
    before = network(TensorProto.FLOAT16)
    np.testing.assert_allclose(run(widened(before), x), run(before, x).astype(np.float32), rtol=5e-3, atol=5e-3)


def test_a_graph_of_float32_is_left_alone() -> None:
    model = widened(network(TensorProto.FLOAT16))
    assert widened(model) == model


def test_branches_and_functions_are_widened_too() -> None:
    kind = TensorProto.FLOAT16
    branches = []
    for name in ("then", "else"):
        node = helper.make_node("Cast", ["x"], [f"{name}_y"], name, to=kind)
        branches.append(
            helper.make_graph([node], name, [], [helper.make_tensor_value_info(f"{name}_y", kind, ["N", 8])])
        )
    chosen = helper.make_node("If", ["yes"], ["h"], "if", then_branch=branches[0], else_branch=branches[1])
    double = helper.make_function(
        "own", "Double", ["a"], ["d"],
        [
            helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.array(2, np.float16))),
            helper.make_node("Mul", ["a", "two"], ["d"]),
        ],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    graph = helper.make_graph(
        [chosen, helper.make_node("Double", ["h"], ["y"], "twice", domain="own")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8])],
        [helper.make_tensor_value_info("y", kind, ["N", 8])], [numpy_helper.from_array(np.array(True), "yes")],
    )  # fmt: skip
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("own", 1)],
        functions=[double],
        ir_version=9,
    )
    after = widened(model)
    assert types_in(after) == ()
    x = np.random.default_rng(5).normal(size=(2, 8)).astype(np.float32)
    np.testing.assert_array_equal(run(after, x), 2 * x)


def test_a_double_beyond_float32_is_refused_and_named() -> None:
    model = network(TensorProto.DOUBLE)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((8, 4), 1e300), "W"))
    with pytest.raises(BadInput, match=r"m.onnx: its constant W is beyond what float32 holds"):
        widened(model, where="m.onnx")


@given(bits=st.integers(0, 2**16 - 1), kind=st.sampled_from([np.float16, ml_dtypes.bfloat16]))
def test_every_stored_half_is_the_same_number(bits: int, kind: type) -> None:
    value = np.array([bits], np.uint16).view(kind)
    model = network(TensorProto.FLOAT16)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(value, "W"))
    held = numpy_helper.to_array(widened(model).graph.initializer[0])
    with np.errstate(invalid="ignore"):  # numpy warns of a signalling NaN
        np.testing.assert_array_equal(held, value.astype(np.float32))
