"""QuantizeLinear and DequantizeLinear of an indexed graph: which there are, and what they say. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto, TensorProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.ops import operator
from edge_sdk.runtimes.operators import DEQUANTIZE, PAIR, QUANTIZE
from edge_sdk.tensors import Array

EIGHT_BITS: dict[int, tuple[int, int]] = {TensorProto.INT8: (-128, 127), TensorProto.UINT8: (0, 255)}
"""Smallest and largest number of each type."""


def pairs(index: Index) -> Iterator[NodeProto]:
    """Every Q and DQ of the standard domain."""
    yield from (n for n in index.model.graph.node if n.op_type in PAIR and n.domain in graphs.STANDARD_DOMAINS)


def weights(index: Index) -> Iterator[NodeProto]:
    """Every DQ of a stored tensor."""
    yield from (n for n in pairs(index) if n.op_type == DEQUANTIZE and n.input[0] in index.constants)


def activations(index: Index) -> Iterator[NodeProto]:
    """Q and DQ of what varies; a Q of a constant (weights stored as float) counts as weight."""
    for node in pairs(index):
        source = index.producer.get(node.input[0])
        of_constant = source is not None and source.op_type == QUANTIZE and source.input[0] in index.constants
        if node.input[0] not in index.constants and not of_constant:
            yield node


def scale(node: NodeProto, index: Index) -> Array | None:
    """The scale of a Q or DQ; None where the graph computes it."""
    return index.constants.get(node.input[1])


def has_zero(node: NodeProto) -> bool:
    """Whether a Q or DQ has a zero point."""
    return len(node.input) > 2 and bool(node.input[2])


def zero(node: NodeProto, index: Index) -> Array | None:
    """The zero point of a Q or DQ; None where it has none, or where the graph computes it."""
    return index.constants.get(node.input[2]) if has_zero(node) else None


def kind(node: NodeProto, index: Index) -> int:
    """The quantized type of a Q or DQ: of its zero point, its stored weight, or uint8 by ONNX's default."""
    name = node.input[0] if node.op_type == DEQUANTIZE else ""
    if has_zero(node):
        name = node.input[2]
    stated = graphs.integer(node, "output_dtype", 0) if node.op_type == QUANTIZE else 0
    default = stated or TensorProto.UINT8
    return index.types.get(name, default) or default


def axis_of(node: NodeProto, rank: int) -> int | None:
    """The axis of a Q or DQ counted from 0; None if the tensor has no such axis."""
    axis = graphs.integer(node, "axis", 1)
    return axis % rank if -rank <= axis < rank else None


def stored(tensor: str, index: Index) -> bool:
    """Whether a DQ of a stored weight makes `tensor`."""
    maker = index.producer.get(tensor)
    return maker is not None and maker.op_type == DEQUANTIZE and maker.input[0] in index.constants


def made_by(tensor: str, op: str, index: Index) -> bool:
    """Whether an operator of type `op` makes `tensor`."""
    maker = index.producer.get(tensor)
    return maker is not None and maker.op_type == op


def is_matrix(node: NodeProto) -> bool:
    """Whether a node is a convolution or a product."""
    return operator(node).kind == "matrix"


def int8_weight(node: NodeProto, index: Index) -> bool:
    """Whether a matrix operator reads its second input through DQ."""
    return is_matrix(node) and len(node.input) > 1 and made_by(node.input[1], DEQUANTIZE, index)


def whole_pairs(index: Index) -> dict[str, tuple[NodeProto, tuple[NodeProto, ...]]]:
    """By Q's name, each Q of what varies with the DQs that read it: those of 8 bits, with stored scales and zero
    points, whose numbers nothing but DQ reads."""
    found = {}
    for q in activations(index):
        readers = index.readers.get(q.output[0], ())
        whole = q.op_type == QUANTIZE and q.output[0] not in index.outputs
        alone = all(reader.op_type == DEQUANTIZE for reader in readers)
        if whole and alone and all(_known(node, index) for node in (q, *readers)):
            found[q.name] = (q, readers)
    return found


def _known(node: NodeProto, index: Index) -> bool:
    values = scale(node, index)
    return (
        kind(node, index) in EIGHT_BITS
        and values is not None
        and bool((values > 0).all())
        and (not has_zero(node) or zero(node, index) is not None)
    )


def zero_or_default(node: NodeProto, index: Index) -> Array:
    """The zero point of a Q or DQ with stored values: 0 of its type where it has none."""
    found = zero(node, index)
    dtype = np.int8 if kind(node, index) == TensorProto.INT8 else np.uint8
    return np.zeros((), dtype) if found is None else found


def raw_pictures(index: Index, *, quantized: bool = True) -> frozenset[str]:
    """Tensors that hold the values of a uint8 input: behind Cast to float and Transpose, and, where `quantized`, behind
    Q and DQ."""
    found = {name for name in index.inputs if index.types.get(name) == TensorProto.UINT8}
    for node in index.model.graph.node:
        moves = operator(node).picture and not any(node.input[1:])  # the linter adds empty names
        if (moves or (quantized and node.op_type in PAIR)) and node.input[0] in found:
            found.update(node.output)
    return frozenset(found.difference(index.inputs))


def keeps_picture(node: NodeProto, index: Index) -> bool:
    """Whether a Q or DQ of 8 bits has a number for each of 0, 1, ... 255."""
    steps, low = index.constants.get(node.input[1]), EIGHT_BITS.get(kind(node, index), (0, 0))[0]
    whole = steps is not None and bool((steps == 1).all())
    return whole and kind(node, index) in EIGHT_BITS and bool((zero_or_default(node, index) == low).all())
