"""Reads the few facts of an ONNX file that adapters need, from its protobuf bytes. Knows no onnx package.

Field numbers are those of onnx.proto: ModelProto.graph 7; GraphProto.node 1, initializer 5; NodeProto.input 1,
output 2, op_type 4; TensorProto.dims 1, data_type 2, int32_data 5, name 8, raw_data 9.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from edge_sdk.errors import BadInput

UINT8, INT8, FLOAT, FLOAT16, BFLOAT16 = 2, 3, 1, 10, 16
"""TensorProto.DataType values in use here."""


@dataclass(frozen=True, slots=True)
class Node:
    """op: type without domain."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Initializer:
    """dtype: TensorProto.DataType. raw: its bytes as a view into the file (empty if stored as typed fields)."""

    name: str
    dtype: int
    rank: int
    raw: memoryview


@dataclass(frozen=True, slots=True)
class OnnxFacts:
    """Nodes in file order, initializers by name. Subgraphs of If and Loop are not entered."""

    nodes: tuple[Node, ...]
    initializers: Mapping[str, Initializer]

    def producers(self) -> dict[str, Node]:
        """The node that makes each tensor."""
        return {output: node for node in self.nodes for output in node.outputs if output}


def read_facts(graph: bytes, *, where: str) -> OnnxFacts:
    """Nodes and initializers of a model file. Raises BadInput if the bytes aren't one."""
    nodes: list[Node] = []
    initializers: dict[str, Initializer] = {}
    try:
        for number, body in _fields(memoryview(graph)):
            if number != 7 or not isinstance(body, memoryview):
                continue
            for inner, part in _fields(body):
                if inner == 1 and isinstance(part, memoryview):
                    nodes.append(_node(part))
                elif inner == 5 and isinstance(part, memoryview):
                    tensor = _initializer(part)
                    initializers[tensor.name] = tensor
    except (ValueError, IndexError, UnicodeDecodeError) as exc:
        raise BadInput("not an ONNX file", where=where, do="Export it again") from exc
    if not nodes:
        raise BadInput("not an ONNX file: it has no nodes", where=where, do="Export it again")
    return OnnxFacts(tuple(nodes), initializers)


def int8_weights_beyond_64(facts: OnnxFacts) -> bool:
    """Whether a stored int8 weight leaves [-64, 64], so that two products can overflow a 16-bit sum."""
    for tensor in facts.initializers.values():
        if tensor.dtype == INT8 and tensor.rank >= 2 and len(tensor.raw):
            values = np.frombuffer(tensor.raw, dtype=np.int8)
            if values.min() < -64 or values.max() > 64:
                return True
    return False


def _node(body: memoryview) -> Node:
    op, inputs, outputs = "", [], []
    for number, value in _fields(body):
        if not isinstance(value, memoryview):
            continue
        if number == 1:
            inputs.append(str(value, "utf-8"))
        elif number == 2:
            outputs.append(str(value, "utf-8"))
        elif number == 4:
            op = str(value, "utf-8")
    return Node(op, tuple(inputs), tuple(outputs))


def _initializer(body: memoryview) -> Initializer:
    name, dtype, rank, raw = "", 0, 0, memoryview(b"")
    for number, value in _fields(body):
        if number == 1:  # packed or one by one
            rank += 1 if isinstance(value, int) else sum(1 for byte in value if byte < 0x80)
        elif number == 2 and isinstance(value, int):
            dtype = value
        elif number == 5 and isinstance(value, memoryview) and dtype == INT8:
            raw = memoryview(np.array(list(_varints(value)), dtype=np.uint64).astype(np.int8).tobytes())
        elif number == 8 and isinstance(value, memoryview):
            name = str(value, "utf-8")
        elif number == 9 and isinstance(value, memoryview):
            raw = value
    return Initializer(name, dtype, rank, raw)


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of one message: int for varints, a view for length-delimited, fixed ones as a view."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        if kind == 2:
            size, position = _varint(data, position)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if position + size > end:
            raise ValueError("field leaves its message")
        yield number, data[position : position + size]
        position += size


def _varints(data: memoryview) -> Iterator[int]:
    position = 0
    while position < len(data):
        value, position = _varint(data, position)
        yield value


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("varint is too long")
