"""Reads the few facts of an ONNX file that adapters need, from its protobuf bytes. Knows no onnx package.

Field numbers are those of onnx.proto: ModelProto.graph 7; GraphProto.node 1, initializer 5, input 11, output 12;
NodeProto.input 1, output 2, op_type 4; TensorProto.dims 1, data_type 2, int32_data 5, name 8, raw_data 9;
ValueInfoProto.name 1, type 2; TypeProto.tensor_type 1 with elem_type 1, shape 2; shape.dim 1 with dim_value 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_sdk.errors import BadInput
from edge_sdk.tensors import DType, TensorSpec

UINT8, INT8, FLOAT16 = 2, 3, 10
"""TensorProto.DataType values in use here."""
_DTYPES: Mapping[int, DType] = {
    1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16"
}  # fmt: skip


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
    """Nodes in file order, initializers by name. Subgraphs of If and Loop are not entered. inputs: those that are no
    initializers. outputs: an axis that the file leaves open is called "N" at position 0, "?" elsewhere."""

    nodes: tuple[Node, ...]
    initializers: Mapping[str, Initializer]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def producers(self) -> dict[str, Node]:
        """The node that makes each tensor."""
        return {output: node for node in self.nodes for output in node.outputs if output}


def graph_bytes(graph: bytes | Path, *, where: str) -> bytes:
    """The content of a graph given as bytes or as a file. Raises BadInput if the file can't be read."""
    if isinstance(graph, bytes):
        return graph
    try:
        return graph.read_bytes()
    except OSError as exc:
        raise BadInput(f"{graph} can't be read: {exc.strerror or exc}", where=where) from exc


def read_facts(graph: bytes, *, where: str) -> OnnxFacts:
    """Nodes, initializers, inputs and outputs of a model file. Raises BadInput if the bytes aren't one."""
    parts: dict[int, list[memoryview]] = {1: [], 5: [], 11: [], 12: []}
    try:
        for number, body in _fields(memoryview(graph)):
            if number == 7 and isinstance(body, memoryview):
                for inner, part in _fields(body):
                    if inner in parts and isinstance(part, memoryview):
                        parts[inner].append(part)
        nodes = tuple(map(_node, parts[1]))
        initializers = {tensor.name: tensor for tensor in map(_initializer, parts[5])}
        inputs = tuple(spec for spec in map(_spec, parts[11]) if spec.name not in initializers)
        outputs = tuple(map(_spec, parts[12]))
    except (ValueError, IndexError) as exc:  # UnicodeDecodeError is a ValueError
        raise BadInput(f"not an ONNX file that can be used: {exc}", where=where, do="Export it again") from exc
    if not nodes:
        raise BadInput("not an ONNX file: it has no nodes", where=where, do="Export it again")
    for spec in inputs:
        if any(isinstance(size, str) for size in spec.shape[1:]):
            raise BadInput(
                f"{spec.name} has shape {spec.shape}: only axis 0 may be free", where=where, do="Fix the rest"
            )
    return OnnxFacts(nodes, initializers, inputs, outputs)


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


def _spec(body: memoryview) -> TensorSpec:
    name, dtype = "", 0
    shape: list[int | str] = []
    for number, value in _fields(body):
        if number == 1:
            name = str(value, "utf-8")  # type: ignore[arg-type]
    for kind in _inside(body, 2, 1):
        dtype = next((value for number, value in _fields(kind) if number == 1 and isinstance(value, int)), 0)
        for dimension in _inside(kind, 2, 1):
            size = next((value for number, value in _fields(dimension) if number == 1 and isinstance(value, int)), None)
            shape.append(size if size is not None else "?" if shape else "N")
    if dtype not in _DTYPES:
        raise ValueError(f"{name} has ONNX data type {dtype}, which no runtime here shares")
    return TensorSpec(name=name, dtype=_DTYPES[dtype], shape=tuple(shape))


def _inside(body: memoryview, *path: int) -> Iterator[memoryview]:
    """The messages at the end of a path of field numbers."""
    for number, value in _fields(body):
        if number == path[0] and isinstance(value, memoryview):
            if len(path) == 1:
                yield value
            else:
                yield from _inside(value, *path[1:])


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
