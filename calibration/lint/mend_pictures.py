"""Menders of Q/DQ on a raw uint8 picture: its 256 values fit int8 exactly, less 128. Knows no samples and no runtime.

NNCF puts a uint8 pair behind the Cast of a picture; symmetric int8 over 0..255 would keep 128 of the 256 values.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from onnx import NodeProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.lint.draft import Draft
from edge_sdk.calibration.lint.mend_weights import dequantized
from edge_sdk.calibration.lint.pairs import keeps_picture, raw_pictures, stored, whole_pairs
from edge_sdk.runtimes.operators import DEQUANTIZE, QUANTIZE
from edge_sdk.tensors import Array

_SHIFT = 128


def unpaired_pictures(draft: Draft, found: Collection[str]) -> None:
    """The named pairs on a raw picture are left out: its values are whole numbers already."""
    index = draft.index
    pictures = raw_pictures(index)
    for q, dqs in whole_pairs(index).values():
        named = any(node.name in found for node in (q, *dqs))
        if not named or q.input[0] not in pictures or any(dq.output[0] in index.outputs for dq in dqs):
            continue
        exact = all(keeps_picture(node, index) for node in (q, *dqs))
        if exact or not draft.exact:
            for dq in dqs:
                draft.reconnect(dq.output[0], q.input[0])
            draft.say(q.name, "no pair on the picture, whose values are whole numbers", exact=exact)
    draft.drop_unread()


def centred_pictures(draft: Draft, found: Collection[str]) -> None:
    """The named int8 convolutions of a raw picture read it less 128 through a pair of scale 1, which is exact."""
    index = draft.index
    places: dict[str, list[NodeProto]] = {}
    made: dict[tuple[str, tuple[int, ...]], str] = {}
    for node in index.model.graph.node:
        if node.name not in found or not _reads_picture(node, index):
            continue
        pads = graphs.ints(node, "pads")
        key = (node.input[0], pads if any(pads) else ())
        if key not in made:
            maker = index.producer[node.input[0]]
            new = _shifted(draft, node.input[0], key[1])
            places.setdefault(maker.name, [maker]).extend(new)
            made[key] = new[-1].output[0]
        weight = dequantized(index.producer[node.input[1]], index)
        if weight is None:
            raise AssertionError("_reads_picture looks at it")
        node.input[0] = made[key]
        _unpadded(node)
        _add_to_bias(draft, node, index, _SHIFT * weight.astype(np.float64).reshape(len(weight), -1).sum(axis=1))
        draft.say(node.name, "reads the picture less 128 as int8 of scale 1; the 128 is in its bias")
    draft.edit(places)
    draft.drop_unread()


def _reads_picture(node: NodeProto, index: Index) -> bool:
    """Whether a convolution of int8 weights reads a raw picture in float, and its border can be written out."""
    pictures = raw_pictures(index, quantized=False)
    if node.op_type != "Conv" or node.input[0] not in pictures or not stored(node.input[1], index):
        return False
    bias = node.input[2] if len(node.input) > 2 else ""
    plain = graphs.text(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID") and (not bias or bias in index.constants)
    return plain and dequantized(index.producer[node.input[1]], index) is not None


def _shifted(draft: Draft, tensor: str, pads: tuple[int, ...]) -> list[NodeProto]:
    """Picture minus 128, its border written out, Q and DQ."""
    shift = draft.store("picture_shift", np.asarray(-_SHIFT, np.float32))
    nodes = [draft.node("Add", [tensor, shift], draft.tensor(f"{tensor}_centred"))]
    if pads:
        half = len(pads) // 2
        sizes = draft.store("picture_pads", np.array([0, 0, *pads[:half], 0, 0, *pads[half:]], np.int64))
        nodes.append(draft.node("Pad", [nodes[-1].output[0], sizes, shift], draft.tensor(f"{tensor}_padded")))
    scale, zero = (
        draft.store("picture_scale", np.asarray(1, np.float32)),
        draft.store("picture_zero", np.asarray(0, np.int8)),
    )
    q = draft.node(QUANTIZE, [nodes[-1].output[0], scale, zero], draft.tensor(f"{tensor}_q"))
    return [*nodes, q, draft.node(DEQUANTIZE, [q.output[0], scale, zero], draft.tensor(f"{tensor}_dq"))]


def _unpadded(node: NodeProto) -> None:
    for item in [a for a in node.attribute if a.name == "pads"]:
        node.attribute.remove(item)


def _add_to_bias(draft: Draft, node: NodeProto, index: Index, amount: Array) -> None:
    bias = index.constants[node.input[2]] if len(node.input) > 2 and node.input[2] else np.zeros(1)
    name = draft.store(f"{node.output[0]}_bias", (bias.astype(np.float64) + amount).astype(np.float32))
    del node.input[2:]
    node.input.append(name)
