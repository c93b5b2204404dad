"""The strongly typed fp16 form of a float32 graph: every tensor's type stands in the graph. Knows no runtime.

Inputs and outputs keep their types. What stays float32: the picture's arithmetic, what is kept in fp32, every operator
that sums much or has a steep range, and whatever comes near the largest half number on the calibration samples, or
below the smallest one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.ops import operator
from edge_sdk.calibration.rewrite.half_range import half_nodes, notes, real
from edge_sdk.calibration.statistics.observe import TensorStatistics
from edge_sdk.tensors import Array


def to_half(model: ModelProto, seen: Mapping[str, TensorStatistics], *, keep_fp32: Iterable[str] = ()) -> ModelProto:
    """`model` (clean) with half arithmetic and Casts where the two types meet.

    seen: ranges of float tensors on the calibration samples. keep_fp32: names of nodes that stay float32; what else
    does, and why, is said by `half_range.half_nodes`.
    """
    index = Index.of(model)
    return _Halver(index, half_nodes(index, seen, frozenset(keep_fp32)).names).model()


def stays_float(model: ModelProto, seen: Mapping[str, TensorStatistics], keep_fp32: Iterable[str] = ()) -> list[str]:
    """A sentence on each operator that `to_half` leaves in float32 because half numbers don't hold its values."""
    return notes(half_nodes(Index.of(model), seen, frozenset(keep_fp32)))


class _Halver:
    def __init__(self, index: Index, half: frozenset[str]) -> None:
        self._index, self._half_nodes = index, half
        self._is_half = {
            name for n in index.model.graph.node if n.name in self._half_nodes for name in n.output if real(name, index)
        }
        self._names = graphs.tensor_names(index.model)
        self._node_names = {n.name for n in index.model.graph.node}
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, Array] = dict(index.constants)
        self._casts: dict[tuple[str, int], str] = {}

    def model(self) -> ModelProto:
        for node in self._index.model.graph.node:
            half = node.name in self._half_nodes
            copy = NodeProto()
            copy.CopyFrom(node)
            for i, name in enumerate(node.input):
                if name and real(name, self._index) and i not in operator(node).float_inputs:
                    copy.input[i] = self._typed(name, half)
            made = [(i, n) for i, n in enumerate(node.output) if n in self._is_half and n in self._index.outputs]
            for i, name in made:
                copy.output[i] = self._casts[name, TensorProto.FLOAT16] = graphs.fresh(f"{name}_half", self._names)
            self._nodes.append(copy)
            for i, name in made:
                self._cast(copy.output[i], name, TensorProto.FLOAT)
        used = {name for n in self._nodes for name in graphs.reads(n)} | set(self._index.outputs)
        tensors = [graphs.tensor(name, array) for name, array in self._constants.items() if name in used]
        return graphs.rebuilt(self._index.model, self._nodes, tensors)

    def _typed(self, name: str, half: bool) -> str:
        """The name under which a reader of the wanted type finds `name`; writes the Cast that is missing."""
        constant = self._index.constants.get(name)
        if constant is not None:
            return self._half_constant(name, constant) if half else name
        if half == (name in self._is_half):
            return self._casts.get((name, TensorProto.FLOAT16), name) if half else name
        kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        if not half and name in self._index.outputs:
            return name
        if (name, kind) not in self._casts:
            self._casts[name, kind] = graphs.fresh(f"{name}_{'half' if half else 'single'}", self._names)
            self._cast(name, self._casts[name, kind], kind)
        return self._casts[name, kind]

    def _half_constant(self, name: str, constant: Array) -> str:
        key = (name, TensorProto.FLOAT16)
        if key not in self._casts:
            self._casts[key] = graphs.fresh(f"{name}_half", self._names)
            self._constants[self._casts[key]] = constant.astype(np.float16)
        return self._casts[key]

    def _cast(self, source: str, target: str, kind: int) -> None:
        name = graphs.fresh(f"{target}_cast", self._node_names)
        self._nodes.append(helper.make_node("Cast", [source], [target], name=name, to=kind))
