"""Moves Transposes of a float graph to where two of them cancel. Knows no quantization, no runtime.

Keras and TensorFlow compute in NHWC: their exporters write a Transpose before and behind every convolution, and what
lies between (norm, activation, residual sum) can't be fused with the convolution. Moved behind those element-wise
steps, a Transpose meets its inverse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.ops import operator
from edge_sdk.tensors import Array

Perm = tuple[int, ...]


def moved(model: ModelProto) -> ModelProto:
    """A copy with fewer Transposes that answers the same, bit by bit; `model` itself where there are none to spare."""
    before = _count(model.graph.node)
    if before < 2:
        return model
    work = _Work(model)
    while work.step():
        pass
    return work.model() if _count(work.nodes) < before else model


def _count(nodes: Sequence[NodeProto]) -> int:
    return sum(node.op_type == "Transpose" for node in nodes)


class _Work:
    """The graph in change. Each step moves one Transpose behind a node, or drops one: towards the outputs, so that
    steps end."""

    def __init__(self, model: ModelProto) -> None:
        self._before = Index.of(model)
        self._names, self._node_names = graphs.tensor_names(model), {node.name for node in model.graph.node}
        self._new: dict[str, Array] = {}
        self.nodes: list[NodeProto] = []
        for node in model.graph.node:
            self.nodes.append(NodeProto())
            self.nodes[-1].CopyFrom(node)

    def model(self) -> ModelProto:
        used = {name for node in self.nodes for name in graphs.reads(node)} | set(self._before.outputs)
        tensors = [t for t in self._before.model.graph.initializer if t.name in used]
        tensors += [graphs.tensor(name, array) for name, array in self._new.items() if name in used]
        return graphs.rebuilt(self._before.model, self.nodes, tensors)

    def step(self) -> bool:
        """One change; False if there is none left."""
        readers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in graphs.reads(node):
                readers.setdefault(name, []).append(node)
        transposes = {node.output[0]: node for node in self.nodes if _perm(node)}
        for tensor, transpose in transposes.items():
            after = readers.get(tensor, [])
            if tensor in self._before.outputs or any(tensor not in node.input for node in after):
                continue  # an output of the graph, or of what a subgraph reads
            if not after:
                self.nodes.remove(transpose)
                return True
            second = next((node for node in after if _perm(node)), None)
            if second is not None:
                self._joined(transpose, second, readers)
                return True
            passing = next((node for node in after if self._passes(node, tensor, transposes)), None)
            if passing is not None:  # others may follow, as in x * f(x)
                self._passed(transpose, passing, transposes)
                return True
        return False

    def _joined(self, first: NodeProto, second: NodeProto, readers: Mapping[str, Sequence[NodeProto]]) -> None:
        """`second` reads what `first` reads; it goes if the two are inverse."""
        both = tuple(_perm(first)[axis] for axis in _perm(second))
        made, source = second.output[0], first.input[0]
        if both != tuple(range(len(both))):
            second.input[0] = source
            _set_perm(second, both)
        elif made in self._before.outputs or any(made not in node.input for node in readers.get(made, ())):
            second.op_type, second.input[0] = "Identity", source  # its name is wanted
            del second.attribute[:]
        else:
            for node in readers.get(made, ()):
                _replace(node, made, source)
            self.nodes.remove(second)

    def _passes(self, node: NodeProto, tensor: str, transposes: Mapping[str, NodeProto]) -> bool:
        """Whether a Transpose that makes `tensor` may stand behind this reader instead."""
        perm = _perm(transposes[tensor])
        if node.domain not in graphs.STANDARD_DOMAINS or len(node.output) != 1:
            return False
        if operator(node).elementwise:
            return all(self._transposed_alike(name, perm, transposes) for name in node.input if name)
        if node.op_type == "Pad":
            return node.input[0] == tensor and self._constant(node.input[1]) is not None and len(node.input) < 4
        if node.op_type == "ReduceMean":
            axes = self._axes(node, len(perm))
            return bool(axes) and (bool(graphs.integer(node, "keepdims", 1)) or _in_order(perm, axes))
        return False

    def _transposed_alike(self, name: str, perm: Perm, transposes: Mapping[str, NodeProto]) -> bool:
        """Whether the same values stand before a Transpose: another one made `name`, or it is a constant."""
        if name in transposes:
            return _perm(transposes[name]) == perm
        array = self._constant(name)
        return array is not None and array.ndim <= len(perm)

    def _passed(self, transpose: NodeProto, node: NodeProto, transposes: Mapping[str, NodeProto]) -> None:
        """`node` reads what stands before the Transpose, and a Transpose of its own stands behind it."""
        perm, made = _perm(transpose), node.output[0]
        for position, name in enumerate(node.input):
            if name in transposes and _perm(transposes[name]) == perm:
                node.input[position] = transposes[name].input[0]
            elif name and operator(node).elementwise:
                node.input[position] = self._untransposed(name, perm)
        if node.op_type == "Pad":
            pads = np.asarray(self._constant(node.input[1])).reshape(2, len(perm))
            node.input[1] = self._add(node.input[1], pads[:, np.argsort(perm)].reshape(-1))
        if node.op_type == "ReduceMean":
            axes = self._axes(node, len(perm))
            self._set_axes(node, tuple(perm[axis] for axis in axes))
            if not graphs.integer(node, "keepdims", 1):
                return
        node.output[0] = graphs.fresh(f"{made}_before", self._names)
        name = graphs.fresh(f"{node.name}_transposed", self._node_names)
        own = helper.make_node("Transpose", [node.output[0]], [made], name, perm=list(perm))
        self.nodes.insert(self.nodes.index(node) + 1, own)

    def _untransposed(self, name: str, perm: Perm) -> str:
        """A constant that broadcasts before the Transpose as `name` does behind it."""
        array = self._constant(name)
        assert array is not None  # _passes saw it
        if array.size == 1:
            return name
        full = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
        return self._add(name, np.transpose(full, np.argsort(perm)))

    def _axes(self, node: NodeProto, rank: int) -> tuple[int, ...]:
        """The axes that a ReduceMean averages, () where they are not known."""
        if len(node.input) > 1 and node.input[1]:
            array = self._constant(node.input[1])
            axes = () if array is None else tuple(int(axis) for axis in array.reshape(-1))
        else:
            axes = graphs.ints(node, "axes")
        return tuple(axis % rank for axis in axes)

    def _set_axes(self, node: NodeProto, axes: Sequence[int]) -> None:
        if len(node.input) > 1 and node.input[1]:
            node.input[1] = self._add(node.input[1], np.array(sorted(axes), np.int64))
        else:
            kept = [item for item in node.attribute if item.name != "axes"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("axes", sorted(axes))])

    def _constant(self, name: str) -> Array | None:
        return self._new[name] if name in self._new else self._before.constants.get(name)

    def _add(self, name: str, array: Array) -> str:
        made = graphs.fresh(f"{name}_turned", self._names)
        self._new[made] = array
        return made


def _perm(node: NodeProto) -> Perm:
    """Of a Transpose that states it, else ()."""
    return graphs.ints(node, "perm") if node.op_type == "Transpose" and node.domain in graphs.STANDARD_DOMAINS else ()


def _set_perm(node: NodeProto, perm: Perm) -> None:
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("perm", list(perm)))


def _in_order(perm: Perm, axes: Sequence[int]) -> bool:
    """Whether the axes that are left behind the Transpose stand in the order that they have before it."""
    left = [source for axis, source in enumerate(perm) if axis not in axes]
    return left == sorted(left)


def _replace(node: NodeProto, old: str, new: str) -> None:
    for position, name in enumerate(node.input):
        if name == old:
            node.input[position] = new
