"""ONNX graphs as values: load, check, look up, cut, write. Knows no quantization, no runtime, no family."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from edge_sdk.calibration.pool_sizes import inferred
from edge_sdk.errors import BadInput
from edge_sdk.extras import first_sentence
from edge_sdk.runtimes.onnx_values import NO_NAME
from edge_sdk.tensors import Array

STANDARD_DOMAINS = ("", "ai.onnx")
# The smallest IR version that each opset of the standard domain may be written with (onnx release table).
_IR_OF_OPSET = ((17, 8), (18, 8), (19, 9), (20, 9), (21, 10), (22, 10), (23, 11))
OLDEST_READ, NEWEST_READ = 9, 25
"""Opsets that float graphs may come with: those that tests/calibration/test_clean.py converts and compares."""
OLDEST_TAKEN, NEWEST_TAKEN = 7, 21
"""Opsets that the runtimes in the field take (specs/runtimes.md; target profiles state less for some)."""
INNER = "edge_sdk.inner"
"""Key of the mark of a model that was made of a graph inside another one (`inner`)."""
_TWO_GIB = 2**31 - 1  # protobuf's own limit for one message


def parsed(graph: bytes) -> ModelProto:
    """A graph that this product made: no check."""
    model = ModelProto()
    model.ParseFromString(graph)
    return model


def load(graph: bytes) -> ModelProto:
    """Parse and check one self-contained ONNX graph. BadInput: not ONNX, external data, an opset that is not read, not
    valid by the standard."""
    if len(graph) > _TWO_GIB:
        raise BadInput(f"the graph has {len(graph)} bytes, protobuf ends at 2 GiB", hint="Export a smaller graph")
    model = ModelProto()
    try:
        model.ParseFromString(graph)
    except DecodeError as exc:
        raise BadInput("these bytes are not an ONNX graph", hint="Export the model again") from exc
    if not model.graph.node:
        raise BadInput("the graph has no nodes", hint="Export the model again")
    check_inside(model)
    return checked(model)


def check_inside(model: ModelProto) -> None:
    """Raises BadInput for weights that lie in another file."""
    outside = [t.name for t in tensors(model) if t.data_location == TensorProto.EXTERNAL]
    if outside:
        raise BadInput(
            f"{len(outside)} weights lie outside the graph, the first is {outside[0]}",
            hint="Save the model with its weights inside: onnx.save(model, path, save_as_external_data=False)",
        )


def free_axes(model: ModelProto) -> bool:
    """Write in place what exporters mean by a free axis as one without a size or name; True if that changed anything.

    Paddle2ONNX writes sizes of -1, others the name "?": TensorRT and onnx's inference read one name as one size, and
    nothing reads -1 alike.
    """
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    odd = [
        dim for value in values for dim in value.type.tensor_type.shape.dim
        if dim.dim_param == NO_NAME or dim.dim_value < 0
    ]  # fmt: skip
    for dim in odd:
        dim.ClearField("value")
    return bool(odd)


def checked(model: ModelProto, *, where: str = "") -> ModelProto:
    """The model, with shapes of its outputs and `free_axes`. BadInput: an opset that is not read, not valid by the
    standard."""
    free_axes(model)
    check_opset(model, where=where)  # before the checker, which says in C++ what it does not know
    check_types(model, where=where)  # which it does not look at
    try:
        if any(not o.type.tensor_type.HasField("shape") for o in model.graph.output):  # the checker wants it, none else
            model = inferred(model)
            check_shaped(model, where=where)
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, shape_inference.InferenceError) as exc:
        raise BadInput(
            f"the graph is not valid ONNX: {first_sentence(exc)}", where=where,
            hint="Export the model again; onnx.checker.check_model looks at a file",
        ) from exc  # fmt: skip
    return model


def check_shaped(model: ModelProto, *, where: str = "") -> None:
    """Raises BadInput for an output without a shape: how many axes it has must be known."""
    bare = [o.name for o in model.graph.output if not o.type.tensor_type.HasField("shape")]
    if bare:
        raise BadInput(
            f"the output {bare[0]} has no shape in the file, and none follows from its inputs", where=where,
            hint="Export the model with shapes, or give the output as many free axes as it has: "
            "onnx.helper.make_tensor_value_info(name, type, [None, None])",
        )  # fmt: skip


def check_types(model: ModelProto, *, where: str = "") -> None:
    """Raises BadInput for a stored tensor of a type that ONNX does not have."""
    for tensor in tensors(model):
        stored = tensor.data_type or not tensor.name  # an attribute without a tensor shows one of type 0 without a name
        if tensor.data_type not in TensorProto.DataType.values() or not stored:
            raise BadInput(
                f"its tensor {tensor.name[:80] or 'without a name'} has the data type {tensor.data_type}, which ONNX "
                "does not have", where=where, hint="Export the model again",
            )  # fmt: skip


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of a model: of its graph, of graphs inside, of its functions."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (attribute.g, *attribute.graphs):
                yield from _of_graph(inner)


def check_opset(model: ModelProto, *, where: str = "") -> None:
    """BadInput for a graph of an opset that is not read."""
    if not OLDEST_READ <= (have := opset_of(model)) <= NEWEST_READ:
        raise BadInput(
            f"the graph has opset {have}; opsets {OLDEST_READ} to {NEWEST_READ} are read", where=where,
            hint="Export the model with opset 17, which every target reads",
        )  # fmt: skip


def dump(model: ModelProto) -> bytes:
    """The same bytes for the same model, on every machine."""
    return bytes(model.SerializeToString(deterministic=True))


def rebuilt(
    model: ModelProto,
    nodes: Iterable[NodeProto],
    initializers: Iterable[TensorProto],
    inputs: Iterable[onnx.ValueInfoProto] | None = None,
) -> ModelProto:
    """A new model around `nodes` (in order), with fresh types and shapes, and nothing that only a tool cares for."""
    opset = opset_of(model)
    copies = []
    for node in nodes:
        copy = NodeProto()
        copy.CopyFrom(node)
        for field in ("doc_string", "overload"):
            copy.ClearField(field)
        del copy.metadata_props[:]
        copies.append(copy)
    graph = helper.make_graph(
        copies,
        model.graph.name or "graph",
        [_plain(i) for i in (model.graph.input if inputs is None else inputs)],
        [_plain(o) for o in model.graph.output],
        [renamed(t, t.name) for t in initializers],
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [o for o in model.opset_import if o.domain not in STANDARD_DOMAINS and _uses(copies, o.domain)]
    out = helper.make_model(graph, opset_imports=imports, producer_name="edge-sdk")
    out.ir_version = next((ir for top, ir in _IR_OF_OPSET if opset <= top), out.ir_version)
    return with_outputs_of(out, inferred(out))


def with_outputs_of(stated: ModelProto, made: ModelProto) -> ModelProto:
    """`made`, whose outputs have the shapes that `stated` states. Inference invents names for axes that have none
    ("unk__0"), and finds sizes of free ones; a variant must answer what its float graph does."""
    shapes = {value.name: value for value in stated.graph.output if value.type.tensor_type.HasField("shape")}
    for value in made.graph.output:
        if value.name in shapes:
            value.CopyFrom(shapes[value.name])
    return made


def with_types(model: ModelProto) -> ModelProto:
    """A copy with the types and shapes that can be inferred; the model itself if it is too broken, or too large."""
    try:
        return inferred(model)
    except (shape_inference.InferenceError, RuntimeError, ValueError):
        return model


def opset_of(model: ModelProto) -> int:
    """Version of the standard operator set. BadInput if the graph names none."""
    versions = [o.version for o in model.opset_import if o.domain in STANDARD_DOMAINS]
    if not versions:
        raise BadInput("the graph imports no standard operator set", hint="Export the model again")
    return int(max(versions))


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """Who makes and who reads each tensor of one model; valid until the model is changed.

    producer: tensor -> node. readers: tensor -> nodes, in order. constants: initializer -> array (read-only).
    shapes: tensor -> sizes, None where free or unknown. outputs, inputs: names of the graph's own.
    """

    model: ModelProto
    producer: Mapping[str, NodeProto]
    readers: Mapping[str, tuple[NodeProto, ...]]
    constants: Mapping[str, Array]
    shapes: Mapping[str, tuple[int | None, ...]]
    types: Mapping[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, model: ModelProto) -> Index:
        graph = model.graph
        readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in filter(None, reads(node)):
                readers.setdefault(name, []).append(node)
        known = [*graph.input, *graph.value_info, *graph.output]
        constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        for array in constants.values():
            array.flags.writeable = False
        return cls(
            model=model,
            producer={name: node for node in graph.node for name in node.output if name},
            readers=MappingProxyType({name: tuple(nodes) for name, nodes in readers.items()}),
            constants=MappingProxyType(constants),
            shapes={v.name: _sizes(v) for v in known},
            types={t.name: t.data_type for t in graph.initializer}
            | {v.name: v.type.tensor_type.elem_type for v in known},
            inputs=tuple(i.name for i in graph.input if i.name not in constants),
            outputs=tuple(o.name for o in graph.output),
        )

    def captured(self, tensor: str) -> bool:
        """Whether a subgraph (a branch of If, the body of Loop) reads `tensor`."""
        return any(tensor not in node.input for node in self.readers.get(tensor, ()))

    def only_reader(self, tensor: str) -> NodeProto | None:
        """The one node that reads `tensor`; None if none or several do, or if it is an output of the graph."""
        nodes = self.readers.get(tensor, ())
        return nodes[0] if len(nodes) == 1 and tensor not in self.outputs else None


def reads(node: NodeProto) -> tuple[str, ...]:
    """What a node reads, each name once: its inputs, and what its subgraphs take from outside."""
    return tuple(
        dict.fromkeys((*node.input, *(name for graph in subgraphs(node) for name in taken_from_outside(graph))))
    )


def subgraphs(node: NodeProto) -> Iterator[onnx.GraphProto]:
    """Branches of If, the body of Loop or Scan."""
    for item in node.attribute:
        if item.type == AttributeProto.GRAPH:
            yield item.g
        yield from item.graphs


def _inside(node: NodeProto) -> Iterator[str]:
    """Names that the subgraphs of a node make: taken, as no name may be made twice."""
    for graph in subgraphs(node):
        for inner in graph.node:
            yield from inner.output
            yield from _inside(inner)


def taken_from_outside(graph: onnx.GraphProto) -> Iterator[str]:
    """Names that a subgraph reads and does not make."""
    made = {*(i.name for i in graph.input), *(t.name for t in graph.initializer), ""}
    for node in graph.node:
        yield from (name for name in reads(node) if name not in made)
        made.update(node.output)
    yield from (o.name for o in graph.output if o.name not in made)


def cut(model: ModelProto, tensors: Sequence[str]) -> ModelProto:
    """The part of a sorted graph that makes `tensors`, with those as outputs and no input that they do not need."""
    wanted, nodes = set(tensors), []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            nodes.append(node)
            wanted.update(reads(node))
    copy = ModelProto()
    copy.CopyFrom(model)
    for field in ("node", "input", "initializer", "output", "value_info"):
        copy.graph.ClearField(field)
    copy.graph.node.extend(reversed(nodes))
    copy.graph.input.extend(i for i in model.graph.input if i.name in wanted)
    copy.graph.initializer.extend(t for t in model.graph.initializer if t.name in wanted)
    known = {v.name: v for v in (*model.graph.input, *model.graph.value_info, *model.graph.output)}
    copy.graph.output.extend(known.get(name) or helper.make_empty_tensor_value_info(name) for name in tensors)
    return copy


def attribute(node: NodeProto, name: str, default: object = None) -> object:
    """Value of an attribute as onnx gives it (int, float, bytes, list, TensorProto), or `default`."""
    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return default


def ints(node: NodeProto, name: str) -> tuple[int, ...]:
    """An attribute that is a list of integers; empty if absent."""
    for item in node.attribute:
        if item.name == name:
            return tuple(int(v) for v in item.ints)
    return ()


def integer(node: NodeProto, name: str, default: int) -> int:
    """An attribute that is one integer."""
    return next((int(item.i) for item in node.attribute if item.name == name), default)


def number(node: NodeProto, name: str, default: float) -> float:
    """An attribute that is one real number."""
    return next((float(item.f) for item in node.attribute if item.name == name), default)


def text(node: NodeProto, name: str, default: str) -> str:
    """An attribute that is a string."""
    return next((item.s.decode(errors="replace") for item in node.attribute if item.name == name), default)


def info_of(name: str, index: Index) -> onnx.ValueInfoProto:
    """Type and shape of a tensor, as far as the index has them."""
    kind, shape = index.types.get(name, 0), index.shapes.get(name)
    return helper.make_tensor_value_info(name, kind, shape) if kind else onnx.ValueInfoProto(name=name)


def tensor(name: str, array: Array) -> TensorProto:
    """An initializer; the rank is kept, also rank 0."""
    return numpy_helper.from_array(np.asarray(array, order="C"), name)


def fresh(name: str, taken: set[str]) -> str:
    """`name`, or `name_2`, `name_3` ... if taken; marks it as taken."""
    free, count = name, 1
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    taken.add(free)
    return free


def tensor_names(model: ModelProto) -> set[str]:
    """Every tensor name in use."""
    graph = model.graph
    names = {n for node in graph.node for n in (*reads(node), *node.output, *_inside(node))}
    return names | {v.name for v in (*graph.input, *graph.output)} | {t.name for t in graph.initializer}


def renamed(old: TensorProto, name: str) -> TensorProto:
    """A copy under another name, without its text."""
    new = TensorProto()
    new.CopyFrom(old)
    new.name = name
    new.ClearField("doc_string")
    return new


def resized_by_size(node: NodeProto, index: Index) -> bool:
    """True for a Resize of some axes to fixed sizes while the batch is free: TensorRT can't tell the batch any more."""
    shape = index.shapes.get(node.input[0], (None,)) if node.op_type == "Resize" else (1,)
    return shape[:1] == (None,) and bool(ints(node, "axes")) and len(node.input) > 3 and bool(node.input[3])


def _plain(info: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(info)
    copy.ClearField("doc_string")
    return copy


def _uses(nodes: Iterable[NodeProto], domain: str) -> bool:
    return any(n.domain == domain for n in nodes)


def _sizes(info: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in info.type.tensor_type.shape.dim)
