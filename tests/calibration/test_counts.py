"""What a runtime ran limits what may be asked of it; what was planned stays what was planned."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_sdk.calibration import Quantized, QuantizeOptions, quantize
from edge_sdk.calibration.comparison.counts import _limited
from edge_sdk.calibration.report import LayoutName, Variant
from edge_sdk.export import calibrating
from edge_sdk.export.calibrated import sentences
from edge_sdk.export.family import FloatGraph

A: LayoutName = "conv-relu-q"
B: LayoutName = "conv-q-relu-q"


def variant(layout: LayoutName, *runtimes: str) -> Variant:
    return Variant(
        variant="int8", layout=layout, graph=b"", int8_convolutions=4, int8_planned=4, runtimes=runtimes, plan="p"
    )


@pytest.mark.parametrize(("found", "asked"), [(-1, 4), (3, 3), (4, 4), (5, 4)])
def test_no_more_is_asked_for_than_ran_and_the_plan_stays(found: int, asked: int) -> None:
    made, note = _limited(variant(B), "onnxruntime", found)
    assert made is not None
    assert (made.int8_convolutions, made.int8_planned, made.runtimes) == (asked, 4, ())
    assert note == ("" if found != 3 else "onnxruntime runs 3 of 4 planned int8 operators in int8, the rest in float")


@pytest.mark.parametrize("found", [0, "it refuses Foo"])
@pytest.mark.parametrize(
    ("made", "runtime", "left"),
    [
        (variant(A), "openvino", ("tensorrt",)),
        (variant(A, "openvino", "tensorrt"), "openvino", ("tensorrt",)),
        (variant(A, "openvino"), "openvino", None),
        (variant(B), "onnxruntime", None),
        (variant(B, "onnxruntime"), "onnxruntime", None),
    ],
)
def test_a_runtime_that_runs_nothing_in_int8_costs_the_others_nothing(
    found: int | str, made: Variant, runtime: str, left: tuple[str, ...] | None
) -> None:
    limited, note = _limited(made, runtime, found)
    assert (None if limited is None else limited.runtimes) == left
    assert limited is None or (limited.int8_convolutions, limited.int8_planned) == (4, 4)
    assert note.startswith(f"not for {runtime}: ")


def free_sizes() -> bytes:
    """Two unpadded 3 x 3 convolutions of a picture of any size: with a side of 1 there is nothing to compute."""
    rng = np.random.default_rng(3)
    shapes = {"w0": (8, 3, 3, 3), "w1": (4, 8, 3, 3)}
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.2, shape).astype(np.float32), name) for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], name="first"), helper.make_node("Relu", ["a"], ["b"], name="cut"),
        helper.make_node("Conv", ["b", "w1"], ["y"], name="second"),
    ]  # fmt: skip
    ends = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in
            {"x": ["N", 3, "H", "W"], "y": ["N", 4, "h", "w"]}.items()}  # fmt: skip
    made = helper.make_graph(nodes, "g", [ends["x"]], [ends["y"]], weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def quantized_free_sizes(**axes: int) -> Quantized:
    rng = np.random.default_rng(4)
    samples = [{"x": rng.normal(size=(1, 3, 32, 24)).astype(np.float32)} for _ in range(3)]
    return quantize(free_sizes(), samples, options=QuantizeOptions(variants=("int8",), axes=axes, threads=1))


@pytest.mark.parametrize("axes", [{}, {"H": 32}, {"N": 4, "H": 32, "W": 32}, {"H": 64, "W": 48}])
def test_a_graph_of_free_sizes_is_counted_at_the_sizes_that_it_runs_with(axes: dict[str, int]) -> None:
    """At 1 x 1 OpenVINO refuses it, and no int8 was shipped for OpenVINO."""
    found = quantized_free_sizes(**axes)
    assert [(one.layout, one.runtimes, one.int8_convolutions) for one in found.variants] == [(A, (), 2), (B, (), 2)]
    assert found.report.notes == ()


def test_a_familys_axes_reach_the_count() -> None:
    made = free_sizes()
    samples = [{"x": np.ones((1, 3, 5, 5), np.float32)}, {"x": np.zeros((1, 3, 32, 32), np.float32)}]
    options = calibrating.options_for(FloatGraph(onnx=made, axes={"H": 32, "W": 48}))
    assert dict(options.axes) == {"H": 32, "W": 48}
    assert {one.runtimes for one in quantize(made, samples, options=options).variants} == {()}


def test_a_refusal_is_the_part_of_a_sentence_that_says_why() -> None:
    pytest.importorskip("openvino")
    found = quantized_free_sizes(H=1, W=1)
    (note,) = found.report.notes
    assert note.startswith("not for openvino: openvino refused: ")
    assert "larger than the data shape after padding" in note  # beyond the line on where in its sources it was seen
    assert "edge-sdk lint" not in note  # which finds nothing in this graph
    assert sentences(found.report)[-1].endswith("at axis 0.")  # one full stop
    assert [(one.layout, one.runtimes) for one in found.variants] == [(A, ("tensorrt",)), (B, ("onnxruntime",))]


def test_a_first_sample_with_an_empty_axis_is_counted_at_one() -> None:
    weight = numpy_helper.from_array(np.eye(16, dtype=np.float32), "w")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", "P", 16]) for name in "xy"]
    made = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="m")], "g", ends[:1], ends[1:], [weight]
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    samples = [{"x": np.ones((1, size, 16), np.float32)} for size in (0, 3)]
    found = quantize(model.SerializeToString(), samples, options=QuantizeOptions(variants=("int8",), threads=1))
    assert {one.int8_convolutions for one in found.variants} == {1}
