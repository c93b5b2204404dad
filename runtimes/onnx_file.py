"""An ONNX file as the device reads it: nodes, weights, inputs, outputs, operator sets. Needs no onnx package.

One walk over the protobuf bytes, subgraphs and functions included, by `protobuf.py`. Knows no meaning of an operator.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput
from edge_sdk.runtimes.protobuf import BYTES, VARINT, Malformed, Span, Wire
from edge_sdk.tensors import BATCH, DType, TensorSpec

MAX_DEPTH = 16
"""Of graphs inside graphs."""
MAX_RANK = 8
"""Of a weight whose sizes are of interest; a file may claim millions."""
UINT8, INT8, FLOAT16 = 2, 3, 10
"""TensorProto.DataType values in use here."""
DTYPES: Mapping[int, DType] = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
"""What an input or output may hold, by TensorProto.DataType: the types that ONNX and NumPy share."""

BATCH_NAMES = re.compile(r"batch([_-]?(size|dim|axis))?|bs|bsz", re.IGNORECASE)
"""What axis 0 of an input is called where it is the batch: by PyTorch's exporters, Keras, Hugging Face's tools."""
INVENTED = re.compile(r"unk__\d+")
"""Names that tf2onnx and ONNX's shape inference give to axes that have none."""
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
    batch, if not "N" (see `BATCH_NAMES`); "" = it has none, or no other name.
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


@dataclass(frozen=True, slots=True)
class _Value:
    """An input or output as the file declares it. dims: None where it gives no shape; "" or -1 is a free axis."""

    name: str
    dtype: int
    tensor: bool
    dims: tuple[int | str, ...] | None


class _Walk:
    """One walk over one file, which collects. Every method raises Malformed.

    As protobuf prescribes, the last of a repeated single field counts, and repeated messages are merged: else a file
    could show one graph here and another one to a runtime.
    """

    def __init__(self, graph: bytes) -> None:
        self._wire, self._size = Wire(graph, _KINDS), len(graph)
        self._nodes: list[Node] = []
        self._initializers: dict[str, Initializer] = {}
        self._inputs: list[_Value] = []
        self._outputs: list[_Value] = []
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
        given, made, called = _batch_found(given, self._outputs)
        given, made = _batch_apart(given, made)
        taken = _axis_names((*given, *made))
        inputs = _specs(given, taken, batch=True)
        if bare := [value.name[:80] for value in given if value.dims is None]:
            raise Malformed(f"gives no shape for its input {bare[0]!r}", "Export it with the shapes of its inputs")
        if not self._nodes:
            raise Malformed("is not an ONNX model with nodes", "Export it again")
        return OnnxFacts(
            nodes=tuple(self._nodes),
            initializers=self._initializers,
            inputs=inputs,
            outputs=_specs(made, taken, batch=any(spec.batched for spec in inputs)),
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

    def _value(self, span: Span) -> _Value:
        wire, value = self._wire, self._wire.message(*span, _VALUE)
        types = [wire.message(*each, _TYPE) for each in value["types"]]
        tensors = [wire.message(*part, _TENSOR_TYPE) for each in types for part in each["tensors"]]
        shapes = [wire.message(*part, _SHAPE) for each in tensors for part in each["shapes"]]
        return _Value(
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


def _batch_found(inputs: Sequence[_Value], outputs: Sequence[_Value]) -> tuple[list[_Value], list[_Value], str]:
    """The same inputs and outputs, with the batch called "N", and the file's own name of it.

    Most exporters write "batch" or the like; what a tool invented is no name where it stands once. Whether its rows are
    independent is for whoever packs the graph to try.
    """
    found = Counter(size for value in (*inputs, *outputs) for size in value.dims or ())
    new: dict[int | str, int | str] = {
        size: "" for size, count in found.items() if count == 1 and INVENTED.fullmatch(str(size))
    }
    first = {value.dims[0] for value in inputs if value.dims} - set(new)
    names = [
        name for name in first if isinstance(name, str) and (BATCH_NAMES.fullmatch(name) or INVENTED.fullmatch(name))
    ]
    behind = {size for value in (*inputs, *outputs) for size in (value.dims or ())[1:]}
    called = names[0] if len(names) == 1 and BATCH not in found and names[0] not in behind else ""
    if isinstance(called, str) and called:
        new[called] = BATCH

    def renamed(values: Sequence[_Value]) -> list[_Value]:
        return [
            replace(value, dims=value.dims and tuple(new.get(size, size) for size in value.dims)) for value in values
        ]

    return renamed(inputs), renamed(outputs), str(called)


def _batch_apart(inputs: list[_Value], outputs: list[_Value]) -> tuple[list[_Value], list[_Value]]:
    """The same inputs and outputs, with "N" where it is the batch alone.

    People call any axis N. Where no input has it at position 0, it is a size like others, and gets another name. Where
    one has, an N elsewhere would be the same size: its rows can't run in calls of their own, so that it is no batch.
    """
    values = (*inputs, *outputs)
    batched = any(value.dims is not None and value.dims[:1] == (BATCH,) for value in inputs)
    strays = [
        (value.name, axis)
        for value in values
        for axis, size in enumerate(value.dims or ())
        if size == BATCH and (axis > 0 or not batched)
    ]
    if not strays:
        return inputs, outputs
    name, axis = strays[0]
    if batched:
        raise Malformed(
            f'calls axis {axis} of {name[:80]!r} "{BATCH}", which is the batch: axis 0 of an input',
            "Export it with another name for one of them",
        )
    new = _unused(f"{name}_{axis}", _axis_names(values))

    def renamed(found: list[_Value]) -> list[_Value]:
        return [
            replace(value, dims=value.dims and tuple(new if size == BATCH else size for size in value.dims))
            for value in found
        ]

    return renamed(inputs), renamed(outputs)


def _specs(values: Sequence[_Value], taken: set[str], *, batch: bool) -> tuple[TensorSpec, ...]:
    """Declared inputs or outputs as specs. taken: names of axes, those that are given here are added. batch: a nameless
    axis 0 is "N"."""
    if twice := [name for name, count in Counter(value.name for value in values).items() if count > 1]:
        raise Malformed(f"has two inputs or outputs called {twice[0][:80]!r}")
    for value in values:
        if not value.tensor or value.dtype not in DTYPES:
            what = f"of ONNX data type {value.dtype}" if value.tensor else "that is no tensor"
            raise Malformed(f"has {value.name[:80]!r} {what}, which no runtime here shares")
    return tuple(
        TensorSpec(name=value.name, dtype=DTYPES[value.dtype], shape=_shape(value, taken, batch=batch))
        for value in values
    )


def _shape(value: _Value, taken: set[str], *, batch: bool) -> tuple[int | str, ...]:
    shape: list[int | str] = []
    for axis, size in enumerate(value.dims or ()):
        if size in ("", -1):  # -1: some converters write it for a free axis, and ONNX Runtime takes it so
            size = BATCH if batch and axis == 0 else _unused(f"{value.name}_{axis}", taken)
            taken.add(size)
        elif isinstance(size, int) and size < 0:
            raise Malformed(f"gives {value.name[:80]!r} the size {size}")
        shape.append(size)
    return tuple(shape)


def _axis_names(values: Sequence[_Value]) -> set[str]:
    return {size for value in values for size in value.dims or () if isinstance(size, str)}


def _unused(name: str, taken: Collection[str]) -> str:
    """`name`, lengthened while an axis of any tensor is called so: one name means one size."""
    while name in taken:
        name += "_"
    return name
