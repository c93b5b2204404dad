"""Mends an activation with a scale per channel: the ratio goes into the weights on both sides, or one scale holds all.

NNCF quantizes what depthwise convolutions read like that. Knows no samples and no runtime.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from edge_sdk.calibration import ops
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.lint.draft import Draft
from edge_sdk.calibration.lint.pairs import axis_of, stored, whole_pairs, zero_or_default
from edge_sdk.calibration.ops import operator
from edge_sdk.tensors import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Side:
    """The DQ of a weight whose scales lie along the tensor's channels, and the bias behind it ("": none)."""

    dq: NodeProto
    node: NodeProto
    bias: str = ""


def one_scale(draft: Draft, found: Collection[str]) -> None:
    """One scale, the largest. Where a convolution makes the tensor and depthwise ones alone read it, each channel keeps
    its own grid: the convolution's weight scales and bias are divided by the ratio and those behind multiplied."""
    if draft.exact:
        return
    index = draft.index
    for q, dqs in whole_pairs(index).values():
        scale = index.constants[q.input[1]]
        if q.name not in found or scale.size < 2:
            continue
        points = {int(v) for node in (q, *dqs) for v in zero_or_default(node, index).flat}
        if len(points) > 1:
            continue  # another rule's, whose mend comes first where its runtime is asked for
        top = np.float32(scale.max())
        sides = _sides(q, dqs, index)
        if sides is not None:
            _fold(draft, index, sides, scale.astype(np.float64) / float(top))
        name = draft.store(f"{q.input[0]}_scale", np.asarray(top))
        zero = draft.store(f"{q.input[0]}_zero", zero_or_default(q, index).reshape(-1)[0])
        for node in (q, *dqs):
            node.input[1] = name
            del node.input[2:]
            node.input.append(zero)
        how = "the ratio of each channel is in the weights before and behind" if sides is not None else "the largest"
        draft.say(q.name, f"one scale for all channels: {how}", exact=False)
    draft.drop_unread()


def _sides(q: NodeProto, dqs: tuple[NodeProto, ...], index: Index) -> tuple[_Side, tuple[_Side, ...]] | None:
    """What makes the tensor, and what reads it; None unless a ratio can pass on both sides."""
    name = q.input[0]
    while (maker := index.producer.get(name)) is not None and maker.op_type == "Relu":
        # relu(r x) = r relu(x) for r > 0: a ratio passes through
        if index.only_reader(name) is None:
            return None
        name = maker.input[0]
    channels = index.constants[q.input[1]].size
    if maker is None or maker.op_type != "Conv" or index.only_reader(name) is None or axis_of(q, 4) != 1:
        return None
    before = _side(maker, channels, index)
    behind = [_side(node, channels, index) for dq in dqs for node in index.readers.get(dq.output[0], ())]
    read = {name for dq in dqs for name in dq.output}
    if before is None or not read.isdisjoint(index.outputs):
        return None
    fit = [side for side in behind if side is not None and _depthwise(side, index) and side.node.input[0] in read]
    return (before, tuple(fit)) if len(fit) == len(behind) else None


def _side(node: NodeProto, channels: int, index: Index) -> _Side | None:
    if node.op_type != "Conv" or operator(node).kind != "matrix" or not stored(node.input[1], index):
        return None
    dq = index.producer[node.input[1]]
    scale = index.constants.get(dq.input[1])
    bias = node.input[2] if len(node.input) > 2 else ""
    own = index.only_reader(dq.output[0]) is node and (not bias or bias in index.constants)
    along = axis_of(dq, index.constants[dq.input[0]].ndim) == 0
    return (
        _Side(dq=dq, node=node, bias=bias) if own and along and scale is not None and scale.size == channels else None
    )


def _depthwise(side: _Side, index: Index) -> bool:
    return ops.depthwise(side.node, index.constants[side.dq.input[0]].shape)


def _fold(draft: Draft, index: Index, sides: tuple[_Side, tuple[_Side, ...]], ratio: Array) -> None:
    before, behind = sides
    _scaled(draft, index, before.dq, 1.0 / ratio)
    if before.bias:
        bias = index.constants[before.bias].astype(np.float64) / ratio
        before.node.input[2] = draft.store(f"{before.bias}_folded", bias.astype(np.float32))
    for side in behind:
        _scaled(draft, index, side.dq, ratio)


def _scaled(draft: Draft, index: Index, dq: NodeProto, ratio: Array) -> None:
    scale = index.constants[dq.input[1]].astype(np.float64) * ratio
    dq.input[1] = draft.store(f"{dq.input[1]}_folded", scale.astype(np.float32))
