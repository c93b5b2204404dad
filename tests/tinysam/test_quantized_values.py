"""What the range search takes int8 for is what a runtime makes of it, to the last of its 256 steps."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edge_sdk.export.tinysam.ranges.search import quantized


def by_onnxruntime(values: np.ndarray, step: np.float32) -> np.ndarray:
    nodes = [helper.make_node(f"{name}Linear", [x, "step", "zero"], [y])
             for name, x, y in (("Quantize", "x", "q"), ("Dequantize", "q", "y"))]  # fmt: skip
    kept = [numpy_helper.from_array(np.asarray(step), "step"), numpy_helper.from_array(np.int8(0), "zero")]
    graph = helper.make_graph(
        nodes, "int8", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [len(values)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [len(values)])], kept,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": values})[0])


@pytest.mark.parametrize("top", [127.0, 1.0, 6.0, 0.01])
def test_int8_has_a_step_more_below_0_and_rounds_half_to_even(top: float) -> None:
    step = np.float32(top) / np.float32(127)
    steps = np.concatenate([np.arange(-140, 140), [-128.4, -127.6, 127.4, 300.0, -300.0]]).astype(np.float32)
    values = steps * step
    found = quantized(torch.from_numpy(values), float(np.float32(top)))
    np.testing.assert_allclose(found.numpy(), by_onnxruntime(values, step), rtol=1e-6)
    assert float(found.min() / step) == pytest.approx(-128.0)
    assert float(found.max() / step) == pytest.approx(127.0)


def test_halves_go_to_the_even_step() -> None:
    halves = np.arange(-128.5, 128, dtype=np.float32)
    np.testing.assert_array_equal(
        quantized(torch.from_numpy(halves), 127.0).numpy(), by_onnxruntime(halves, np.float32(1))
    )
