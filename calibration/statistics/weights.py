"""Which axis and entry of a matrix operator's weight belongs to which channel. Knows shapes; no values, no scales.

Conv has (O, I / groups, ...), ConvTranspose (I, O / groups, ...), MatMul (I, O), Gemm either way.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.ops import operator
from edge_sdk.runtimes.operators import is_product

Number = TypeVar("Number", bound=np.generic)
Channels = NDArray[np.intp]


def weight_axis(node: NodeProto) -> int | None:
    """The axis of the weight that holds output channels; None where only one scale is portable."""
    if _transposed(node) and group_of(node) > 1:
        return None  # [in, out / groups, ...]: axis 1 has too few entries for several groups
    if node.op_type == "Gemm" and graphs.integer(node, "transB", 0):
        return 0
    return operator(node).weight_axis


def output_axis(node: NodeProto, rank: int) -> int | None:
    """The axis of output channels of a weight of `rank` axes; a MatMul may hold a matrix for each sample."""
    return rank - 1 if node.op_type == "MatMul" and rank > 2 else weight_axis(node)


def by_output(node: NodeProto, weight: NDArray[Number]) -> NDArray[Number]:
    """The weight as (O, I / groups, ...), however the operator stores it."""
    if not _transposed(node):
        return np.moveaxis(weight, weight_axis(node) or 0, 0)
    parts = np.swapaxes(weight.reshape(group_of(node), -1, *weight.shape[1:]), 1, 2)
    return parts.reshape(-1, *parts.shape[2:])  # of (groups, O / groups, I / groups, ...)


def channels_out(node: NodeProto, shape: tuple[int, ...]) -> int:
    """How many channels the operator makes."""
    return shape[1] * group_of(node) if _transposed(node) else shape[weight_axis(node) or 0]


def channels_in(node: NodeProto, shape: tuple[int, ...]) -> int:
    """How many channels the operator reads."""
    if is_product(node.op_type):
        return shape[1 - (weight_axis(node) or 0)]
    return shape[0] if _transposed(node) else shape[1] * group_of(node)


def inputs_of(node: NodeProto, shape: tuple[int, ...]) -> Channels:
    """Which input channel each entry of the weight multiplies, to be broadcast against it."""
    if is_product(node.op_type):
        channels = np.arange(channels_in(node, shape))
        return channels if weight_axis(node) == 0 else channels[:, None]
    return _first_axis(shape) if _transposed(node) else _of_groups(node, shape)


def outputs_of(node: NodeProto, shape: tuple[int, ...]) -> Channels:
    """Which output channel each entry of the weight adds to, to be broadcast against it."""
    if is_product(node.op_type):
        channels = np.arange(channels_out(node, shape))
        return channels[:, None] if weight_axis(node) == 0 else channels
    return _of_groups(node, shape) if _transposed(node) else _first_axis(shape)


def group_of(node: NodeProto) -> int:
    """The number of groups; 1 for a product."""
    return graphs.integer(node, "group", 1)


def _transposed(node: NodeProto) -> bool:
    return node.op_type == "ConvTranspose"


def _first_axis(shape: tuple[int, ...]) -> Channels:
    return np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))


def _of_groups(node: NodeProto, shape: tuple[int, ...]) -> Channels:
    """Channels along axis 1, of the group that the entry of axis 0 belongs to."""
    first = np.repeat(np.arange(group_of(node)) * shape[1], shape[0] // group_of(node))
    return (first[:, None] + np.arange(shape[1])).reshape(*shape[:2], *[1] * (len(shape) - 2))
