"""An ONNX file as the device reads it: nodes, weights, inputs, outputs, operator sets. Needs no onnx package.

One walk over the protobuf bytes, subgraphs and functions included, by `protobuf.py`. Knows no meaning of an operator.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput
from edge_sdk.runtimes.onnx_values import Value, specs
from edge_sdk.runtimes.protobuf import BYTES, VARINT, Malformed, Span, Wire
from edge_sdk.tensors import TensorSpec

MAX_DEPTH = 16
"""Of graphs inside graphs."""
MAX_RANK = 8
"""Of a weight whose sizes are of interest; a file may claim millions."""
FLOAT, UINT8, INT8, FLOAT16 = 1, 2, 3, 10
"""TensorProto.DataType values in use here."""
_STANDARD = ("", "ai.onnx")  # two spellings of one domain

_CONTINUED = bytes(range(0x80, 0x100))  # octets of a varint but its last

# The fields that are read, by their numbers in onnx.proto3, which its versioning rules never change.
_MODEL = {7: "graphs", 8: "opsets", 25: "functions"}
_OPSET = {1: "domain", 2: "version"}
_GRAPH = {1: "nodes", 5: "tensors", 11: "inputs", 12: "outputs", 15: "sparse"}
_FUNCTION = {7: "nodes", 10: "domain"}
_NODE = {1: "inputs", 2: "outputs", 3: "name", 4: "op", 5: "attributes", 7: "domain"}
_ATTRIBUTE = {
    1: "name",
    3: "integer",
    5: "tensors",
    10: "tensors",
    6: "graphs",
    11: "graphs",
    22: "sparse",
    23: "sparse",
}
_TENSOR = {1: "dims", 2: "dtype", 5: "int32", 8: "name", 9: "raw", 13: "external", 14: "location"}
_SPARSE = {1: "tensors", 2: "tensors"}
_VALUE = {1: "name", 2: "types"}
_TYPE = {1: "tensors", 4: "others", 5: "others", 7: "others", 8: "others", 9: "others"}
_TENSOR_TYPE = {1: "dtype", 2: "shapes"}
_SHAPE = {1: "axes"}
_DIM = {1: "sizes", 2: "names"}
_KINDS: Mapping[str, tuple[int, ...]] = {
    "version": (VARINT,), "integer": (VARINT,), "dtype": (VARINT,), "location": (VARINT,), "sizes": (VARINT,),
    "dims": (VARINT, BYTES), "int32": (VARINT, BYTES),
}  # fmt: skip
"""How a field may be written; all others as bytes alone. In another form it is no field of ours, as in protobuf."""


@dataclass(frozen=True, slots=True)
class Node:
    """op: type without domain. domain: "" for the standard one, however the file spells it. name: may be "".

    group: of a convolution, 1 where the file has no such attribute.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    name: str = ""
    domain: str = ""
    group: int = 1


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes at `offset` of a file."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Initializer:
    """dtype: TensorProto.DataType. stored: where the file has its raw data, if it has. raw: these bytes, a view into
    the file; int8 in typed fields is decoded, other typed fields are not and leave it empty. dims: () where there are
    more than MAX_RANK."""

    name: str
    dtype: int
    rank: int
    raw: memoryview
    stored: ByteRange | None = None
    dims: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class OnnxFacts:
    """What one walk found. nodes: of the main graph, in file order; initializers: of the main graph, by name.

    inputs: those that are no initializers. A free axis has the file's name; one without gets "N" at position 0 of an
    input, and of an output where an input has "N"; else the tensor's name and the axis, "mask_2". "N" is the batch and
    nothing else: in a file where no input has it at position 0, its axes called "N" get the name "mask_2", too.
    unshaped: outputs whose shape the file does not give (their spec has ()).
    opsets: version by domain, "" the standard one. foreign: domains of operators, those of subgraphs and functions too,
    that are neither standard nor the file's own.
    node_count: nodes of the whole file, those of subgraphs and functions included. batch_name: what the file calls the
    batch, if not "N" (see `onnx_values.BATCH_NAMES`); "" = it has none, or no other name.
    """

    nodes: tuple[Node, ...]
    initializers: Mapping[str, Initializer]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    unshaped: tuple[str, ...] = ()
    opsets: Mapping[str, int] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()
    node_count: int = 0
    batch_name: str = ""

    @property
    def opset(self) -> int:
        """The version of the standard operators; 0 where the file names none."""
        return self.opsets.get("", 0)

    @property
    def weights(self) -> tuple[ByteRange, ...]:
        """Where the raw data of the main graph's initializers lie, in file order."""
        return tuple(tensor.stored for tensor in self.initializers.values() if tensor.stored is not None)

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
    """The facts of a model file, whatever the domains of its operators.

    Raises BadInput: not ONNX, weights in another file, an input or output that no runtime here takes, a batch axis "N"
    that is also the size of another axis.
    """
    try:
        return _Walk(graph).facts()
    except Malformed as exc:
        raise BadInput(f"not an ONNX file that can be used: it {exc}", where=where, hint=exc.hint) from exc


