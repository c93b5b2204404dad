"""ONNX graphs as values: load, check, clean, look up, write. Knows no quantization, no runtime, no family."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from edge_sdk.errors import BadInput
from edge_sdk.tensors import Array

STANDARD_DOMAINS = ("", "ai.onnx")
# The smallest IR version that each opset of the standard domain may be written with (onnx release table).
_IR_OF_OPSET = ((17, 8), (18, 8), (19, 9), (20, 9), (21, 10), (22, 10), (23, 11))
_TWO_GIB = 2**31 - 1  # protobuf's own limit for one message


def load(graph: bytes) -> ModelProto:
    """Parse and check one self-contained ONNX graph. BadInput: not ONNX, external data, not valid by the standard."""
    if len(graph) > _TWO_GIB:
        raise BadInput(f"the graph has {len(graph)} bytes, protobuf ends at 2 GiB", do="Export a smaller graph")
    model = ModelProto()
    try:
        model.ParseFromString(graph)
    except DecodeError as exc:
        raise BadInput("these bytes are not an ONNX graph", do="Export the model again") from exc
    if not model.graph.node:
        raise BadInput("the graph has no nodes", do="Export the model again")
    outside = [t.name for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    if outside:
        raise BadInput(
            f"{len(outside)} weights lie outside the graph, the first is {outside[0]}",
            do="Save the model with its weights inside: onnx.save(model, path, save_as_external_data=False)",
        )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as exc:
        raise BadInput(f"the graph is not valid ONNX: {str(exc).strip().splitlines()[0]}") from exc
    return model


def dump(model: ModelProto) -> bytes:
    """The same bytes for the same model, on every machine."""
    return bytes(model.SerializeToString(deterministic=True))


def clean(model: ModelProto) -> ModelProto:
    """A copy with sorted nodes, unique names, constants as initializers, no text of the tool that wrote it.

    Node names that exist and are unique stay: callers name nodes by them. Type and shape of every tensor are inferred
    anew. The opset stays; the IR version becomes the smallest that the opset allows.
    """
    graph = model.graph
    constants = [n for n in graph.node if n.op_type == "Constant" and n.domain in STANDARD_DOMAINS]
    kept = [n for n in graph.node if n not in constants] if constants else list(graph.node)
    tensors = [_renamed(t, t.name) for t in graph.initializer] + [_constant(n) for n in constants]
    kept, tensors = _without_identities(kept, {o.name for o in graph.output}), tensors
    nodes = _named(_sorted(kept, {t.name for t in tensors} | {i.name for i in graph.input} | {""}))
    tensors += _resizes_by_scale(nodes, Index.of(shape_inference.infer_shapes(model)))
    used = {name for node in nodes for name in node.input} | {o.name for o in graph.output}
    inside = {t.name for t in tensors}
    inputs = [i for i in graph.input if i.name not in inside]
    return rebuilt(model, nodes, [t for t in tensors if t.name in used], inputs)


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
        [_renamed(t, t.name) for t in initializers],
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [o for o in model.opset_import if o.domain not in STANDARD_DOMAINS and _uses(copies, o.domain)]
    out = helper.make_model(graph, opset_imports=imports, producer_name="edge-sdk")
    out.ir_version = next((ir for top, ir in _IR_OF_OPSET if opset <= top), out.ir_version)
    return shape_inference.infer_shapes(out)


def opset_of(model: ModelProto) -> int:
    """Version of the standard operator set. BadInput if the graph names none."""
    versions = [o.version for o in model.opset_import if o.domain in STANDARD_DOMAINS]
    if not versions:
        raise BadInput("the graph imports no standard operator set", do="Export the model again")
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
            for name in dict.fromkeys(node.input):
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

    def only_reader(self, tensor: str) -> NodeProto | None:
        """The one node that reads `tensor`; None if none or several do, or if it is an output of the graph."""
        nodes = self.readers.get(tensor, ())
        return nodes[0] if len(nodes) == 1 and tensor not in self.outputs else None


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


def text(node: NodeProto, name: str, default: str) -> str:
    """An attribute that is a string."""
    return next((item.s.decode() for item in node.attribute if item.name == name), default)


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
    names = {n for node in graph.node for n in (*node.input, *node.output)}
    return names | {v.name for v in (*graph.input, *graph.output)} | {t.name for t in graph.initializer}


def _constant(node: NodeProto) -> TensorProto:
    for item in node.attribute:
        if item.name == "value":
            return _renamed(item.t, node.output[0])
        if item.type in (AttributeProto.FLOAT, AttributeProto.FLOATS):
            value = np.asarray(helper.get_attribute_value(item), dtype=np.float32)
            return tensor(node.output[0], value)
        if item.type in (AttributeProto.INT, AttributeProto.INTS):
            return tensor(node.output[0], np.asarray(helper.get_attribute_value(item), dtype=np.int64))
    raise BadInput("a Constant holds neither numbers nor a tensor", where=node.name or node.output[0])


def _renamed(old: TensorProto, name: str) -> TensorProto:
    new = TensorProto()
    new.CopyFrom(old)
    new.name = name
    new.ClearField("doc_string")
    return new


def _without_identities(nodes: list[NodeProto], outputs: set[str]) -> list[NodeProto]:
    alias = {n.output[0]: n.input[0] for n in nodes if n.op_type == "Identity" and n.output[0] not in outputs}
    kept = []
    for node in nodes:
        if node.op_type == "Identity" and node.output[0] in alias:
            continue
        copy = NodeProto()
        copy.CopyFrom(node)
        for i, name in enumerate(copy.input):
            while name in alias:
                name = alias[name]
            copy.input[i] = name
        kept.append(copy)
    return kept


def _sorted(nodes: list[NodeProto], known: set[str]) -> list[NodeProto]:
    waiting, done = list(nodes), []
    known = set(known)
    while waiting:
        ready = [n for n in waiting if all(i in known for i in n.input)]
        if not ready:
            raise BadInput("the graph has a cycle, or reads a tensor that nothing makes", where=waiting[0].name)
        # Mostly sorted already: take the longest prefix that is ready, so that the order of the file is kept.
        for node in ready:
            done.append(node)
            known.update(node.output)
        left = {id(n) for n in ready}
        waiting = [n for n in waiting if id(n) not in left]
    return done


def resized_by_size(node: NodeProto, index: Index) -> bool:
    """True for a Resize of some axes to fixed sizes while the batch is free: TensorRT can't tell the batch any more."""
    shape = index.shapes.get(node.input[0], (None,)) if node.op_type == "Resize" else (1,)
    return shape[:1] == (None,) and bool(ints(node, "axes")) and len(node.input) > 3 and bool(node.input[3])


