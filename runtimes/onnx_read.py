"""Reads the few facts of an ONNX file that adapters need. Knows no onnx package, and what lies in subgraphs neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_sdk.errors import BadInput
from edge_sdk.runtimes import onnx_wire
from edge_sdk.runtimes.onnx_wire import BYTES, Malformed, Wire
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
    """dtype: TensorProto.DataType. raw: its bytes, a view into the file; int8 in typed fields is decoded, other
    typed fields are not and leave it empty."""

    name: str
    dtype: int
    rank: int
    raw: memoryview


@dataclass(frozen=True, slots=True)
class OnnxFacts:
    """Nodes in file order, initializers by name. Subgraphs of If and Loop are not entered. inputs: those that are no
    initializers. A free axis has the name that the file gives it (dim_param); one without a name is "N" at position 0
    and "axisI" at position I elsewhere."""

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
    wire = Wire(graph)
    nodes: list[Node] = []
    initializers: dict[str, Initializer] = {}
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    try:
        for model in wire.messages(0, len(graph), onnx_wire.MODEL_GRAPH):
            for number, kind, start, end in wire.fields(*model):
                if kind != BYTES:
                    continue
                if number == onnx_wire.GRAPH_NODE:
                    nodes.append(_node(wire, start, end))
                elif number == onnx_wire.GRAPH_INITIALIZER:
                    tensor = _initializer(wire, start, end)
                    initializers[tensor.name] = tensor
                elif number == onnx_wire.GRAPH_INPUT:
                    inputs.append(_spec(wire, start, end))
                elif number == onnx_wire.GRAPH_OUTPUT:
                    outputs.append(_spec(wire, start, end))
    except Malformed as exc:
        raise BadInput(f"not an ONNX file that can be used: it {exc}", where=where, do="Export it again") from exc
    inputs = [spec for spec in inputs if spec.name not in initializers]
    if not nodes:
        raise BadInput("not an ONNX file: it has no nodes", where=where, do="Export it again")
    return OnnxFacts(tuple(nodes), initializers, tuple(inputs), tuple(outputs))


def int8_weights_beyond_64(facts: OnnxFacts) -> bool:
    """Whether a stored int8 weight leaves [-64, 64], so that two products can overflow a 16-bit sum."""
    for tensor in facts.initializers.values():
        if tensor.dtype == INT8 and tensor.rank >= 2 and len(tensor.raw):
            values = np.frombuffer(tensor.raw, dtype=np.int8)
            if values.min() < -64 or values.max() > 64:
                return True
    return False


def _node(wire: Wire, at: int, stop: int) -> Node:
    op, inputs, outputs = "", [], []
    for number, kind, start, end in wire.fields(at, stop):
        if kind != BYTES:
            continue
        if number == onnx_wire.NODE_INPUT:
            inputs.append(wire.text(start, end))
        elif number == onnx_wire.NODE_OUTPUT:
            outputs.append(wire.text(start, end))
        elif number == onnx_wire.NODE_OP_TYPE:
            op = wire.text(start, end)
    return Node(op, tuple(inputs), tuple(outputs))


def _initializer(wire: Wire, at: int, stop: int) -> Initializer:
    name, dtype, rank, raw = "", 0, 0, memoryview(b"")
    typed: list[tuple[int, int]] = []
    for number, _, start, end in wire.fields(at, stop):
        if number == onnx_wire.TENSOR_DIMS:  # packed or one by one, as int32_data
            rank += sum(1 for _ in wire.numbers(start, end))
        elif number == onnx_wire.TENSOR_TYPE:
            dtype = wire.number(start, end)
        elif number == onnx_wire.TENSOR_INT32:
            typed.append((start, end))
        elif number == onnx_wire.TENSOR_NAME:
            name = wire.text(start, end)
        elif number == onnx_wire.TENSOR_RAW:
            raw = wire.content(start, end)
    if typed and dtype == INT8:
        values = np.fromiter((value for part in typed for value in wire.numbers(*part)), dtype=np.uint64)
        raw = memoryview(values.astype(np.int8).tobytes())
    return Initializer(name, dtype, rank, raw)


def _spec(wire: Wire, at: int, stop: int) -> TensorSpec:
    name, dtype = "", 0
    shape: list[int | str] = []
    for start, end in wire.messages(at, stop, onnx_wire.VALUE_NAME):
        name = wire.text(start, end)
    for start, end in wire.messages(at, stop, onnx_wire.VALUE_TYPE, onnx_wire.TYPE_TENSOR):
        dtype = _number(wire, start, end, onnx_wire.TYPE_ELEMENT) or 0
        for first, last in wire.messages(start, end, onnx_wire.TYPE_SHAPE, onnx_wire.SHAPE_DIM):
            size = _number(wire, first, last, onnx_wire.DIM_VALUE)
            shape.append(size if size is not None else _axis_name(wire, first, last, len(shape)))
    if dtype not in _DTYPES:
        raise Malformed(f"has {name} of ONNX data type {dtype}, which no runtime here shares")
    return TensorSpec(name=name, dtype=_DTYPES[dtype], shape=tuple(shape))


def _axis_name(wire: Wire, at: int, stop: int, position: int) -> str:
    """The name of a free axis, or one made of its position where the file gives none."""
    given = [wire.text(start, end) for start, end in wire.messages(at, stop, onnx_wire.DIM_PARAM)]
    return (given[-1] if given else "") or (f"axis{position}" if position else "N")


def _number(wire: Wire, at: int, stop: int, wanted: int) -> int | None:
    """The first value of a field, if the message has it."""
    found = (wire.number(start, end) for number, _, start, end in wire.fields(at, stop) if number == wanted)
    return next(found, None)
