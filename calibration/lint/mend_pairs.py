"""Menders of Q/DQ pairs: symmetric int8 in the place of other types and zero points, one scale where values only move.

Each takes a draft whose nodes have names of their own. Ranges are read from the graph (scale, zero point and type say
what a pair can hold); no sample is seen. Knows no rule's text and no runtime.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from onnx import NodeProto, TensorProto

from edge_sdk.calibration import ops
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.lint.draft import Draft
from edge_sdk.calibration.lint.mend_copies import copy_groups
from edge_sdk.calibration.lint.pairs import (
    EIGHT_BITS,
    kind,
    whole_pairs,
    zero,
    zero_or_default,
)
from edge_sdk.calibration.ops import operator
from edge_sdk.calibration.statistics.ranges import SMALLEST_SCALE
from edge_sdk.runtimes.operators import DEQUANTIZE, QUANTIZE
from edge_sdk.runtimes.variants import TOP
from edge_sdk.tensors import Array


def shifted(draft: Draft, found: Collection[str]) -> None:
    """uint8 with zero point 128 becomes int8 with zero point 0 and the same scale: the same numbers minus 128."""
    index, zeros = draft.index, _Zeros(draft)
    for q, dqs in whole_pairs(index).values():
        if q.name in found and all(_is_128(node, index) for node in (q, *dqs)):
            for node in (q, *dqs):
                _set_zero(node, zeros.like(index.constants[node.input[1]]))
            draft.say(q.name, "uint8 with zero point 128 is int8 with zero point 0")
    draft.changed()


def _is_128(node: NodeProto, index: Index) -> bool:
    point = zero(node, index)
    return point is not None and point.dtype == np.uint8 and point.size > 0 and bool((point == 128).all())


def symmetric(draft: Draft, found: Collection[str]) -> None:
    """int8 with zero point 0 over the range that a pair had; one scale, the largest, for all between which values only
    move.

    A range of 255 steps above zero becomes one of 127, so uint8 with zero point 0 loses a bit. Such a pair cuts what is
    below zero as well: where nothing else does, a Relu does it from now on.
    """
    if draft.exact:
        return
    index, zeros = draft.index, _Zeros(draft)
    pairs = whole_pairs(index)
    cuts = {name for name, (q, _) in pairs.items() if _cuts(q, index)}
    places: dict[str, list[NodeProto]] = {}
    for group in copy_groups(index, pairs):
        if group.isdisjoint(found):
            continue
        wanted = {name: symmetric_scale(pairs[name][0], index) for name in group}
        if all(scale.size == 1 for scale in wanted.values()):
            top = max(scale.item() for scale in wanted.values())
            wanted = {name: np.full(scale.shape, top, np.float32) for name, scale in wanted.items()}
        for name in sorted(group):
            if name in cuts:
                places[name] = [_relu(draft, pairs[name][0]), pairs[name][0]]
            wider = _rescale(draft, index, pairs[name], wanted[name], zeros)
            draft.say(name, f"symmetric int8 with steps {wider:.2f} times as wide", exact=False)
    draft.edit(places)


def _cuts(q: NodeProto, index: Index) -> bool:
    """Whether a pair cuts off what is below zero, and that there may be something."""
    return _from_lowest(q, index) and not _never_negative(q.input[0], index)


def _from_lowest(node: NodeProto, index: Index) -> bool:
    """Whether the smallest number of a Q or DQ of 8 bits stands for 0."""
    return bool((zero_or_default(node, index) == EIGHT_BITS[kind(node, index)][0]).all())


def _never_negative(tensor: str, index: Index) -> bool:
    """Whether `tensor` is known to be 0 or more, by the operators that lead to it."""
    todo, seen = [tensor], set[str]()
    while todo:
        name = todo.pop()
        maker = index.producer.get(name)
        if name in seen:
            continue
        seen.add(name)
        if maker is None:
            return False
        if maker.op_type == DEQUANTIZE and kind(maker, index) in EIGHT_BITS and _from_lowest(maker, index):
            continue
        cut = maker.op_type == "Relu" or (maker.op_type == "Clip" and _from_zero(maker, index))
        if cut or operator(maker).probability:
            continue
        if maker.op_type == "Cast" and index.types.get(maker.input[0]) == TensorProto.UINT8:
            continue
        if operator(maker).kind not in ("copy", "average"):
            return False
        todo += ops.moved(maker)
    return True


def _from_zero(clip: NodeProto, index: Index) -> bool:
    low = index.constants.get(clip.input[1]) if len(clip.input) > 1 and clip.input[1] else None
    return low is not None and low.size == 1 and low.item() >= 0


def _relu(draft: Draft, q: NodeProto) -> NodeProto:
    made = draft.node("Relu", [q.input[0]], draft.tensor(f"{q.input[0]}_cut"))
    q.input[0] = made.output[0]
    return made


def _rescale(
    draft: Draft, index: Index, pair: tuple[NodeProto, tuple[NodeProto, ...]], scale: Array, zeros: _Zeros
) -> float:
    """Give a pair its scale and int8 zero points of 0; how many times as wide the steps are. Where Q's and DQ's scales
    differ they keep their ratio."""
    q, dqs = pair
    old, point = index.constants[q.input[1]], zeros.like(scale)
    names = {q.input[1]: draft.store(f"{q.input[0]}_scale", scale)}
    for node in (q, *dqs):
        if node.input[1] not in names:
            own = index.constants[node.input[1]] * (scale / old)
            names[node.input[1]] = draft.store(f"{q.input[0]}_scale", own.astype(np.float32))
        node.input[1] = names[node.input[1]]
        _set_zero(node, point)
    return float(np.max(scale / old))


def symmetric_scale(node: NodeProto, index: Index) -> Array:
    """The float32 scale, of the shape of the old one, with which int8 with zero point 0 reaches as far as `node` does.

    int8 reaches from -128 to 127 steps: uint8 with zero point 128 keeps its scale, with zero point 0 gets 255 / 127.
    """
    point = zero_or_default(node, index)
    lowest, highest = EIGHT_BITS[kind(node, index)]
    shift = point.astype(np.float64)
    steps = np.maximum((highest - shift) / TOP, (shift - lowest) / (TOP + 1))
    scale = index.constants[node.input[1]].astype(np.float64)
    return np.asarray(np.maximum(scale * np.broadcast_to(steps, scale.shape), SMALLEST_SCALE), np.float32)


def without_pairs(draft: Draft, found: Collection[str]) -> None:
    """The named operators read what stood before Q, where nothing but their pair stands in between."""
    if draft.exact:
        return
    index = draft.index
    for node in index.model.graph.node:
        dq = index.producer.get(node.input[0]) if node.name in found and node.input else None
        q = index.producer.get(dq.input[0]) if dq is not None and dq.op_type == DEQUANTIZE else None
        if q is not None and q.op_type == QUANTIZE:
            node.input[0] = q.input[0]
            draft.say(node.name, "reads its data as they were before Q", exact=False)
    draft.changed()
    draft.drop_unread()


def equal(draft: Draft, found: Collection[str]) -> None:
    """DQ takes Q's scale."""
    if draft.exact:
        return
    index = draft.index
    for q, dqs in whole_pairs(index).values():
        for dq in dqs:
            if dq.name in found:
                dq.input[1] = q.input[1]
                draft.say(dq.name, "has Q's scale", exact=False)
    draft.changed()


def once(draft: Draft, found: Collection[str]) -> None:
    """A pair behind a pair of the same scale is left out: what lies on a grid stays on it."""
    index = draft.index
    for q, dqs in whole_pairs(index).values():
        if q.name in found and not any(dq.output[0] in index.outputs for dq in dqs):
            for dq in dqs:
                draft.reconnect(dq.output[0], q.input[0])
            draft.say(q.name, "left out, with its DQ")
    draft.drop_unread()


def _set_zero(node: NodeProto, name: str) -> None:
    """Give a Q or DQ its zero point, which states the type from now on."""
    del node.input[2:]
    node.input.append(name)
    if node.op_type == QUANTIZE:
        _without_type(node)


def _without_type(node: NodeProto) -> None:
    for item in [a for a in node.attribute if a.name == "output_dtype"]:
        node.attribute.remove(item)


class _Zeros:
    """int8 zero points, one initializer for each shape."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._names: dict[tuple[int, ...], str] = {}

    def like(self, scale: Array) -> str:
        if scale.shape not in self._names:
            self._names[scale.shape] = self._draft.store("zero_point", np.zeros(scale.shape, np.int8))
        return self._names[scale.shape]
