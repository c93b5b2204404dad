"""What each int8 operator loses by itself, and the share of multiply-adds in int8, as the report says them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from calibration_nets import Builder, mobile, pdn, pictures, raw_pdn
from onnx import ModelProto, numpy_helper

from edge_sdk.calibration import QuantizeOptions, graphs, quantize
from edge_sdk.calibration.comparison import fidelity
from edge_sdk.calibration.comparison.operator_errors import operator_errors
from edge_sdk.calibration.int8_graph import int8_operators
from edge_sdk.calibration.report import Quantized
from edge_sdk.calibration.rewrite.clean import clean
from edge_sdk.calibration.trials import Trials
from edge_sdk.export import calibrated


def products() -> ModelProto:
    """Three products of tokens with their biases, the last one an output of the graph."""
    b = Builder(np.random.default_rng(2))
    x = b.op("Reshape", b.picture(normalised=True), b.constant(np.array([-1, 24], np.int64)))
    for number, (before, after) in enumerate(((24, 32), (32, 32), (32, 16))):
        weight = b.rng.standard_normal((before, after)).astype(np.float32) / np.float32(np.sqrt(before))
        x = b.op("MatMul", x, b.constant(weight), name=f"product{number}")
        x = b.op("Add", x, b.constant(b.rng.standard_normal(after).astype(np.float32)))
    return b.model({"out": x}, batch=1)


def alone() -> ModelProto:
    """One convolution of a normalized picture."""
    b = Builder(np.random.default_rng(3))
    return b.model({"out": b.conv(b.picture(normalised=True), 3, 16)}, batch=1)


NETS: dict[str, Callable[[], ModelProto]] = {
    "two stacks": pdn, "the raw picture": raw_pdn, "depthwise": mobile, "products": products, "alone": alone,
}  # fmt: skip


def quantized(model: ModelProto, **options: object) -> Quantized:
    asked = QuantizeOptions(variants=("int8", "int8-w7"), threads=1, force=True, **options)  # type: ignore[arg-type]
    return quantize(model.SerializeToString(), pictures(3), options=asked)


def uneven() -> ModelProto:
    """Two convolutions, the channels between them of very different sizes: equalising rescales them."""
    b = Builder(np.random.default_rng(5))
    x = b.conv(b.picture(normalised=True), 3, 16)
    x = b.op("Relu", x)
    model = b.model({"out": b.conv(x, 16, 16)}, batch=1)
    first = next(one for one in model.graph.initializer if list(one.dims) == [16, 3, 3, 3])
    weight = numpy_helper.to_array(first) * np.geomspace(0.01, 10.0, 16, dtype=np.float32).reshape(-1, 1, 1, 1)
    first.CopyFrom(numpy_helper.from_array(weight.astype(np.float32), first.name))
    return model


def test_of_rescaled_channels_the_error_is_that_of_the_rescaled_layer() -> None:
    """An equalised graph answers as the float graph does, but its layers don't."""
    trials = Trials(range_methods=("minmax",), compared=2, equalise=True)
    made = quantized(uneven(), trials=trials)
    assert {one.mode for one in made.report.attempts if one.kept} == {"equalised"}
    errors = [error for row in made.report.layers for error in row.errors.values()]
    assert errors
    assert max(errors) < 0.1


@pytest.mark.parametrize("net", NETS)
def test_every_int8_operator_has_an_error_in_the_report(net: str) -> None:
    made = quantized(NETS[net](), first_conv="int8")
    for variant in ("int8", "int8-w7"):
        operators = int8_operators(graphs.parsed(made.get(variant, "conv-relu-q").graph))
        found = {row.node: row.errors[variant] for row in made.report.layers if variant in row.errors}
        assert found.keys() == set(operators)
        assert all(0.0 < error < 0.1 for error in found.values()), found
    table = calibrated.layers_by_error(made.report)
    assert table.header[2:] == ("int8", "int8-w7")
    assert len(table.rows) == min(len(made.report.layers), calibrated.MOST_LAYERS)


def test_the_error_of_a_lone_operator_is_that_of_the_graph() -> None:
    model = clean(alone()).model
    made = graphs.parsed(quantized(alone(), first_conv="int8").get("int8", "conv-relu-q").graph)
    before_q = next(node.input[0] for node in made.graph.node if node.output[0] == "out_q")
    reads = graphs.cut(made, [before_q])
    want = fidelity.outputs(model, pictures(2), 1)
    got = [one[before_q] for one in fidelity.outputs(reads, pictures(2), 1)]
    whole = fidelity.relative([one["out"] for one in want], got)
    (found,) = operator_errors(model, made, pictures(2), 1).values()
    assert found == pytest.approx(whole, rel=1e-3)


def test_an_operators_error_does_not_depend_on_what_is_int8_before_it() -> None:
    whole, part = quantized(products()), quantized(products(), exclude=("product0",))
    errors = [{row.node: row.errors["int8"] for row in one.report.layers} for one in (whole, part)]
    assert errors[0].keys() - errors[1].keys() == {"product0"}
    for node, error in errors[1].items():
        assert error == pytest.approx(errors[0][node], rel=1e-5)


def test_the_worst_comes_first() -> None:
    made = graphs.parsed(quantized(products()).get("int8-w7", "conv-relu-q").graph)
    found = list(operator_errors(clean(products()).model, made, pictures(2), 1).values())
    assert found == sorted(found, reverse=True)


def test_the_share_of_multiply_adds_in_int8_is_stated_by_kind() -> None:
    made = quantized(products(), exclude=("product0",))
    assert {(row.variant, row.kind) for row in made.report.kinds} == {("int8", "linear"), ("int8-w7", "linear")}
    row = made.report.kinds[0]
    assert row.int8_macs / row.macs == pytest.approx((32 * 32 + 32 * 16) / (24 * 32 + 32 * 32 + 32 * 16))
    said = " ".join(calibrated.sentences(made.report))
    assert "Multiply-adds of int8 and int8-w7: 66.7 % in int8: linear 67 %." in said
