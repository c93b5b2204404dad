"""The operators of an int8 graph that saturate on a CPU without VNNI, and what each loses. Knows no whole graph.

Verified bit by bit against both runtimes on AVX2 (tests/calibration/test_saturating.py): Conv of 1 to 3 dimensions,
with strides, pads, dilations and groups, MatMul and Gemm. Depthwise kernels add in 32 bits. OpenVINO's int8
ConvTranspose saturates as well and is left out; ONNX Runtime has none in int8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.ops import DEQUANTIZE, depthwise, operator
from edge_sdk.calibration.saturation.loss import Order, lost_in_pairs, unsafe_pairs
from edge_sdk.calibration.statistics.weights import by_output
from edge_sdk.runtimes.operators import QUANTIZE, is_product
from edge_sdk.tensors import Array

MOST_COLUMN_BYTES = 2**23
"""Of inputs that are laid out at once; as pairs of int32 they take eight times that."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """One operator that can saturate.

    weights: int8 (groups, O / groups, I / groups, taps). kernel: sizes of the taps' axes, () of a product. scale: of
    one step of its sums, float32 (O,). quantized: the tensor that it reads, int8 or uint8; zero_point: of that. order:
    in which its products are paired.
    """

    node: NodeProto
    weights: NDArray[np.int8]
    kernel: tuple[int, ...]
    scale: NDArray[np.float32]
    quantized: str
    zero_point: int
    order: Order


def saturating(index: Index, runtime: str) -> list[Layer]:
    """The operators of a Q/DQ graph that `runtime` runs in int8, and whose weights can saturate, in their order."""
    return [
        layer for node in index.model.graph.node
        if (node.op_type == "Conv" or is_product(node.op_type)) and _runs_int8(node, index, runtime)
        and (layer := _layer(node, index, runtime)) is not None
    ]  # fmt: skip


def unsafe_share(index: Index) -> float:
    """Share of the weight pairs of all int8 operators that can saturate in 16 bits for some input."""
    unsafe, total = 0.0, 0
    for node in index.model.graph.node:
        weight = index.producer.get(node.input[1]) if len(node.input) > 1 else None
        matrix = node.op_type == "Conv" or is_product(node.op_type)
        stored = index.constants.get(weight.input[0]) if matrix and weight is not None else None
        if weight is None or weight.op_type != DEQUANTIZE or stored is None or stored.dtype != np.int8:
            continue
        if stored.ndim < 2 or (node.op_type == "Conv" and depthwise(node, stored.shape)) or not stored.size:
            continue
        unsafe += unsafe_pairs(by_output(node, stored)) * stored.size
        total += stored.size
    return unsafe / total if total else 0.0


def lost_sums(layer: Layer, quantized: Array, shape: tuple[int, ...]) -> tuple[NDArray[np.int64], int]:
    """Exact less saturated sums of one layer, int64 in the shape of its output; and how many pair sums were cut.

    quantized: what it reads, int8 or uint8, (N, C, ...) or, of a product, (..., K). shape: of its output.
    """
    shift = 128 if quantized.dtype == np.int8 else 0
    values = (quantized.astype(np.int16) + shift).astype(np.uint8)
    groups, outputs = layer.weights.shape[:2]
    lost = np.zeros((groups * outputs, int(np.prod(shape)) // max(groups * outputs, 1)), np.int64)
    cut = 0
    for group in range(groups):
        at, out = 0, lost[group * outputs : (group + 1) * outputs]
        for columns in _columns(layer, values, group, layer.zero_point + shift, shape):
            width = columns.shape[2]
            out[:, at : at + width], count = lost_in_pairs(columns, layer.weights[group], layer.order)
            at, cut = at + width, cut + count
    if is_product(layer.node.op_type):
        return lost.T.reshape(shape), cut
    return np.moveaxis(lost.reshape(-1, shape[0], *shape[2:]), 0, 1), cut


def _columns(
    layer: Layer, values: NDArray[np.uint8], group: int, zero: int, shape: tuple[int, ...]
) -> Iterator[NDArray[np.uint8]]:
    """Of one group, (I / groups, taps, positions): parts that follow each other in the order of output positions."""
    inputs, taps = layer.weights.shape[2:]
    if is_product(layer.node.op_type):
        rows = values.reshape(-1, inputs)
        step = max(MOST_COLUMN_BYTES // max(inputs, 1), 1)
        yield from (rows[start : start + step].T[:, None] for start in range(0, len(rows), step))
        return
    windows = _windows(layer, values[:, group * inputs : (group + 1) * inputs], zero, shape)
    rank = len(shape) - 2
    for sample in windows:  # (I, *positions, *kernel)
        step = max(MOST_COLUMN_BYTES * shape[2] // max(inputs * taps * int(np.prod(shape[2:])), 1), 1)
        for start in range(0, shape[2], step):
            part = sample[:, start : start + step]
            part = np.moveaxis(part, tuple(range(1, 1 + rank)), tuple(range(-rank, 0)))
            yield np.ascontiguousarray(part).reshape(inputs, taps, -1)


def _windows(layer: Layer, values: NDArray[np.uint8], zero: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A view (N, I, *positions, *kernel) of `values` (N, I, ...), padded with `zero`."""
    node, rank = layer.node, values.ndim - 2
    strides, dilations = (graphs.ints(node, name) or (1,) * rank for name in ("strides", "dilations"))
    reach = [(size - 1) * gap + 1 for size, gap in zip(layer.kernel, dilations)]
    pads = _pads(node, values.shape[2:], shape[2:], strides, reach)
    padded = np.pad(values, [(0, 0), (0, 0), *pads], constant_values=zero)
    view = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=tuple(range(2, 2 + rank)))
    taken = (slice(None), slice(None), *(slice(None, None, step) for step in (*strides, *dilations)))
    return np.asarray(view[taken])


