"""int8 of transformers: GELU stays one activation however it is written out, and residual streams stay float."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from calibration_nets import Builder, pictures
from onnx import ModelProto

from edge_sdk.calibration import QuantizeOptions, graphs, quantize
from edge_sdk.calibration.gelu import answering, gelus, reading
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.rewrite.clean import clean

ROOT = float(np.sqrt(2.0))
Write = Callable[[Builder, str], str]


def scalar(b: Builder, value: float) -> str:
    return b.constant(np.float32(value))


def outer(b: Builder, x: str, *, times: bool = False) -> str:
    """1 + erf(x / sqrt 2). times: multiplied by the inverse instead."""
    ratio = b.op("Mul", x, scalar(b, 1 / ROOT)) if times else b.op("Div", x, scalar(b, ROOT))
    return b.op("Add", b.op("Erf", ratio), scalar(b, 1.0))


WRITTEN: dict[str, Write] = {
    "x * outer * half": lambda b, x: b.op("Mul", b.op("Mul", x, outer(b, x)), scalar(b, 0.5)),
    "half * (outer * x)": lambda b, x: b.op("Mul", scalar(b, 0.5), b.op("Mul", outer(b, x, times=True), x)),
    "(x * half) * outer": lambda b, x: b.op("Mul", b.op("Mul", x, scalar(b, 0.5)), outer(b, x, times=True)),
    "x * (outer * half)": lambda b, x: b.op("Mul", x, b.op("Mul", outer(b, x), scalar(b, 0.5))),
    "x * outer / two": lambda b, x: b.op("Div", b.op("Mul", x, outer(b, x)), scalar(b, 2.0)),
}
OTHERS: dict[str, Write] = {
    "another factor": lambda b, x: b.op("Mul", b.op("Mul", x, outer(b, x)), scalar(b, 0.7)),
    "another root": lambda b, x: b.op(
        "Mul", b.op("Mul", x, b.op("Add", b.op("Erf", b.op("Div", x, scalar(b, 2.0))), scalar(b, 1.0))), scalar(b, 0.5)
    ),
    "another input": lambda b, x: b.op("Mul", b.op("Mul", b.op("Abs", x), outer(b, x)), scalar(b, 0.5)),
}


def network(write: Write) -> ModelProto:
    """conv, GELU, conv, GELU, 1x1 conv: normalized picture in, 8 channels out."""
    b = Builder(np.random.default_rng(0))
    x = write(b, b.conv(b.picture(normalised=True), 3, 16, pad=1))
    x = write(b, b.conv(x, 16, 16, pad=1))
    return b.model({"out": b.conv(x, 16, 8, 1)}, size=16, batch=1)


def stream(norm: bool) -> ModelProto:
    """conv into a stream of tokens; twice a block (norm or not, product, GELU, product), its sum, a convolution."""
    b = Builder(np.random.default_rng(0))
    x = b.conv(b.picture(normalised=True), 3, 16, pad=1)
    for _ in range(2):
        tokens = b.op("Reshape", b.op("Transpose", x, perm=[0, 2, 3, 1]), b.constant(np.array([-1, 16], np.int64)))
        y = tokens
        if norm:
            gain, shift = b.constant(np.ones(16, np.float32)), b.constant(np.zeros(16, np.float32))
            y = b.op("LayerNormalization", y, gain, shift, axis=-1)
        for before, after in ((16, 32), (32, 16)):
            weight = b.rng.standard_normal((before, after)).astype(np.float32) / np.sqrt(before)
            y = b.op("MatMul", y, b.constant(weight.astype(np.float32)))
            y = WRITTEN["x * outer * half"](b, y) if after == 32 else y
        x = b.op("Add", tokens, y, name=f"sum{len(b.nodes)}")
        x = b.op("Reshape", x, b.constant(np.array([1, 16, 16, 16], np.int64)))
        x = b.conv(b.op("Transpose", x, perm=[0, 3, 1, 2]), 16, 16, pad=1)
    return b.model({"out": x}, size=16, batch=1)


def int8(model: ModelProto, runtime: str) -> ModelProto:
    options = QuantizeOptions(variants=("int8-w7",), threads=1, force=True)
    made = quantize(model.SerializeToString(), pictures(3, 16), options=options)
    layout = "conv-q-relu-q" if runtime == "onnxruntime" else "conv-relu-q"
    return graphs.parsed(made.get("int8-w7", layout, runtime=runtime).graph)


@pytest.mark.parametrize("written", WRITTEN)
def test_a_gelu_is_found_from_both_of_its_ends(written: str) -> None:
    index = Index.of(clean(network(WRITTEN[written])).model)
    found = list(gelus(index))
    assert len(found) == 2
    for one in found:
        assert len(one.nodes) == 5
        assert reading(one.source, index) == answering(one.end, index) == one
        assert one.is_only_reader(index)


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_no_gelu_is_not_taken_for_one(other: str) -> None:
    index = Index.of(network(OTHERS[other]))
    assert not list(gelus(index))
    assert all(reading(name, index) is None and answering(name, index) is None for name in index.producer)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "tensorrt"])
@pytest.mark.parametrize("written", WRITTEN)
def test_no_pair_stands_inside_a_gelu(written: str, runtime: str) -> None:
    index = Index.of(int8(network(WRITTEN[written]), runtime))
    found = list(gelus(index))
    assert len(found) == 2  # the halving is not folded into the next weights
    for one in found:
        readers = {node.op_type for node in index.readers[one.end]}
        assert readers == {"QuantizeLinear"}  # its consumer is int8
    # ONNX Runtime has no int8 convolution without Q behind it; the first convolution is float
    before = [index.producer[one.source].op_type for one in found]
    assert before == ["Conv", "DequantizeLinear" if runtime == "onnxruntime" else "Conv"]


def test_onnxruntime_fuses_each_gelu_behind_an_int8_product(tmp_path: Path) -> None:
    """Behind an int8 convolution it does not: onnxruntime 1.32 gives each reader of a DequantizeLinear one of its own,
    and x is read twice."""
    options = ort.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimized.onnx"), 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    model = int8(stream(norm=True), "onnxruntime")
    ort.InferenceSession(graphs.dump(model), options, providers=["CPUExecutionProvider"])
    made = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert "Erf" not in made
    assert sum("Gelu" in op for op in made) == 2


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_sums_of_a_normalized_stream_stay_float(runtime: str) -> None:
    model, counts = {norm: int8(stream(norm), runtime) for norm in (True, False)}, {}
    for norm, made in model.items():
        index = Index.of(made)
        sums = [node for node in made.graph.node if node.op_type == "Add" and node.name.startswith("sum")]
        assert len(sums) == 2
        counts[norm] = sum(
            index.producer[name].op_type == "DequantizeLinear" for name in sums[1].input
        )  # fmt: skip
    # An int8 convolution's answer is rounded where it is made; the sum, and what the block adds to it, are not.
    assert counts == {True: 0, False: 2}
