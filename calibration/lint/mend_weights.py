"""Menders of stored weights and biases behind DequantizeLinear, and of scales. Knows no samples and no runtime.

Each takes a draft whose nodes have names of their own, and the names of those that break its rule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from onnx import NodeProto, helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.lint.draft import Draft
from edge_sdk.calibration.lint.pairs import axis_of, has_zero, stored, zero_or_default
from edge_sdk.calibration.ops import operator
from edge_sdk.calibration.statistics.ranges import quantize_weights
from edge_sdk.calibration.statistics.weights import output_axis
from edge_sdk.runtimes.operators import DEQUANTIZE, PAIR
from edge_sdk.runtimes.variants import TOP
from edge_sdk.tensors import Array


def dequantized(dq: NodeProto, index: Index) -> Array | None:
    """What a DQ of a stored tensor makes, float32 by ONNX's arithmetic; None where the scale is computed, blocked, or
    of another size."""
    values, scale = index.constants.get(dq.input[0]), index.constants.get(dq.input[1])
    if values is None or scale is None or graphs.integer(dq, "block_size", 0) or _computed_zero(dq, index):
        return None
    point = zero_or_default(dq, index)
    if scale.size > 1:
        axis = axis_of(dq, values.ndim)
        if axis is None or values.shape[axis] != scale.size or point.size not in (1, scale.size):
            return None
        along = [1] * values.ndim
        along[axis] = scale.size
        scale, point = scale.reshape(along), point.reshape(along if point.size > 1 else ())
    else:
        scale, point = scale.reshape(()), point.reshape(-1)[:1].reshape(())
    whole = values.astype(np.int32) - point.astype(np.int32)
    return np.asarray(whole.astype(np.float32) * scale.astype(np.float32), np.float32)


def _computed_zero(dq: NodeProto, index: Index) -> bool:
    return has_zero(dq) and dq.input[2] not in index.constants


def floating(draft: Draft, found: Collection[str]) -> None:
    """A DQ of a stored tensor, or that of the weight that a named operator reads, is folded: the tensor is float32."""
    index = draft.index
    for dq in list(_dequantizers(found, index)):
        value = dequantized(dq, index)
        if value is not None and dq.output[0] not in index.outputs:
            name = draft.store(f"{dq.input[0]}_float", value)
            draft.reconnect(dq.output[0], name, list(_readers(dq, found, index)))
            draft.say(dq.name, "stored as float32, the values that DequantizeLinear gave")
    draft.drop_unread()


def _dequantizers(found: Collection[str], index: Index) -> Iterator[NodeProto]:
    for node in index.model.graph.node:
        if node.name not in found:
            continue
        if node.op_type == DEQUANTIZE and node.input[0] in index.constants:
            yield node
        elif len(node.input) > 1 and stored(node.input[1], index):
            yield index.producer[node.input[1]]


def _readers(dq: NodeProto, found: Collection[str], index: Index) -> Iterator[NodeProto]:
    """Who shall read the float tensor: everybody if the DQ itself was found, else the named ones alone."""
    for node in index.readers.get(dq.output[0], ()):
        if dq.name in found or node.name in found:
            yield node


def symmetric_weights(draft: Draft, found: Collection[str]) -> None:
    """Weights of another type, zero point or axis become int8 with zero point 0, along the axis of the operator that
    reads them: by a shift where the numbers fit, else quantized anew."""
    index = draft.index
    for dq in list(_dequantizers(found, index)):
        axes = _wanted_axes(dq, index)
        moved = shifted_weight(dq, index)
        if moved is not None:
            shape = index.constants[dq.input[1]].shape
            dq.input[0] = draft.store(f"{dq.input[0]}_int8", moved)
            del dq.input[2:]
            dq.input.append(draft.store(f"{dq.input[1]}_zero", np.zeros(shape, np.int8)))
            draft.say(dq.name, "the same weights as int8 with zero point 0")
        elif len(axes) == 1 and not draft.exact:
            _requantize(draft, dq, dequantized(dq, index), axes.pop())
    draft.drop_unread()


def _wanted_axes(dq: NodeProto, index: Index) -> set[int | None]:
    """The axes that readers of a stored tensor want its scales along; its own where nobody reads it as a weight."""
    rank, name = index.constants[dq.input[0]].ndim, dq.output[0]
    weighs = [n for n in index.readers.get(name, ()) if operator(n).kind == "matrix" and name in n.input[1:2]]
    if weighs:
        return {output_axis(node, rank) for node in weighs}
    scale = index.constants.get(dq.input[1])
    return {axis_of(dq, rank) if scale is not None and scale.size > 1 else None}


def shifted_weight(dq: NodeProto, index: Index) -> Array | None:
    """The numbers of a stored tensor less its zero point, as int8; None where they don't fit, or where the scales lie
    along another axis than its readers want."""
    values, scale, point = index.constants[dq.input[0]], index.constants.get(dq.input[1]), zero_or_default(dq, index)
    axis, axes = axis_of(dq, values.ndim), _wanted_axes(dq, index)
    if (
        scale is None
        or len(axes) != 1
        or _computed_zero(dq, index)
        or (scale.size > 1 and axis not in axes)
        or point.size not in (1, scale.size)
        or (point.size > 1 and (axis is None or values.shape[axis] != point.size))
        or values.dtype not in (np.int8, np.uint8)
    ):
        return None
    along = [1] * values.ndim
    if point.size > 1 and axis is not None:
        along[axis] = point.size
    moved = values.astype(np.int32) - point.astype(np.int32).reshape(along)
    fits = moved.min(initial=0) >= -TOP and moved.max(initial=0) <= TOP
    return moved.astype(np.int8) if fits else None


def _requantize(draft: Draft, dq: NodeProto, real: Array | None, axis: int | None, *, limit: int = TOP) -> None:
    if real is None or not np.isfinite(real).all():
        return
    packed = quantize_weights(real, axis=axis, limit=limit)
    stem = dq.input[0]
    parts: dict[str, Array] = {
        "int8": packed.values, "scale": packed.scale, "zero": np.zeros(packed.scale.shape, np.int8),
    }  # fmt: skip
    dq.input[:] = [draft.store(f"{stem}_{part}", value) for part, value in parts.items()]
    kept = [a for a in dq.attribute if a.name not in ("axis", "block_size")]
    del dq.attribute[:]
    dq.attribute.extend(kept)
    if axis is not None:
        dq.attribute.append(helper.make_attribute("axis", axis))
    draft.say(dq.name, f"weights quantized anew: symmetric, within {limit}", exact=False)


def live_channels(draft: Draft, found: Collection[str]) -> None:
    """A channel whose scale is 0 gets the layer's median scale and weights of 0: the same values."""
    index = draft.index
    for dq in list(_dequantizers(found, index)):
        values, scale = index.constants[dq.input[0]], index.constants.get(dq.input[1])
        axis = axis_of(dq, values.ndim)
        if scale is None or scale.ndim != 1 or axis is None or values.shape[axis] != scale.size or (scale < 0).any():
            continue
        dead = scale == 0
        usual = np.median(scale[~dead]) if not dead.all() else 1.0
        along = [1] * values.ndim
        along[axis] = scale.size
        point = zero_or_default(dq, index)
        nothing = np.broadcast_to(point.reshape(along if point.size > 1 else ()), values.shape)
        dq.input[0] = draft.store(f"{dq.input[0]}_live", np.where(dead.reshape(along), nothing, values))
        dq.input[1] = draft.store(f"{dq.input[1]}_live", np.where(dead, np.float32(usual), scale))
        draft.say(dq.name, f"{int(dead.sum())} dead channels have the layer's median scale")
    draft.drop_unread()


