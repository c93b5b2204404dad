"""Cleaning: what it folds, converts and names, what it refuses in words, and that no answer changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from calibration_nets import Builder, Feeds, pictures, relative, run
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper
from random_graphs import Net, answers, samples_for

from edge_sdk.calibration import QuantizeOptions, graphs, quantize
from edge_sdk.calibration.prepare import subject_of
from edge_sdk.calibration.rewrite.clean import NEWEST, OLDEST, Cleaned, clean
from edge_sdk.errors import BadInput, CheckFailed

INT8 = QuantizeOptions(variants=("int8",), threads=1, first_conv="int8")


class Untouched:
    """Samples that must not be asked for."""

    def __iter__(self) -> Iterator[Feeds]:
        for _ in range(1):
            raise AssertionError("a sample was read")
        yield {}


def kinds(model: ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 100_000))
def test_cleaning_changes_no_answer(seed: int) -> None:
    model = graphs.load(Net(seed).model().SerializeToString())
    cleaned = clean(model)
    feeds = samples_for(model, 2, seed)
    before, after = (answers(one.SerializeToString(), feeds) for one in (model, cleaned.model))
    for left, right in zip(before, after, strict=True):
        for name in left:
            assert left[name].shape == right[name].shape
            if left[name].dtype.kind == "f":
                np.testing.assert_allclose(right[name], left[name], rtol=1e-3, atol=1e-4)
    assert OLDEST <= graphs.opset_of(cleaned.model) <= NEWEST
    assert not cleaned.model.functions
    onnx.checker.check_model(cleaned.model, full_check=True)


@pytest.mark.parametrize("opset", range(9, 26))
def test_every_opset_from_9_to_25_is_converted_and_quantized(opset: int) -> None:
    b = Builder(np.random.default_rng(0))
    h = b.op("Sigmoid", b.conv(b.maximum(b.relu(b.conv(b.picture(normalised=True), 3, 8, 3, pad=1))), 8, 8))
    net = b.model({"out": b.op("Flatten", b.op("GlobalAveragePool", b.conv(h, 8, 4)))}, opset=opset)
    net.ir_version = 10
    made = quantize(net.SerializeToString(), pictures(4), options=INT8)
    assert made.get("int8").int8_convolutions == 3
    for feeds in pictures(2, seed=5):
        assert relative(run(made.get("int8").graph, feeds)["out"], run(net.SerializeToString(), feeds)["out"]) < 0.05


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(("op", "opset"), [("Upsample", 9), ("Resize", 10), ("Resize", 11)])
def test_an_old_resize_keeps_counting_from_its_corner(op: str, opset: int, mode: str) -> None:
    b = Builder(np.random.default_rng(0))
    scales = b.constant(np.array([1, 1, 2, 2], np.float32))
    x = b.conv(b.picture(normalised=True), 3, 4)
    roi = [b.constant(np.zeros(0, np.float32))] if opset == 11 else []
    net = b.model({"out": b.op(op, x, *roi, scales, mode=mode)}, opset=opset)
    feeds = pictures(1)[0]
    wanted = run(net.SerializeToString(), feeds)["out"]
    np.testing.assert_allclose(run(clean(net).model.SerializeToString(), feeds)["out"], wanted, rtol=1e-5, atol=1e-5)


def test_what_no_converter_knows_is_refused_before_a_sample_runs() -> None:
    node = helper.make_node("RMSNormalization", ["x", "w"], ["y"], axis=-1)
    inputs, outputs = ([helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4])] for n in "xy")
    weight = numpy_helper.from_array(np.ones(4, np.float32), "w")
    graph = helper.make_graph([node], "g", inputs, outputs, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)])
    model.ir_version = 10

    with pytest.raises(BadInput, match=r"opset 23 to 21.*opset of 13 to 21"):
        quantize(model.SerializeToString(), Untouched(), options=INT8)


def test_a_quantized_graph_is_refused_in_words() -> None:
    b = Builder(np.random.default_rng(0))
    net = b.model({"out": b.conv(b.picture(normalised=True), 3, 4)})
    made = quantize(net.SerializeToString(), pictures(2), options=INT8)
    with pytest.raises(BadInput, match="quantized already"):
        quantize(made.get("int8").graph, pictures(2), options=INT8)


NORMS: dict[str, Callable[[Builder, str], str]] = {
    "Conv": lambda b, x: b.conv(x, 4, 8),
    "depthwise": lambda b, x: b.conv(x, 4, 4, group=4),
    "ConvTranspose": lambda b, x: b.op(
        "ConvTranspose", x, b.constant((b.rng.standard_normal((4, 6, 2, 2)) * 0.2).astype(np.float32)), strides=[2, 2]
    ),
}


@pytest.mark.parametrize("before", NORMS)
def test_a_batch_norm_is_folded_and_its_convolution_keeps_its_name(before: str) -> None:
    b = Builder(np.random.default_rng(0))
    x = NORMS[before](b, b.relu(b.conv(b.picture(normalised=True), 3, 4)))
    named = b.nodes[-1].name
    c = {"Conv": 8, "depthwise": 4, "ConvTranspose": 6}[before]
    values = [b.constant(b.rng.uniform(0.5, 2, c).astype(np.float32)) for _ in range(4)]
    net = b.model({"out": b.conv(b.relu(b.op("BatchNormalization", x, *values)), c, 2)})
    cleaned = clean(net)
    assert "BatchNormalization" not in kinds(cleaned.model)
    assert named in {node.name for node in cleaned.model.graph.node}
    made = quantize(net.SerializeToString(), pictures(2), options=INT8)
    left = quantize(
        net.SerializeToString(), pictures(2),
        options=QuantizeOptions(variants=("int8",), threads=1, first_conv="int8", exclude=(named,)),
    )  # fmt: skip
    assert named in {row.node for row in made.report.layers} - {row.node for row in left.report.layers}


@pytest.mark.parametrize("size", [3, 200])
@pytest.mark.parametrize("kept", ["Cast", "Identity", "Transpose"])
def test_weights_behind_operators_are_constants_however_large_they_are(size: int, kept: str) -> None:
    b = Builder(np.random.default_rng(0))
    x = b.relu(b.conv(b.picture(normalised=True), 3, size, 1))
    real = (b.rng.standard_normal((size, size, 1, 1)) / size).astype(np.float32)
    stored = b.constant(real.astype(np.float16) if kept == "Cast" else real)
    more = {"Cast": {"to": 1}, "Transpose": {"perm": [1, 0, 2, 3]}}.get(kept, {})
    net = b.model({"out": b.op("Conv", x, b.op(kept, stored, **more))}, size=8)
    assert quantize(net.SerializeToString(), pictures(2, 8), options=INT8).get("int8").int8_convolutions == 2


@pytest.mark.parametrize("named", [True, False])
def test_nodes_have_names_that_can_be_excluded(named: bool) -> None:
    b = Builder(np.random.default_rng(0))
    net = b.model({"out": b.conv(b.relu(b.conv(b.picture(normalised=True), 3, 4)), 4, 4)})
    for node in net.graph.node:
        node.name = "same" if named else ""
    rows = [row.node for row in quantize(net.SerializeToString(), pictures(2), options=INT8).report.layers]
    options = QuantizeOptions(variants=("int8",), threads=1, first_conv="int8", exclude=tuple(rows[:1]))
    made = quantize(net.SerializeToString(), pictures(2), options=options)
    assert [row.node for row in made.report.layers] == rows[1:]


@pytest.mark.parametrize("op", ["Mul", "Add", "Conv"])
@pytest.mark.parametrize("depth", [1, 2])
def test_what_only_a_subgraph_reads_is_used(op: str, depth: int) -> None:
    """Also a subgraph of a subgraph; in int8 and in half precision."""
    b = Builder(np.random.default_rng(0))
    c = b.relu(b.conv(b.picture(normalised=True), 3, 4))
    shape = (4, 4, 1, 1) if op == "Conv" else ()
    alone = b.constant(np.full(shape, 0.5, np.float32))
    asked = b.op("Greater", b.op("ReduceMean", c, axes=[0, 1, 2, 3], keepdims=0), b.constant(np.float32(0)))

    def branch(kind: str, reads: list[str], level: int) -> Any:
        out = f"{kind}_{level}"
        if level == depth:
            node = helper.make_node(kind, reads, [out])
        else:
            node = helper.make_node(
                "If", [asked], [out], then_branch=branch(op, [c, alone], level + 1),
                else_branch=branch("Neg", [c], level + 1),
            )  # fmt: skip
        return helper.make_graph([node], out, [], [helper.make_tensor_value_info(out, 1, None)])

    chosen = b.op("If", asked, then_branch=branch(op, [c, alone], 1), else_branch=branch("Abs", [c], 1))
    net = b.model({"out": b.conv(chosen, 4, 2)}).SerializeToString()
    options = QuantizeOptions(variants=("int8", "fp16"), threads=1, first_conv="int8")
    for variant in quantize(net, pictures(3), options=options).variants:
        for feeds in pictures(2, seed=5):
            assert relative(run(variant.graph, feeds)["out"], run(net, feeds)["out"]) < 0.05


def test_functions_are_inlined_also_inside_each_other() -> None:
    def function(name: str, node: Any) -> Any:
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        return helper.make_function("own", name, ["a"], ["b"], [node], imports)

    inner = function("Inner", helper.make_node("Relu", ["a"], ["b"]))
    outer = function("Outer", helper.make_node("Inner", ["a"], ["b"], domain="own"))
    b = Builder(np.random.default_rng(0))
    h = b.op("Relu", b.conv(b.picture(normalised=True), 3, 4))
    net = b.model({"out": b.conv(h, 4, 4)})
    called = next(node for node in net.graph.node if node.op_type == "Relu")
    called.op_type, called.domain = "Outer", "own"
    net.functions.extend([inner, outer])
    net.opset_import.append(helper.make_opsetid("own", 1))
    made = quantize(net.SerializeToString(), pictures(2), options=INT8)
    assert made.get("int8").int8_convolutions == 2
    assert made.get("int8").runtimes == ()  # Relu as any other: it fuses


def test_a_graph_that_no_runtime_takes_is_refused_before_a_sample_runs() -> None:
    b = Builder(np.random.default_rng(0))
    h = b.conv(b.picture(normalised=True), 3, 4)
    net = b.model({"out": b.op("Add", h, b.op("RandomNormalLike", h))})
    with pytest.raises(CheckFailed, match="no runtime takes the graph: L55"):
        quantize(net.SerializeToString(), Untouched(), options=INT8)


def test_a_dropout_of_training_is_refused_as_random() -> None:
    b = Builder(np.random.default_rng(0))
    h = b.op("Dropout", b.picture(normalised=True), b.constant(np.float32(0.5)), b.constant(np.array(True)))
    net = b.model({"out": b.conv(h, 3, 4)})
    with pytest.raises(CheckFailed, match=r"no runtime takes the graph: L55 Dropout: random.*model\.eval\(\)"):
        quantize(net.SerializeToString(), Untouched(), options=INT8)


def test_a_graph_that_is_random_in_a_branch_is_refused_as_random() -> None:
    """In a branch of an If, too."""
    b = Builder(np.random.default_rng(0))
    h = b.conv(b.picture(normalised=True), 3, 4)
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("RandomNormalLike", [h], [f"{name}_r"], f"{name}_noise")], name, [],
            [helper.make_tensor_value_info(f"{name}_r", TensorProto.FLOAT, None)],
        )
        for name in ("then", "else")
    }  # fmt: skip
    bright = b.op("Greater", b.op("ReduceMean", h, keepdims=0), b.constant(np.float32(0)))
    net = b.model({"out": b.op("If", bright, **branches)})
    with pytest.raises(CheckFailed, match="no runtime takes the graph: L55 RandomNormalLike"):
        quantize(net.SerializeToString(), pictures(2), options=INT8)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("image", "the graph's output image is an input, passed through"),
        ("stored", "the graph's output stored is a constant: no input changes it"),
        ("copied", "the graph's output copied is a constant: no input changes it"),
    ],
)
def test_an_output_that_no_node_makes_is_refused_in_true_words(output: str, said: str) -> None:
    b = Builder(np.random.default_rng(0))
    net = b.model({"out": b.conv(b.picture(normalised=True), 3, 4)})
    net.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "stored"))
    net.graph.node.append(helper.make_node("Identity", ["stored"], ["copied"], "copy"))
    kind = TensorProto.UINT8 if output == "image" else TensorProto.FLOAT
    net.graph.output.append(helper.make_tensor_value_info(output, kind, [1, 24, 24, 3] if output == "image" else [3]))
    with pytest.raises(BadInput, match=said):
        quantize(net.SerializeToString(), Untouched(), options=INT8)


def test_a_runtime_that_refuses_the_graph_costs_the_others_nothing() -> None:
    """TensorRT takes no dilated average; OpenVINO and ONNX Runtime do."""
    b = Builder(np.random.default_rng(0))
    h = b.relu(b.conv(b.picture(normalised=True), 3, 4))
    pooled = b.op("AveragePool", h, kernel_shape=[2, 2], dilations=[2, 2])
    made = quantize(b.model({"out": b.conv(pooled, 4, 4)}, opset=19).SerializeToString(), pictures(2), options=INT8)
    assert {one.runtimes for one in made.variants} == {("openvino",), ("onnxruntime",)}
    assert any("not for tensorrt: L47" in note for note in made.report.notes)
    # onnxruntime would fuse the average into a kernel that has no dilations: what reads it is float there
    assert [made.get("int8", runtime=one).int8_convolutions for one in ("openvino", "onnxruntime")] == [2, 1]


@pytest.mark.parametrize("axis", ["unk__6", "Softmax4195_dim_0", "rows", None])
def test_an_output_keeps_the_shape_that_its_file_states_though_more_of_it_can_be_inferred(axis: str | None) -> None:
    made = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Reshape", ["x", "to"], ["flat"], name="flat"),
                helper.make_node("Relu", ["flat"], ["y"], name="act"),
            ],
            "reshaped",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [axis, 8])],
            [numpy_helper.from_array(np.array([-1, 8]), "to")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )  # fmt: skip
    assert clean(made).model.graph.output[0] == made.graph.output[0]


def test_an_output_without_a_shape_that_none_can_infer_is_named() -> None:
    made = helper.make_model(
        helper.make_graph(
            [helper.make_node("Reshape", ["x", "to"], ["y"], name="flat")], "free",
            [
                helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4]),
                helper.make_tensor_value_info("to", TensorProto.INT64, [None]),
            ],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )  # fmt: skip
    with pytest.raises(BadInput, match="the output y has no shape in the file"):
        graphs.load(made.SerializeToString())


def _answers_double(model: ModelProto, **options: Any) -> Cleaned:
    """`clean`, whose folding makes each first convolution twice as large."""
    made = clean(model, **options)
    if options.get("optimise", True):
        weight = next(t for t in made.model.graph.initializer if len(t.dims) == 4)
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(2), weight.name))
    return made


def _does_not_run(model: ModelProto, **options: Any) -> Cleaned:
    """`clean`, whose folding adds a sum that no shapes fit."""
    made = clean(model, **options)
    if options.get("optimise", True):
        made.model.graph.initializer.append(numpy_helper.from_array(np.ones((7, 5), np.float32), "no_shape_of_this"))
        last = made.model.graph.node[-1]
        end, last.output[0] = last.output[0], "before_the_end"
        made.model.graph.node.append(helper.make_node("Add", [last.output[0], "no_shape_of_this"], [end], "wrong"))
    return made


@pytest.mark.parametrize("wrong", [_answers_double, _does_not_run])
def test_where_folding_changes_the_answers_the_graph_is_taken_unfolded_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, wrong: Callable[..., Cleaned]
) -> None:
    b = Builder(np.random.default_rng(0))
    net = b.model({"out": b.conv(b.relu(b.conv(b.picture(normalised=True), 3, 4)), 4, 4)}, size=12)
    monkeypatch.setattr("edge_sdk.calibration.prepare.clean", wrong)
    found = subject_of(net.SerializeToString(), pictures(1, size=12), INT8)
    plain = clean(graphs.load(net.SerializeToString()), optimise=False).model
    assert graphs.dump(found.model) == graphs.dump(plain)
    assert "folding constants would change what the graph answers: left out" in found.notes