def _resizes_by_scale(nodes: list[NodeProto], index: Index) -> list[TensorProto]:
    """Give such a Resize its scales in place of its sizes, where they mean the same; the new initializers."""
    made = []
    for node in nodes:
        sizes = index.constants.get(node.input[3]) if resized_by_size(node, index) else None
        shape = index.shapes.get(node.input[0], ())
        before = [shape[axis] for axis in ints(node, "axes")] if sizes is not None and len(shape) == 4 else []
        if (
            sizes is None
            or not before
            or not all(before)
            or text(node, "keep_aspect_ratio_policy", "stretch") != "stretch"
        ):
            continue
        olds = np.asarray(before, np.float32)
        scales = (sizes / olds).astype(np.float32)
        if np.array_equal(np.floor(olds * scales), sizes):  # runtimes take the floor of this product
            made.append(tensor(f"{node.name}_scales", scales))
            del node.input[2:]
            node.input.append(made[-1].name)
    return made


def _named(nodes: list[NodeProto]) -> list[NodeProto]:
    counts: dict[str, int] = {}
    for node in nodes:
        counts[node.name] = counts.get(node.name, 0) + 1
    taken = {name for name in counts if name}
    for number, node in enumerate(nodes):
        if not node.name or counts[node.name] > 1:
            counts[node.name] -= 1
            node.name = fresh(f"{node.name or node.op_type}_{number}", taken)
    return nodes


def _plain(info: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(info)
    copy.ClearField("doc_string")
    return copy


def _uses(nodes: Iterable[NodeProto], domain: str) -> bool:
    return any(n.domain == domain for n in nodes)


def _sizes(info: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in info.type.tensor_type.shape.dim)
