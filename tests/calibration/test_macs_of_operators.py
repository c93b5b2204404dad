"""Multiply-adds of single operators, counted by hand: transposed convolutions, and what is int8 by half."""

from __future__ import annotations

import numpy as np
import pytest
from calibration_nets import Builder
from onnx import ModelProto, TensorProto, helper

from edge_sdk.calibration.macs import NodeCost, cost

FLOAT, INT8, STEP, ZERO = np.float32, np.int8, np.float32(0.1), np.int8(0)


def counted(b: Builder, y: str, shape: list[int], answer: list[int]) -> NodeCost:
    """The cost of the only operator that multiplies and adds, of an input x."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in (("x", shape), (y, answer))]
    graph = helper.make_graph(b.nodes, "one", ends[:1], ends[1:], b.constants)
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (only,) = cost(model).nodes.values()
    return only


@pytest.mark.parametrize(("stride", "k", "group"), [(2, 2, 1), (2, 4, 1), (3, 2, 1), (1, 3, 1), (2, 2, 2)])
def test_each_pixel_of_a_transposed_convolutions_input_goes_through_the_whole_kernel(
    stride: int, k: int, group: int
) -> None:
    """4 channels of 5 x 7 to 6: each of its numbers is multiplied with k x k weights for each of a group's answers."""
    b = Builder(np.random.default_rng(0))
    weight = b.constant(np.ones((4, 6 // group, k, k), FLOAT))
    y = b.op("ConvTranspose", "x", weight, kernel_shape=[k, k], strides=[stride] * 2, group=group)
    size = [(edge - 1) * stride + k for edge in (5, 7)]
    found = counted(b, y, [2, 4, 5, 7], [2, 6, *size])
    assert (found.kind, found.macs) == ("transposed conv", 2 * 4 * 5 * 7 * (6 // group) * k * k)


def quantized_and_back(b: Builder, x: str) -> str:
    scale, zero = b.constant(STEP), b.constant(ZERO)
    return b.op("DequantizeLinear", b.op("QuantizeLinear", x, scale, zero), scale, zero)


@pytest.mark.parametrize("operator", ["Conv", "MatMul", "ConvTranspose"])
@pytest.mark.parametrize(("of_input", "of_weight"), [(False, False), (True, False), (False, True), (True, True)])
def test_an_operator_is_int8_where_both_of_its_factors_are(operator: str, of_input: bool, of_weight: bool) -> None:
    """Weights in int8 alone save memory; the product is of floats."""
    b = Builder(np.random.default_rng(0))
    shape = [3, 3] if operator == "MatMul" else [3, 3, 1, 1]
    if of_weight:
        weight = b.op("DequantizeLinear", b.constant(np.ones(shape, INT8)), b.constant(STEP), b.constant(ZERO))
    else:
        weight = b.constant(np.ones(shape, FLOAT))
    y = b.op(operator, quantized_and_back(b, "x") if of_input else "x", weight)
    dims = [2, 3] if operator == "MatMul" else [2, 3, 4, 4]
    found = counted(b, y, dims, dims)
    assert found.int8 == (of_input and of_weight)
    assert found.kind == {"Conv": "conv 1x1", "MatMul": "linear", "ConvTranspose": "transposed conv"}[operator]
