"""The strongly typed fp16 form of a float32 graph: every tensor's type stands in the graph. Knows no runtime.

Inputs and outputs keep their types. What stays float32: the picture's arithmetic, what is kept in fp32, every operator
that sums much or has a steep range, and whatever comes near the largest half number on the calibration samples, or
below the smallest one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from edge_sdk.calibration import graphs, ops
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.observe import TensorStatistics
from edge_sdk.calibration.ops import operator
from edge_sdk.tensors import Array

LARGEST_HALF = 65504.0
HEADROOM = 8.0  # samples do not show the largest value that a device will see
SMALLEST_NORMAL = 2.0**-14
"""Below it half numbers lose digits, and below 2^-24 everything: 1e-12 is zero."""
SMALLEST_TOP = 2.0**-10
"""A tensor whose largest value is smaller has too few digits in half."""


def to_half(model: ModelProto, seen: Mapping[str, TensorStatistics], *, keep_fp32: Iterable[str] = ()) -> ModelProto:
    """`model` (clean) with half arithmetic and Casts where the two types meet.

    seen: ranges of float tensors on the calibration samples; a tensor that was not seen counts as safe. Values are
    checked by these ranges and not by running on a CPU, whose runtimes compute in float32 and hide an overflow.
    """
    return _Halver(Index.of(model), seen, frozenset(keep_fp32)).model()


class _Halver:
    def __init__(self, index: Index, seen: Mapping[str, TensorStatistics], keep_fp32: frozenset[str]) -> None:
        self._index, self._seen, self._float = index, seen, keep_fp32
        self._pictures = ops.picture_tensors(index)
        self._half_nodes = {n.name for n in index.model.graph.node if self._fits(n)}
        self._is_half = {
            name for n in index.model.graph.node if n.name in self._half_nodes for name in n.output if self._real(name)
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
                if name and self._real(name) and i not in operator(node).float_inputs:
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

    def _fits(self, node: NodeProto) -> bool:
        if not operator(node).half or node.name in self._float:
            return False
        if any(self._index.captured(name) for name in node.output):  # a subgraph reads it as float32
            return False
        if operator(node).kind == "product" and len(set(node.input)) == 1:  # a square: half the exponent range is gone
            return False
        if any(name in self._pictures for name in node.output) or not any(self._real(n) for n in node.output):
            return False
        sums = operator(node).kind == "matrix"
        return all(self._held(name, sums) for name in (*node.input, *node.output) if name and self._real(name))

    def _held(self, name: str, summed: bool) -> bool:
        """Whether half numbers hold the tensor: not too large, and what keeps a division from zero not too small.

        summed: among many summands a tiny one may get lost; an epsilon that stands alone may not.
        """
        constant = self._index.constants.get(name)
        if constant is not None:
            sizes = np.abs(constant[constant != 0])
            if not sizes.size:
                return True
            lost = float(sizes.max() if summed else sizes.min()) < SMALLEST_NORMAL
            return float(sizes.max()) <= LARGEST_HALF / HEADROOM and not lost
        seen = self._seen.get(name)
        if seen is None or not seen.count:
            return True
        top = max(-seen.low, seen.high)
        return top <= LARGEST_HALF / HEADROOM and not 0.0 < top < SMALLEST_TOP

    def _real(self, name: str) -> bool:
        constant = self._index.constants.get(name)
        if constant is not None:
            return bool(constant.dtype == np.float32)
        return self._index.types.get(name) == TensorProto.FLOAT

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
