"""What ran in int8 is found again in the graph under the names that runtimes give to fused operators."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from onnx import ModelProto, TensorProto, helper

from edge_sdk.calibration.macs import cost
from edge_sdk.runtimes.protocol import LayerTime

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import int8_share  # noqa: E402


@pytest.fixture(scope="module")
def model() -> ModelProto:
    """Three products of 1 x 8, by 8 x 16, 16 x 4 and 4 x 2: 128, 64 and 8 multiply-adds."""
    shapes = {"w0": (8, 16), "w1": (16, 4), "w2": (4, 2)}
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "first/relu"),
        helper.make_node("MatMul", ["b", "w1"], ["c"], "second"),
        helper.make_node("Relu", ["c"], ["d"], "second/relu"),
        helper.make_node("MatMul", ["d", "w2"], ["y"], "third"),
    ]
    stored = [
        helper.make_tensor(n, TensorProto.FLOAT, shape, [1.0] * (shape[0] * shape[1])) for n, shape in shapes.items()
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in (("x", (1, 8)), ("y", (1, 2)))]
    return helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], stored))


def layer(name: str, op: str, precision: str = "") -> LayerTime:
    return LayerTime(name=name, op=op, kernel="", precision=precision, ms=0.1)


def test_openvino_tells_by_type_and_a_name_may_be_of_what_was_fused(model: ModelProto) -> None:
    spent = cost(model)
    layers = [
        layer("first/relu", "FullyConnected", "i8"), layer("second", "MatMul", "f32"), layer("third", "MatMul", "u8"),
        layer("first", "Subgraph", "f32"),
    ]  # fmt: skip
    found = int8_share.ran(model, spent, layers, "openvino")
    assert found == {"first": True, "second": False, "third": True}
    assert int8_share.share(spent, found) == pytest.approx(136 / 200)


def test_onnxruntime_tells_by_kernel_and_what_is_not_found_counts_as_float(model: ModelProto) -> None:
    spent = cost(model)
    layers = [
        layer("first_token_12", "QLinearMatMul", "uint8"), layer("second/MatmulTransposeFusion/", "FusedMatMul"),
        layer("unheard of", "QLinearMatMul", "uint8"),
    ]  # fmt: skip
    found = int8_share.ran(model, spent, layers, "onnxruntime")
    assert found == {"first": True, "second": False, "third": None}
    assert int8_share.share(spent, found) == pytest.approx(128 / 200)


def test_no_layer_stands_for_two_operators(model: ModelProto) -> None:
    layers = [layer("second/relu", "QLinearMatMul"), layer("second", "QLinearMatMul")]
    found = int8_share.ran(model, cost(model), layers, "onnxruntime")
    assert found == {"first": None, "second": True, "third": None}