def _pads(
    node: NodeProto, sizes: Sequence[int], made: Sequence[int], strides: Sequence[int], reach: Sequence[int]
) -> list[tuple[int, int]]:
    """Before and behind each axis; of SAME_UPPER and SAME_LOWER as the output's sizes ask for."""
    auto, rank = graphs.text(node, "auto_pad", "NOTSET"), len(sizes)
    if auto.startswith("SAME"):
        whole = [max((n - 1) * s + r - size, 0) for n, s, r, size in zip(made, strides, reach, sizes)]
        return [(pad // 2, pad - pad // 2) if auto == "SAME_UPPER" else (pad - pad // 2, pad // 2) for pad in whole]
    pads = (graphs.ints(node, "pads") if auto == "NOTSET" else ()) or (0,) * 2 * rank
    return list(zip(pads[:rank], pads[rank:]))


def _runs_int8(node: NodeProto, index: Index, runtime: str) -> bool:
    """Whether the runtime's kernel for it is an int8 one: ONNX Runtime wants QuantizeLinear behind a convolution."""
    if runtime != "onnxruntime" or operator(node).answers_float:
        return True
    reader = index.only_reader(node.output[0])
    return reader is not None and reader.op_type == QUANTIZE


def _layer(node: NodeProto, index: Index, runtime: str) -> Layer | None:
    """None where a side is not dequantized int8, or no pair of weights can saturate."""
    sources = [index.producer.get(name) for name in node.input[:2]]
    data, weight = sources[0], sources[-1]
    if data is None or weight is None or any(one.op_type != DEQUANTIZE for one in (data, weight)):
        return None
    stored = index.constants.get(weight.input[0])
    if stored is None or stored.dtype != np.int8 or depthwise(node, stored.shape):
        return None
    if is_product(node.op_type) and (stored.ndim != 2 or graphs.integer(node, "transA", 0)):
        return None
    rows = by_output(node, stored)
    if unsafe_pairs(rows) == 0.0:
        return None
    groups = graphs.integer(node, "group", 1)
    step, weight_steps = (index.constants[one.input[1]].astype(np.float32) for one in (data, weight))
    zero = index.constants[data.input[2]] if len(data.input) > 2 and data.input[2] else np.int8(0)
    return Layer(
        node=node,
        weights=rows.reshape(groups, len(rows) // groups, rows.shape[1], -1),
        kernel=() if is_product(node.op_type) else tuple(rows.shape[2:]),
        scale=np.broadcast_to(step * weight_steps, (len(rows),)),
        quantized=data.input[0],
        zero_point=int(zero),
        order="taps" if runtime == "openvino" and groups == 1 else "flat",
    )
