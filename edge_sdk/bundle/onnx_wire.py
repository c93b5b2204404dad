"""An ONNX file as bytes on the wire: where its weights lie, and what a bundle may not carry. Needs no onnx package.

Reads just enough protobuf to walk ModelProto -> GraphProto -> nodes and initializers; knows no meaning of a graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from edge_sdk.errors import BadInput

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 16
_MAX_FIELDS = 500_000  # half a second of reading; real graphs have some ten thousand
_STANDARD = {b"", b"ai.onnx"}

# Field numbers of onnx.proto3, which its versioning rules never change.
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_FUNCTION_NODE, _FUNCTION_DOMAIN = 7, 10
_NODE_OP_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES = 22, 23
_TENSOR_RAW, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 9, 13, 14
_SPARSE_VALUES, _SPARSE_INDICES = 1, 2


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes at `offset` of a file."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(slots=True)
class GraphFacts:
    """What one pass over a file found. weights: raw data of the main graph's initializers, in the order of the file."""

    weights: list[ByteRange] = field(default_factory=list)
    domains: set[bytes] = field(default_factory=set)
    own_domains: set[bytes] = field(default_factory=set)
    nodes: int = 0
    steps: int = 0


def survey(graph: bytes, *, name: str) -> GraphFacts:
    """Walk a whole ONNX file. Raises BadInput: not protobuf, no graph, weights outside the file, foreign operators."""
    facts = GraphFacts()
    view = memoryview(graph)
    found = False
    try:
        for number, wire, start, stop in _fields(view, 0, len(view), facts):
            if number == _MODEL_GRAPH and wire == _BYTES:
                found = True
                _graph(view, start, stop, facts, depth=0)
            elif number == _MODEL_FUNCTIONS and wire == _BYTES:
                _function(view, start, stop, facts)
    except _Fault as exc:
        raise BadInput(
            f"the graph {name} {exc}", do="Export it again as one ONNX file with its weights inside"
        ) from exc
    if not found or not facts.nodes:
        raise BadInput(f"the graph {name} is not an ONNX model with nodes", do="Export it again")
    if foreign := sorted(facts.domains - _STANDARD - facts.own_domains):
        shown = foreign[0].decode("utf-8", errors="backslashreplace")[:80]
        raise BadInput(
            f"the graph {name} uses operators of the domain {shown!r}", do="Export it with standard ONNX operators"
        )
    return facts


class _Fault(Exception):
    """What is wrong with a file, as a sentence part; never leaves this module."""


def _fields(view: memoryview, at: int, stop: int, facts: GraphFacts) -> Iterator[tuple[int, int, int, int]]:
    """(field number, wire type, start, stop) of each field of the message in view[at:stop]."""
    while at < stop:
        facts.steps += 1
        if facts.steps > _MAX_FIELDS:
            raise _Fault(f"has more than {_MAX_FIELDS} fields")
        key, at = _varint(view, at, stop)
        number, wire = key >> 3, key & 7
        if wire == _BYTES:
            length, at = _varint(view, at, stop)
            end = at + length
        elif wire == _VARINT:
            end = _varint(view, at, stop)[1]
        elif wire in (_FIXED64, _FIXED32):
            end = at + (8 if wire == _FIXED64 else 4)
        else:
            raise _Fault("is not a protobuf file")
        if number == 0 or end > stop:
            raise _Fault("is not a whole protobuf file")
        yield number, wire, at, end
        at = end


def _varint(view: memoryview, at: int, stop: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= stop:
            raise _Fault("is not a whole protobuf file")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Fault("is not a protobuf file")


def _graph(view: memoryview, at: int, stop: int, facts: GraphFacts, *, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise _Fault(f"nests graphs deeper than {_MAX_DEPTH}")
    for number, wire, start, end in _fields(view, at, stop, facts):
        if wire != _BYTES:
            continue
        if number == _GRAPH_NODE:
            _node(view, start, end, facts, depth=depth)
        elif number == _GRAPH_INITIALIZER:
            raw = _tensor(view, start, end, facts)
            if raw is not None and depth == 0:
                facts.weights.append(raw)
        elif number == _GRAPH_SPARSE:
            _sparse(view, start, end, facts)


def _function(view: memoryview, at: int, stop: int, facts: GraphFacts) -> None:
    domain = b""
    for number, wire, start, end in _fields(view, at, stop, facts):
        if number == _FUNCTION_NODE and wire == _BYTES:
            _node(view, start, end, facts, depth=0)
        elif number == _FUNCTION_DOMAIN and wire == _BYTES:
            domain = bytes(view[start:end])
    facts.own_domains.add(domain)


def _node(view: memoryview, at: int, stop: int, facts: GraphFacts, *, depth: int) -> None:
    facts.nodes += 1
    for number, wire, start, end in _fields(view, at, stop, facts):
        if number == _NODE_DOMAIN and wire == _BYTES:
            facts.domains.add(bytes(view[start:end]))
        elif number == _NODE_ATTRIBUTE and wire == _BYTES:
            _attribute(view, start, end, facts, depth=depth)


def _attribute(view: memoryview, at: int, stop: int, facts: GraphFacts, *, depth: int) -> None:
    for number, wire, start, end in _fields(view, at, stop, facts):
        if wire != _BYTES:
            continue
        if number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
            _tensor(view, start, end, facts)
        elif number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
            _graph(view, start, end, facts, depth=depth + 1)
        elif number in (_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES):
            _sparse(view, start, end, facts)


def _sparse(view: memoryview, at: int, stop: int, facts: GraphFacts) -> None:
    for number, wire, start, end in _fields(view, at, stop, facts):
        if number in (_SPARSE_VALUES, _SPARSE_INDICES) and wire == _BYTES:
            _tensor(view, start, end, facts)


def _tensor(view: memoryview, at: int, stop: int, facts: GraphFacts) -> ByteRange | None:
    """Where the raw data lie, if the tensor has any. External data are refused: a path in a file from elsewhere."""
    raw = None
    for number, wire, start, end in _fields(view, at, stop, facts):
        if number == _TENSOR_RAW and wire == _BYTES:
            raw = ByteRange(start, end - start)
        elif number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and _varint(view, start, end)[0] != 0):
            raise _Fault("keeps weights in another file")
    return raw