def read_standard(graph: bytes, *, name: str) -> OnnxFacts:
    """The facts of a file that a bundle may carry: foreign operators are refused too. Raises BadInput."""
    try:
        facts = _Walk(graph).facts()
    except Malformed as exc:
        raise BadInput(f"the graph {name} {exc}", hint=exc.hint) from exc
    if facts.foreign:
        raise BadInput(
            f"the graph {name} uses operators of the domain {facts.foreign[0][:80]!r}",
            hint="Export it with standard ONNX operators",
        )
    return facts


def int8_weights_beyond_64(facts: OnnxFacts, *, but: Collection[str] = ()) -> bool:
    """Whether a stored int8 weight leaves [-64, 64], so that two products can overflow a 16-bit sum. but: names of
    those that are not looked at."""
    for tensor in facts.initializers.values():
        if tensor.name not in but and tensor.dtype == INT8 and tensor.rank >= 2 and len(tensor.raw):
            values = np.frombuffer(tensor.raw, dtype=np.int8)
            if values.min() < -64 or values.max() > 64:
                return True
    return False


class _Walk:
    """One walk over one file, which collects. Every method raises Malformed.

    As protobuf prescribes, the last of a repeated single field counts, and repeated messages are merged: else a file
    could show one graph here and another one to a runtime.
    """

    def __init__(self, graph: bytes) -> None:
        self._wire, self._size = Wire(graph, _KINDS), len(graph)
        self._nodes: list[Node] = []
        self._initializers: dict[str, Initializer] = {}
        self._inputs: list[Value] = []
        self._outputs: list[Value] = []
        self._used: set[str] = set()
        self._own: set[str] = set()
        self._count = 0

    def facts(self) -> OnnxFacts:
        """Everything, after the walk."""
        model = self._wire.message(0, self._size, _MODEL)
        for span in model["graphs"]:
            self._main_graph(span)
        for span in model["functions"]:
            function = self._wire.message(*span, _FUNCTION)
            self._own.add(self._domain(function["domain"]))
            for node in function["nodes"]:
                self._node(node, depth=0)
        given = [value for value in self._inputs if value.name not in self._initializers]
        inputs, outputs, called = specs(given, self._outputs)
        if not self._nodes:
            raise Malformed("is not an ONNX model with nodes", "Export it again")
        return OnnxFacts(
            nodes=tuple(self._nodes),
            initializers=self._initializers,
            inputs=inputs,
            outputs=outputs,
            unshaped=tuple(value.name for value in self._outputs if value.dims is None),
            opsets=self._opsets(model["opsets"]),
            foreign=tuple(sorted(self._used - self._own - {""})),
            node_count=self._count,
            batch_name=called,
        )

    def _main_graph(self, span: Span) -> None:
        graph = self._wire.message(*span, _GRAPH)
        self._nodes += [self._node(node, depth=0) for node in graph["nodes"]]
        for tensor in map(self._tensor, graph["tensors"]):
            if tensor.name in self._initializers:
                raise Malformed(f"stores two weights called {tensor.name[:80]!r}")
            self._initializers[tensor.name] = tensor
        self._sparse(graph["sparse"])
        self._inputs += map(self._value, graph["inputs"])
        self._outputs += map(self._value, graph["outputs"])

    def _inner_graph(self, span: Span, *, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise Malformed(f"nests graphs deeper than {MAX_DEPTH}")
        graph = self._wire.message(*span, _GRAPH)
        for node in graph["nodes"]:
            self._node(node, depth=depth)
        for tensor in graph["tensors"]:
            self._tensor(tensor)
        self._sparse(graph["sparse"])

    def _node(self, span: Span, *, depth: int) -> Node:
        wire, node = self._wire, self._wire.message(*span, _NODE)
        group = 1
        for attribute in node["attributes"]:
            held = wire.message(*attribute, _ATTRIBUTE)
            if held["name"] and held["integer"] and bytes(wire.content(*held["name"][-1])) == b"group":
                group = wire.number(held["integer"])
            for tensor in held["tensors"]:
                self._tensor(tensor)
            for graph in held["graphs"]:
                self._inner_graph(graph, depth=depth + 1)
            self._sparse(held["sparse"])
        domain = self._domain(node["domain"])
        self._count += 1
        self._used.add(domain)
        return Node(
            op=wire.text(node["op"]),
            inputs=tuple(wire.text([name]) for name in node["inputs"]),
            outputs=tuple(wire.text([name]) for name in node["outputs"]),
            name=wire.text(node["name"]),
            domain=domain,
            group=group,
        )

    def _sparse(self, spans: Sequence[Span]) -> None:
        for span in spans:
            for tensor in self._wire.message(*span, _SPARSE)["tensors"]:
                self._tensor(tensor)

    def _tensor(self, span: Span) -> Initializer:
        """A stored tensor. External data are refused: a path in a file from elsewhere."""
        wire, tensor = self._wire, self._wire.message(*span, _TENSOR)
        if tensor["external"] or wire.number(tensor["location"]) != 0:
            raise Malformed("keeps weights in another file")
        dtype, stored, raw = wire.number(tensor["dtype"]), None, memoryview(b"")
        if tensor["raw"]:
            start, end = tensor["raw"][-1]
            stored, raw = ByteRange(start, end - start), wire.content(start, end)
        if tensor["int32"] and dtype == INT8:
            raw = memoryview(np.concatenate([_low_bytes(wire.content(*part)) for part in tensor["int32"]]).tobytes())
        rank = sum(len(bytes(wire.content(*part)).translate(None, _CONTINUED)) for part in tensor["dims"])
        dims = tuple(size for part in tensor["dims"] for size in wire.numbers(part)) if rank <= MAX_RANK else ()
        return Initializer(wire.text(tensor["name"]), dtype, rank, raw, stored, dims)

    def _value(self, span: Span) -> Value:
        wire, value = self._wire, self._wire.message(*span, _VALUE)
        types = [wire.message(*each, _TYPE) for each in value["types"]]
        tensors = [wire.message(*part, _TENSOR_TYPE) for each in types for part in each["tensors"]]
        shapes = [wire.message(*part, _SHAPE) for each in tensors for part in each["shapes"]]
        return Value(
            name=wire.text(value["name"]),
            dtype=wire.number([span for each in tensors for span in each["dtype"]]),
            tensor=not any(each["others"] for each in types),
            dims=tuple(self._dim(part) for each in shapes for part in each["axes"]) if shapes else None,
        )

    def _dim(self, span: Span) -> int | str:
        dim = self._wire.message(*span, _DIM)
        if dim["sizes"] and (not dim["names"] or dim["sizes"][-1] > dim["names"][-1]):  # of the two, the last counts
            return self._wire.number(dim["sizes"])
        return self._wire.text(dim["names"])

    def _domain(self, spans: Sequence[Span]) -> str:
        """The name of an operator set, "" for the standard one."""
        name = self._wire.text(spans)
        return "" if name in _STANDARD else name

    def _opsets(self, spans: Sequence[Span]) -> dict[str, int]:
        found: dict[str, int] = {}
        for span in spans:
            opset = self._wire.message(*span, _OPSET)
            domain = self._domain(opset["domain"])
            found[domain] = max(self._wire.number(opset["version"]), found.get(domain, 0))
        return found


def _low_bytes(data: memoryview) -> NDArray[np.uint8]:
    """The lowest 8 bits of each varint in `data`. By NumPy: a packed list may have millions."""
    octets = np.frombuffer(data, np.uint8)
    if not len(octets):
        return octets
    last = octets < 0x80
    if not last[-1]:
        raise Malformed("is not a whole protobuf file")
    first = np.roll(last, 1)
    second = np.where(last, 0, np.roll(octets, -1))[first]
    low: NDArray[np.uint8] = ((octets[first] & 0x7F) | ((second & 1) << 7)).astype(np.uint8)
    return low