def scalars(draft: Draft, found: Collection[str]) -> None:
    """A scale for the whole tensor, and its zero point, get rank 0."""
    index = draft.index
    names: dict[str, str] = {}
    for node in index.model.graph.node:
        if node.op_type in PAIR and node.name in found:
            for i, name in enumerate(node.input[1:3], start=1):
                value = index.constants.get(name)
                if value is not None and value.size == 1 and value.ndim:
                    if name not in names:
                        names[name] = draft.store(f"{name}_scalar", np.reshape(value, ()))
                    node.input[i] = names[name]
            draft.say(node.name, "scale and zero point have rank 0")
    draft.drop_unread()


def positive_axes(draft: Draft, found: Collection[str]) -> None:
    """A negative axis of Q or DQ is counted from 0; left out where there is but one scale."""
    index = draft.index
    for node in index.model.graph.node:
        if node.op_type not in PAIR or node.name not in found:
            continue
        scale = index.constants.get(node.input[1])
        shape = index.shapes.get(node.input[0]) if node.input[0] not in index.constants else None
        rank = index.constants[node.input[0]].ndim if node.input[0] in index.constants else len(shape or ())
        axis = axis_of(node, rank) if rank else None
        one = scale is not None and scale.ndim == 0
        if axis is None and not one:
            continue
        for item in [a for a in node.attribute if a.name == "axis"]:
            if one:
                node.attribute.remove(item)
            else:
                item.i = axis or 0
        draft.say(node.name, "no axis: one scale for all" if one else f"axis {axis}")
    draft.changed()
