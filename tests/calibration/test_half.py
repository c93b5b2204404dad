"""The fp16 variant: every tensor's type stands in the graph, and what could overflow stays float."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from calibration_nets import TAIL, Builder, mobile, pictures, raw_pdn, run
from onnx import ModelProto, TensorProto, shape_inference

from edge_sdk.calibration import QuantizeOptions, quantize
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.rewrite import half_range

HALF = QuantizeOptions(variants=("fp16",), keep_fp32=TAIL, threads=1)


def halved(model: ModelProto, options: QuantizeOptions = HALF) -> ModelProto:
    made = quantize(model.SerializeToString(), pictures(2), options=options)
    return onnx.load_from_string(made.variants[0].graph)


def kinds(model: ModelProto) -> dict[str, int]:
    """Tensor -> type, by strict inference: an operator of mixed types would not pass."""
    full = shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    found = {v.name: v.type.tensor_type.elem_type for v in (*full.value_info, *full.input, *full.output)}
    return found | {t.name: t.data_type for t in full.initializer}


@pytest.mark.parametrize("net", [raw_pdn, mobile])
def test_convolutions_are_half_while_inputs_outputs_and_tail_are_not(net: type) -> None:
    model = halved(net())
    types = kinds(model)
    for node in model.graph.node:
        made = types[node.output[0]]
        if node.op_type == "Conv":
            assert {types[name] for name in node.input} == {made} == {TensorProto.FLOAT16}
        if node.name in TAIL:
            assert made == TensorProto.FLOAT
    assert [i.type.tensor_type.elem_type for i in model.graph.input] == [TensorProto.UINT8]
    assert [o.type.tensor_type.elem_type for o in model.graph.output] == [TensorProto.FLOAT]


def test_the_values_stay_within_half_precision() -> None:
    net, feeds = mobile(), pictures(1, seed=9)[0]
    half = run(halved(net).SerializeToString(), feeds)["map"]
    np.testing.assert_allclose(half, run(net.SerializeToString(), feeds)["map"], rtol=0.02, atol=0.01)


def scaled_conv(b: Builder, x: str, before: int, scale: float) -> str:
    weight = (b.rng.standard_normal((4, before, 1, 1)) * scale).astype(np.float32)
    return b.op("Conv", x, b.constant(weight), kernel_shape=[1, 1])


def large_product(cut: Any) -> dict[str, set[int]]:
    """Types by operator of a net with a product of about 1e4 between convolutions. cut: one factor goes through it."""
    b = Builder(np.random.default_rng(0))
    picture = b.picture(normalised=True)
    product = b.op(
        "Mul", b.relu(scaled_conv(b, picture, 3, 200.0)), cut(b, scaled_conv(b, picture, 3, 200.0)), name="product"
    )
    weight = (b.rng.standard_normal((4, 4, 1, 1)) / 1e3).astype(np.float32)
    small = b.op("Conv", product, b.constant(weight), name="reads")
    model = halved(b.model({"out": b.conv(b.relu(small), 4, 4)}), QuantizeOptions(variants=("fp16",), threads=1))
    types = kinds(model)
    names = {n.name: types[n.output[0]] for n in model.graph.node}
    last = [types[n.output[0]] for n in model.graph.node if n.op_type == "Conv"][-1]
    return {"product": {names["product"]}, "reads": {names["reads"]}, "last": {last}}


def test_what_comes_near_the_largest_half_number_stays_float() -> None:
    found = large_product(lambda b, x: b.relu(x))
    assert found == {"product": {TensorProto.FLOAT}, "reads": {TensorProto.FLOAT}, "last": {TensorProto.FLOAT16}}


def test_what_is_far_below_zero_stays_float_as_well() -> None:
    found = large_product(lambda b, x: b.clip(x, -1e4, 0.0))
    assert found == {"product": {TensorProto.FLOAT}, "reads": {TensorProto.FLOAT}, "last": {TensorProto.FLOAT16}}


def test_a_square_stays_float_and_a_product_of_two_does_not() -> None:
    b = Builder(np.random.default_rng(0))
    one, other = (b.conv(b.picture(normalised=True), 3, 4) for _ in range(2))
    squared, product = b.op("Mul", one, one), b.op("Mul", one, other)
    out = b.conv(b.op("Add", squared, product), 4, 4)
    model = halved(b.model({"out": out}), QuantizeOptions(variants=("fp16",), threads=1))
    types = kinds(model)
    made = [n for n in model.graph.node if n.op_type == "Mul" and len(n.input) == 2][-2:]
    assert [types[n.output[0]] for n in made] == [TensorProto.FLOAT, TensorProto.FLOAT16]


def test_the_scales_of_a_resize_stay_float() -> None:
    b = Builder(np.random.default_rng(0))
    h = b.conv(b.picture(normalised=True), 3, 4)
    larger = b.op("Resize", h, "", b.constant(np.asarray([1, 1, 2, 2], np.float32)), mode="linear")
    model = halved(b.model({"out": b.conv(larger, 4, 4)}), QuantizeOptions(variants=("fp16",), threads=1))
    types = kinds(model)
    (node,) = (n for n in model.graph.node if n.op_type == "Resize")
    assert (types[node.input[0]], types[node.input[2]]) == (TensorProto.FLOAT16, TensorProto.FLOAT)


def test_an_output_that_is_half_inside_is_cast_back_under_its_own_name() -> None:
    b = Builder(np.random.default_rng(0))
    h = b.conv(b.picture(normalised=True), 3, 4)
    model = halved(b.model({"out": h, "again": b.relu(h)}), QuantizeOptions(variants=("fp16",), threads=1))
    assert [o.name for o in model.graph.output] == ["out", "again"]
    assert all(kinds(model)[o.name] == TensorProto.FLOAT for o in model.graph.output)


EPSILON = np.float32(1e-12)


def written_out(form: str, *, features: int = 16) -> ModelProto:
    """A LayerNorm in single operators, as exporters write it, between two products. form: how it divides."""
    b = Builder(np.random.default_rng(0))
    weights = [(b.rng.standard_normal((features, features)) / 4).astype(np.float32) for _ in range(2)]
    x = b.op("MatMul", "rows", b.constant(weights[0]))
    centred = b.op("Sub", x, b.op("ReduceMean", x, axes=[-1]))
    variance = b.op("ReduceMean", b.op("Mul", centred, centred), axes=[-1])
    deviation = b.op("Sqrt", b.op("Add", variance, b.constant(EPSILON), name="add_epsilon"))
    if form == "division":
        normal = b.op("Div", centred, deviation)
    else:
        inverse = (
            b.op("Reciprocal", deviation) if form == "reciprocal" else b.op("Div", b.constant(np.float32(1)), deviation)
        )
        normal = b.op("Mul", centred, inverse, name="by_inverse")
    out = b.op("MatMul", normal, b.constant(weights[1]))
    graph = onnx.helper.make_graph(
        [*b.nodes, onnx.helper.make_node("Identity", [out], ["out"], "end")], "norm",
        [onnx.helper.make_tensor_value_info("rows", TensorProto.FLOAT, [4, features])],
        [onnx.helper.make_tensor_value_info("out", TensorProto.FLOAT, [4, features])], b.constants,
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    return shape_inference.infer_shapes(model)


def halved_without_care(model: ModelProto) -> ModelProto:
    """Every float tensor in half, as a plain converter does it."""
    half = ModelProto()
    half.CopyFrom(model)
    for info in (*half.graph.input, *half.graph.output):
        info.type.tensor_type.elem_type = TensorProto.FLOAT16
    half.graph.ClearField("value_info")
    for tensor in half.graph.initializer:
        with np.errstate(under="ignore"):
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
            )
    return half


@pytest.mark.parametrize("form", ["division", "reciprocal", "one divided by"])
def test_a_norm_of_constant_rows_is_finite(form: str) -> None:
    """A black picture: rows of one value have no variance, and 1e-12 is 0 in half. No sample shows such a row."""
    model = written_out(form)
    rng = np.random.default_rng(1)
    samples = [{"rows": rng.standard_normal((4, 16)).astype(np.float32)} for _ in range(4)]
    made = quantize(model.SerializeToString(), samples, options=QuantizeOptions(variants=("fp16",), threads=1))
    black = {"rows": np.zeros((4, 16), np.float32)}
    naive = run(halved_without_care(model).SerializeToString(), {"rows": black["rows"].astype(np.float16)})["out"]
    assert np.isnan(naive).all()
    assert np.array_equal(run(made.variants[0].graph, black)["out"], run(model.SerializeToString(), black)["out"])
    got, wanted = (run(graph, samples[0])["out"] for graph in (made.variants[0].graph, model.SerializeToString()))
    np.testing.assert_allclose(got, wanted, rtol=0.01, atol=0.01)
    kept = [note for note in made.report.notes if note.startswith("fp16: ")]
    assert any("add_epsilon stays in float32" in note and "1e-12" in note for note in kept)
    if form != "division":
        assert any("by_inverse stays in float32" in note and "may reach 1e+06" in note for note in kept)


@pytest.mark.parametrize("guard", ["Add", "Max", "Clip"])
def test_each_operator_that_keeps_a_divisor_from_zero_says_how_far_the_quotient_reaches(guard: str) -> None:
    model = written_out("reciprocal")
    next(node for node in model.graph.node if node.name == "add_epsilon").op_type = guard
    found = half_range.half_nodes(Index.of(model), {}, frozenset())
    assert "may reach 1e+06" in found.lost["by_inverse"]


@pytest.mark.parametrize("op", ["Sqrt", "Reciprocal", "Add"])
def test_an_operator_of_another_domain_keeps_nothing_from_zero(op: str) -> None:
    model = written_out("reciprocal")
    next(node for node in model.graph.node if node.op_type == op).domain = "vendor"
    assert "by_inverse" not in half_range.half_nodes(Index.of(model), {}, frozenset()).lost


def test_types_of_a_norm_stand_in_the_graph() -> None:
    model = written_out("reciprocal")
    samples = [{"rows": np.random.default_rng(1).standard_normal((4, 16)).astype(np.float32)}]
    made = quantize(model.SerializeToString(), samples, options=QuantizeOptions(variants=("fp16",), threads=1))
    half = onnx.load_from_string(made.variants[0].graph)
    types = kinds(half)
    by_op = {
        op: {types[n.output[0]] for n in half.graph.node if n.op_type == op} for op in ("MatMul", "Reciprocal", "Sqrt")
    }
    assert by_op["MatMul"] == {TensorProto.FLOAT16}
    assert by_op["Reciprocal"] == by_op["Sqrt"] == {TensorProto.FLOAT}


@pytest.mark.parametrize("mask", [-1e9, -3e38, -1e4])
def test_a_mask_beyond_half_keeps_its_sum_in_float(mask: float) -> None:
    """-3e38 is -inf in half, and a row that is masked everywhere NaN after Softmax."""
    b = Builder(np.random.default_rng(0))
    weight = (b.rng.standard_normal((16, 16)) / 4).astype(np.float32)
    hidden = np.zeros((1, 16), np.float32)
    hidden[:, 8:] = mask
    masked = b.op("Add", b.op("MatMul", "rows", b.constant(weight)), b.constant(hidden), name="masked")
    out = b.op("MatMul", b.op("Softmax", masked), b.constant(weight))
    graph = onnx.helper.make_graph(
        [*b.nodes, onnx.helper.make_node("Identity", [out], ["out"], "end")], "mask",
        [onnx.helper.make_tensor_value_info("rows", TensorProto.FLOAT, [4, 16])],
        [onnx.helper.make_tensor_value_info("out", TensorProto.FLOAT, [4, 16])], b.constants,
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    samples = [{"rows": np.random.default_rng(1).standard_normal((4, 16)).astype(np.float32)}]
    made = quantize(model.SerializeToString(), samples, options=QuantizeOptions(variants=("fp16",), threads=1))
    got, wanted = (run(graph, samples[0])["out"] for graph in (made.variants[0].graph, model.SerializeToString()))
    np.testing.assert_allclose(got, wanted, rtol=0.01, atol=0.01)
    assert any("masked stays in float32" in note for note in made.report.notes)


@pytest.mark.parametrize(("size", "half"), [(1.0, True), (2.0**-10, True), (1e-5, False), (1e-8, False)])
def test_weights_too_small_for_digits_stay_float(size: float, half: bool) -> None:
    """Below 6.1e-5 half numbers have fewer than 11 bits, below 6e-8 none."""
    b = Builder(np.random.default_rng(0))
    h = b.conv(b.picture(normalised=True), 3, 4)
    small = b.op("Conv", h, b.constant((b.rng.standard_normal((4, 4, 1, 1)) * size).astype(np.float32)), name="small")
    model = halved(
        b.model({"out": b.conv(b.op("Sigmoid", small), 4, 4)}), QuantizeOptions(variants=("fp16",), threads=1)
    )
    types = kinds(model)
    (node,) = (n for n in model.graph.node if n.name == "small")
    assert (types[node.input[1]] == TensorProto.FLOAT16) is half


def test_arithmetic_of_the_picture_stays_float() -> None:
    """All of 0..255 and each constant would fit half numbers: it stays for its digits."""
    b = Builder(np.random.default_rng(0))
    scaled = b.op("Mul", b.picture(), b.constant(np.full((1, 3, 1, 1), 1 / 128, np.float32)), name="scales")
    shifted = b.op("Sub", scaled, b.constant(np.full((1, 3, 1, 1), 0.99, np.float32)), name="shifts")
    out = b.conv(b.relu(b.op("Conv", shifted, b.constant(np.ones((4, 3, 3, 3), np.float32)), pads=[1] * 4)), 4, 4)
    model = halved(b.model({"out": out}), QuantizeOptions(variants=("fp16",), threads=1))
    types = kinds(model)
    made = {n.name: types[n.output[0]] for n in model.graph.node if n.op_type in ("Mul", "Sub", "Conv")}
    assert [made.pop(name) for name in ("scales", "shifts")] == [TensorProto.FLOAT] * 2
    assert set(made.values()) == {TensorProto.FLOAT16}
