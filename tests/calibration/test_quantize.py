"""`quantize` as a caller meets it: options, samples, what is refused, what the report says."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from calibration_nets import TAIL, Builder, Feeds, mobile, pdn, pictures, raw_pdn, run
from onnx import TensorProto, helper, numpy_helper

from edge_sdk.calibration import QuantizeOptions, quantize
from edge_sdk.calibration.statistics.observe import observe
from edge_sdk.calibration.trials import Trials
from edge_sdk.errors import BadInput, BadUsage

PLAIN = QuantizeOptions(variants=("int8",), threads=1)
INT8 = QuantizeOptions(variants=("int8",), keep_fp32=TAIL, threads=1)


@dataclass
class Counted:
    """Samples made one at a time; counts how many are alive at once."""

    count: int
    made: int = 0
    passes: int = 0
    keep: list[Feeds] = field(default_factory=list)

    def __iter__(self) -> Iterator[Feeds]:
        self.passes += 1
        for number in range(self.count):
            self.made += 1
            yield pictures(1, seed=number)[0]


def dequantized_inputs(graph: bytes) -> dict[str, str]:
    """Convolution -> operator type that makes its weight, in a quantized graph."""
    model = onnx.load_from_string(graph)
    makers = {o: n.op_type for n in model.graph.node for o in n.output}
    return {n.name: makers.get(n.input[1], "constant") for n in model.graph.node if n.op_type == "Conv"}


def _float_tail_alone() -> bytes:
    """uint8 (N, 4, 4, 3) -> map: no convolution, nothing that could run in int8."""
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "real"], ["square"], "square"),
        helper.make_node("ReduceMean", ["square"], ["map"], "mean", axes=[3], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes, "tail",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 4, 4, 3])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, ["N", 4, 4])],
    )  # fmt: skip
    made: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    return made


def test_a_graph_without_int8_operators_gets_no_int8_variant_and_a_note() -> None:
    options = QuantizeOptions(variants=("int8", "fp16", "int8-w7"), threads=1)
    samples = [{"image": np.full((1, 4, 4, 3), value, np.uint8)} for value in (3, 200)]
    made = quantize(_float_tail_alone(), samples, options=options)
    assert [v.variant for v in made.variants] == ["fp16"]
    assert "no operator became int8, so int8, int8-w7 would be float: left out" in made.report.notes
    excluded = QuantizeOptions(variants=("int8",), keep_fp32=TAIL, exclude=_convolutions(pdn()), threads=1)
    assert quantize(pdn().SerializeToString(), pictures(2), options=excluded).variants == ()


def _convolutions(model: onnx.ModelProto) -> tuple[str, ...]:
    return tuple(n.name for n in model.graph.node if n.op_type == "Conv")


def test_all_variants_come_in_the_order_asked_with_int8_in_both_layouts() -> None:
    made = quantize(
        pdn().SerializeToString(),
        pictures(3),
        options=QuantizeOptions(variants=("fp32", "int8", "int8-w7", "fp16"), keep_fp32=TAIL, threads=1),
    )
    assert [(v.variant, v.layout) for v in made.variants] == [
        ("fp32", "plain"),
        ("int8", "conv-relu-q"),
        ("int8", "conv-q-relu-q"),
        ("int8-w7", "conv-relu-q"),
        ("int8-w7", "conv-q-relu-q"),
        ("fp16", "plain"),
    ]
    assert made.report.errors["fp32"] == {"map": 0.0}
    assert made.report.errors["fp16"]["map"] < 0.01
    assert made.report.errors["int8"]["map"] < 0.05


@pytest.mark.parametrize("between", ["", "Relu", "MaxPool"])
def test_a_convolution_behind_a_concat_stays_float_also_through_a_relu(between: str) -> None:
    b = Builder(np.random.default_rng(0))
    x = b.picture(normalised=True)
    joined = b.op("Concat", *(b.relu(b.conv(x, 3, 8, 1)) for _ in range(2)), axis=1)
    joined = {"": str, "Relu": b.relu, "MaxPool": b.maximum}[between](joined)
    last = b.conv(b.relu(b.conv(joined, 16, 8, 1)), 8, 4, 1)
    options = QuantizeOptions(variants=("int8",), threads=1, first_conv="int8")
    made = quantize(b.model({"map": last}).SerializeToString(), pictures(2), options=options)
    kinds = list(dequantized_inputs(made.get("int8", "conv-relu-q").graph).values())
    assert kinds == ["DequantizeLinear"] * 2 + ["constant", "DequantizeLinear"]


def test_the_same_call_gives_the_same_bytes() -> None:
    first, second = (quantize(mobile().SerializeToString(), pictures(2), options=INT8) for _ in range(2))
    assert [v.graph for v in first.variants] == [v.graph for v in second.variants]


def test_samples_are_read_one_by_one_and_counted() -> None:
    samples, calls = Counted(7), []
    made = quantize(
        pdn().SerializeToString(), samples, options=INT8, progress=lambda done, total, note: calls.append((done, total))
    )
    assert made.report.samples == 7
    assert calls == [(n, 0) for n in range(1, 8)]
    assert made.report.compared == 4
    assert samples.made <= 7 + 7


def test_differences_are_measured_on_every_kind_of_sample_whichever_comes_first() -> None:
    """Callers give good parts first; a comparison of the first samples alone would never see a damaged one."""
    kinds = [pictures(1, seed=seed) * 8 for seed in (1, 2)]
    errors = [
        quantize(pdn().SerializeToString(), samples, options=INT8).report.errors["int8"]
        for samples in (kinds[0] + kinds[1], kinds[1] + kinds[0])
    ]
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)


def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    graph, peaks = pdn().SerializeToString(), []
    for count in (3, 30):
        tracemalloc.start()
        quantize(graph, Counted(count), options=INT8)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2 + 100_000


def test_a_generator_is_refused_because_it_is_empty_the_second_time() -> None:
    with pytest.raises(BadUsage, match=r"only once.*starts anew"):
        quantize(pdn().SerializeToString(), (p for p in pictures(2)), options=INT8)


def test_no_samples_are_refused() -> None:
    with pytest.raises(BadInput, match="no calibration samples"):
        quantize(pdn().SerializeToString(), [], options=INT8)


def test_a_sample_of_another_shape_or_name_is_refused_and_numbered() -> None:
    good = pictures(1)
    with pytest.raises(BadInput, match="sample 1"):
        quantize(pdn().SerializeToString(), [*good, {"image": np.zeros((1, 8, 9, 3), np.uint8)}], options=INT8)
    with pytest.raises(BadInput, match="sample 1: the graph takes \\['image'\\], the sample has \\['photo'\\]"):
        quantize(pdn().SerializeToString(), [*good, {"photo": good[0]["image"]}], options=INT8)


def float_net() -> bytes:
    weight = numpy_helper.from_array(np.ones((2, 1, 1, 1), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return onnx.shape_inference.infer_shapes(model).SerializeToString()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_sample_that_is_not_finite_is_refused_and_numbered(bad: float) -> None:
    samples: list[Any] = [{"x": np.ones((1, 1, 4, 4), np.float32)}, {"x": np.full((1, 1, 4, 4), bad, np.float32)}]
    with pytest.raises(BadInput, match="sample 1: input x holds NaN or infinity"):
        quantize(float_net(), samples)


def test_a_tensor_that_overflows_inside_is_named() -> None:
    samples = [{"x": np.full((1, 1, 4, 4), 3e38, np.float32)}]
    b = onnx.load_from_string(float_net())
    b.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((2, 1, 1, 1), 1e3, np.float32), "w"))
    with pytest.raises(BadInput, match="tensor y holds 32 values that are NaN or infinite, at sample 0"):
        quantize(b.SerializeToString(), samples)


@pytest.mark.parametrize(
    ("graph", "text"), [(b"not a graph", "not an ONNX graph"), (b"", "no nodes")], ids=["rubbish", "empty"]
)
def test_bytes_that_are_no_graph_are_refused(graph: bytes, text: str) -> None:
    with pytest.raises(BadInput, match=text):
        quantize(graph, pictures(1))


def test_weights_in_another_file_are_refused_by_name() -> None:
    model = onnx.load_from_string(float_net())
    weight = model.graph.initializer[0]
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    with pytest.raises(BadInput, match=f"1 weights lie outside the graph, the first is {weight.name}"):
        quantize(model.SerializeToString(), pictures(1))


def test_a_tensor_that_the_graph_does_not_have_can_not_be_observed() -> None:
    with pytest.raises(BadUsage, match="no tensor nowhere"):
        observe(onnx.load_from_string(float_net()), pictures(1), ["nowhere"])


def test_a_first_convolution_is_treated_in_a_known_way() -> None:
    with pytest.raises(BadUsage, match="unknown range method percentile-x; available: minmax, "):
        Trials(range_methods=("percentile-x",))  # type: ignore[arg-type]
    with pytest.raises(BadUsage, match="first_conv is one of"):
        QuantizeOptions(first_conv="sometimes")  # type: ignore[arg-type]


def test_unknown_names_and_variants_are_refused() -> None:
    with pytest.raises(BadUsage, match="no node nowhere"):
        quantize(pdn().SerializeToString(), pictures(1), options=QuantizeOptions(keep_fp32=("nowhere",)))
    with pytest.raises(BadUsage, match="unknown variant int4; available: fp32, fp16"):
        QuantizeOptions(variants=("int4",))
    with pytest.raises(BadUsage, match="at least 1"):
        QuantizeOptions(output_margin=0.5)


def test_the_raw_picture_enters_the_first_convolution_exactly() -> None:
    """int8 = uint8 - 128 at scale 1: with weights on the grid too, only the output is rounded."""
    rng = np.random.default_rng(0)
    b = Builder(rng)
    model = b.model({"out": b.conv(b.picture(), 3, 8, 3)})
    weight = next(t for t in model.graph.initializer if len(t.dims) == 4)
    whole = rng.integers(-127, 128, tuple(weight.dims)).astype(np.float32)
    whole[:, 0, 0, 0] = 127  # the channel's scale is then 1 / 1024, exactly
    weight.CopyFrom(numpy_helper.from_array(whole / 1024, weight.name))
    made = quantize(model.SerializeToString(), pictures(2), options=PLAIN)
    rows = {row.role: row for row in made.report.tensors}
    assert rows["exact-picture"].scale == 1.0
    feeds = pictures(1)[0]
    wanted = run(model.SerializeToString(), feeds)["out"]
    gap = np.abs(run(made.variants[0].graph, feeds)["out"] - wanted)
    assert gap.max() <= rows["tail"].scale * 0.501


def test_a_graphs_own_tensor_keeps_the_name_that_ours_would_take() -> None:
    """`picture_shift` is what the constant is called that moves a picture to -128..127."""
    errors = []
    for name in ("of_theirs", "picture_shift"):
        b = Builder(np.random.default_rng(0))
        model = b.model({"out": b.op("Add", b.relu(b.conv(b.picture(), 3, 8, 3)), b.constant(np.float32(3.0)))})
        last = next(node for node in reversed(model.graph.node) if node.op_type == "Add")
        constant = next(t for t in model.graph.initializer if t.name == last.input[1])
        constant.name = last.input[1] = name
        errors.append(quantize(model.SerializeToString(), pictures(2), options=PLAIN).report.errors["int8"]["out"])
    assert errors[0] == errors[1] < 0.03


def test_a_padded_first_convolution_is_left_float_because_zero_is_not_black_there() -> None:
    b = Builder(np.random.default_rng(0))
    h = b.relu(b.conv(b.picture(), 3, 8, 3, pad=1))
    graph = b.model({"out": b.conv(h, 8, 4, 1)})
    assert quantize(graph.SerializeToString(), pictures(2), options=PLAIN).report.left_float == {
        "Conv_5": "pads the picture, whose int8 pixels are less 128: zero is not black there"
    }
    forced = QuantizeOptions(variants=("int8",), first_conv="int8", threads=1)
    made = quantize(graph.SerializeToString(), pictures(2), options=forced)
    assert made.report.left_float == {}
    assert made.report.errors["int8"]["out"] < 0.03


def test_the_pictures_range_is_that_of_uint8_whatever_the_samples_hold() -> None:
    dull = [{"image": np.full((1, 24, 24, 3), 120, np.uint8) + np.uint8(i)} for i in range(3)]
    options = QuantizeOptions(variants=("int8",), keep_fp32=TAIL, first_conv="int8", threads=1)
    made = quantize(mobile().SerializeToString(), dull, options=options)
    row = next(r for r in made.report.tensors if r.role == "picture")
    assert (row.low, row.high) == pytest.approx((-127 / 128, 1.0))


def test_only_ranges_that_the_float_tail_reads_are_widened() -> None:
    graph = raw_pdn().SerializeToString()
    plain, wide = (
        quantize(
            graph,
            pictures(2),
            options=QuantizeOptions(variants=("int8",), keep_fp32=TAIL, output_margin=margin, threads=1),
        ).report.tensors
        for margin in (1.0, 2.0)
    )
    for narrow, wider in zip(plain, wide):
        assert wider.scale == pytest.approx(narrow.scale * (2.0 if narrow.role == "tail" else 1.0))
    assert sum(row.role == "tail" for row in wide) == 2


def test_excluded_and_tail_nodes_stay_float() -> None:
    graph = mobile().SerializeToString()
    convolutions = list(dequantized_inputs(quantize(graph, pictures(2), options=INT8).variants[0].graph))
    left_out = convolutions[3]
    options = QuantizeOptions(variants=("int8",), keep_fp32=TAIL, exclude=(left_out,), threads=1)
    made = quantize(graph, pictures(2), options=options)
    assert left_out in made.report.left_float
    for variant in made.variants:
        kinds = dequantized_inputs(variant.graph)
        assert kinds[left_out] == "constant"
        assert sum(kind == "DequantizeLinear" for kind in kinds.values()) == variant.int8_convolutions


def test_a_dead_channel_and_a_dead_tensor_pass_and_are_reported() -> None:
    model = raw_pdn()
    for tensor in model.graph.initializer:
        if tensor.dims[:2] == [16, 16]:
            dead = numpy_helper.to_array(tensor).copy()
            dead[3] = 0.0
            tensor.CopyFrom(numpy_helper.from_array(dead, tensor.name))
    made = quantize(model.SerializeToString(), pictures(2), options=INT8)
    assert made.report.errors["int8"]["map"] < 0.06
    b = Builder(np.random.default_rng(0))
    h = b.clip(b.conv(b.picture(), 3, 4), 0.0, 0.0)
    silent = quantize(b.model({"out": b.conv(h, 4, 4)}).SerializeToString(), pictures(1), options=PLAIN)
    assert any("zero on every sample" in note for note in silent.report.notes)
    assert np.isfinite(run(silent.variants[0].graph, pictures(1)[0])["out"]).all()


def test_w7_weights_stay_within_64_but_for_depthwise_ones() -> None:
    made = quantize(
        mobile().SerializeToString(),
        pictures(2),
        options=QuantizeOptions(variants=("int8-w7",), keep_fp32=TAIL, threads=1),
    )
    model = onnx.load_from_string(made.variants[0].graph)
    stored = [numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == TensorProto.INT8]
    for weight in (w for w in stored if w.ndim == 4):
        assert np.abs(weight.astype(int)).max() == (127 if weight.shape[1] == 1 else 64)
    assert all(share == 0.0 for row in made.report.layers for share in row.unsafe_pairs.values())


def test_bias_correction_takes_off_what_rounded_weights_add() -> None:
    errors = [
        quantize(
            mobile().SerializeToString(),
            pictures(3),
            options=QuantizeOptions(variants=("int8-w7",), keep_fp32=TAIL, bias_correction=corrected, threads=1),
        ).report.errors["int8-w7"]["map"]
        for corrected in (False, True)
    ]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("method", ["percentile-99.99", "percentile-99.999", "mse", "entropy"])
@pytest.mark.parametrize("outlier", [1.0, 1e3])
def test_one_sample_unlike_the_others_makes_no_range_method_worse_than_minmax(method: Any, outlier: float) -> None:
    """The measured error of the whole graph on its own samples, the unlike one among them."""
    rng = np.random.default_rng(7)
    shapes = {"v": (16, 3, 3, 3), "w": (16, 16, 3, 3), "u": (8, 16, 1, 1)}
    weights = {name: rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["a"], "first", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], "r"),
        helper.make_node("Conv", ["b", "w"], ["c"], "second", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["d"], "s"),
        helper.make_node("Conv", ["d", "u"], ["y"], "third"),
    ]  # fmt: skip
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", c, 16, 16]) for n, c in (("x", 3), ("y", 8))]
    graph = helper.make_graph(
        nodes, "g", ends[:1], ends[1:],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    samples = [{"x": rng.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(16)]
    samples[10]["x"] *= np.float32(outlier)

    def error(how: Any) -> float:
        options = QuantizeOptions(variants=("int8",), trials=Trials(range_methods=(how,)), force=True)
        made = quantize(model, samples, options=options)
        real, int8 = (
            [run(graph, one)["y"].astype(np.float64) for one in samples] for graph in (model, made.get("int8").graph)
        )
        gap = sum(float(((a - b) ** 2).sum()) for a, b in zip(real, int8, strict=True))
        return float(np.sqrt(gap / sum(float((a**2).sum()) for a in real)))

    assert error(method) <= 1.05 * error("minmax")
