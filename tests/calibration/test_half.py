"""The fp16 variant: every tensor's type stands in the graph, and what could overflow stays float."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from calibration_nets import TAIL, Builder, mobile, pictures, raw_pdn, run
from onnx import ModelProto, TensorProto, shape_inference

from edge_sdk.calibration import QuantizeOptions, quantize

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


def test_what_comes_near_the_largest_half_number_stays_float() -> None:
    b = Builder(np.random.default_rng(0))
    large = b.op("Mul", b.conv(b.picture(normalised=True), 3, 4), b.constant(np.float32(9e3)))
    small = b.op("Mul", large, b.constant(np.float32(1e-4)))
    model = halved(b.model({"out": b.conv(small, 4, 4)}), QuantizeOptions(variants=("fp16",), threads=1))
    types = kinds(model)
    by_op = [types[n.output[0]] for n in model.graph.node if n.op_type in ("Conv", "Mul")]
    assert by_op[1:] == [TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT16]


def test_what_is_far_below_zero_stays_float_as_well() -> None:
    b = Builder(np.random.default_rng(0))
    low = b.op("Mul", b.relu(b.conv(b.picture(normalised=True), 3, 4)), b.constant(np.float32(-9e3)))
    small = b.op("Mul", low, b.constant(np.float32(-1e-4)))
    model = halved(b.model({"out": b.conv(small, 4, 4)}), QuantizeOptions(variants=("fp16",), threads=1))
    types = kinds(model)
    products = [types[n.output[0]] for n in model.graph.node if n.op_type == "Mul" and n.output[0] in types][-2:]
    assert products == [TensorProto.FLOAT, TensorProto.FLOAT]


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
