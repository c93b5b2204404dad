"""What a bundle asks of an ONNX file: where its weights lie, and nothing inside that a bundle may not carry.

Walks the whole file, subgraphs and functions too; how bytes become fields is in runtimes/onnx_wire.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_sdk.errors import BadInput
from edge_sdk.runtimes import onnx_wire
from edge_sdk.runtimes.onnx_wire import BYTES, Malformed, Wire

_MAX_DEPTH = 16
_STANDARD = {b"", b"ai.onnx"}


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


def survey(graph: bytes, *, name: str) -> GraphFacts:
    """Walk a whole ONNX file. Raises BadInput: not protobuf, no graph, weights outside the file, foreign operators."""
    facts = GraphFacts()
    wire = Wire(graph)
    found = False
    try:
        for number, kind, start, stop in wire.fields():
            if number == onnx_wire.MODEL_GRAPH and kind == BYTES:
                found = True
                _graph(wire, start, stop, facts, depth=0)
            elif number == onnx_wire.MODEL_FUNCTIONS and kind == BYTES:
                _function(wire, start, stop, facts)
    except Malformed as exc:
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


def _graph(wire: Wire, at: int, stop: int, facts: GraphFacts, *, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise Malformed(f"nests graphs deeper than {_MAX_DEPTH}")
    for number, kind, start, end in wire.fields(at, stop):
        if kind != BYTES:
            continue
        if number == onnx_wire.GRAPH_NODE:
            _node(wire, start, end, facts, depth=depth)
        elif number == onnx_wire.GRAPH_INITIALIZER:
            raw = _tensor(wire, start, end, facts)
            if raw is not None and depth == 0:
                facts.weights.append(raw)
        elif number == onnx_wire.GRAPH_SPARSE:
            _sparse(wire, start, end, facts)


def _function(wire: Wire, at: int, stop: int, facts: GraphFacts) -> None:
    domain = b""
    for number, kind, start, end in wire.fields(at, stop):
        if number == onnx_wire.FUNCTION_NODE and kind == BYTES:
            _node(wire, start, end, facts, depth=0)
        elif number == onnx_wire.FUNCTION_DOMAIN and kind == BYTES:
            domain = bytes(wire.content(start, end))
    facts.own_domains.add(domain)


def _node(wire: Wire, at: int, stop: int, facts: GraphFacts, *, depth: int) -> None:
    facts.nodes += 1
    for number, kind, start, end in wire.fields(at, stop):
        if number == onnx_wire.NODE_DOMAIN and kind == BYTES:
            facts.domains.add(bytes(wire.content(start, end)))
        elif number == onnx_wire.NODE_ATTRIBUTE and kind == BYTES:
            _attribute(wire, start, end, facts, depth=depth)


def _attribute(wire: Wire, at: int, stop: int, facts: GraphFacts, *, depth: int) -> None:
    for number, kind, start, end in wire.fields(at, stop):
        if kind != BYTES:
            continue
        if number in (onnx_wire.ATTRIBUTE_TENSOR, onnx_wire.ATTRIBUTE_TENSORS):
            _tensor(wire, start, end, facts)
        elif number in (onnx_wire.ATTRIBUTE_GRAPH, onnx_wire.ATTRIBUTE_GRAPHS):
            _graph(wire, start, end, facts, depth=depth + 1)
        elif number in (onnx_wire.ATTRIBUTE_SPARSE, onnx_wire.ATTRIBUTE_SPARSES):
            _sparse(wire, start, end, facts)


def _sparse(wire: Wire, at: int, stop: int, facts: GraphFacts) -> None:
    for number, kind, start, end in wire.fields(at, stop):
        if number in (onnx_wire.SPARSE_VALUES, onnx_wire.SPARSE_INDICES) and kind == BYTES:
            _tensor(wire, start, end, facts)


def _tensor(wire: Wire, at: int, stop: int, facts: GraphFacts) -> ByteRange | None:
    """Where the raw data lie, if the tensor has any. External data are refused: a path in a file from elsewhere."""
    raw = None
    for number, kind, start, end in wire.fields(at, stop):
        if number == onnx_wire.TENSOR_RAW and kind == BYTES:
            raw = ByteRange(start, end - start)
        elif number == onnx_wire.TENSOR_EXTERNAL or (
            number == onnx_wire.TENSOR_LOCATION and wire.number(start, end) != 0
        ):
            raise Malformed("keeps weights in another file")
    return raw
