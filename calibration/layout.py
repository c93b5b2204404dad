"""Two layouts of one int8 graph, equal bit for bit: one for TensorRT and OpenVINO, one for ONNX Runtime's CPU kernels.

"conv-relu-q" (A, canonical): convolution, Relu, Q, DQ, all int8 with zero point 0: what TensorRT takes.
"conv-q-relu-q" (B): Q behind the convolution, then the Relu on the quantized numbers; activations are uint8 with zero
point 128, the same numbers shifted. ONNX Runtime runs A's convolutions in float, and turns int8 tensors into uint8
only where they have a single reader: every residual branch or shared picture would again leave convolutions in float.
It also quantizes the weights of what is to stay in float between DQ and Q, one scale for all channels: there B has a
Max with the lowest number, which changes nothing, and which ONNX Runtime does not look through.
Knows no samples, no scales.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, NodeProto, helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.lint.rules import RUNTIMES
from edge_sdk.calibration.ops import LOWEST, loses_float_weights, operator
from edge_sdk.errors import CheckFailed
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.operators import DEQUANTIZE, QUANTIZE
from edge_sdk.tensors import Array

# Q never falls, so it may change places with min and max: Q(clip(x, lo, hi)) = clip(Q(x), Q(lo), Q(hi)), whatever the
# bounds and the scale. LeakyRelu and the smooth functions scale what they cut: no such identity.
# (`Operator.cuts`)
_SHIFT = 128


def written_for(layout: str) -> tuple[str, ...]:
    """The runtimes that have this layout as their best. OpenVINO computes the other one as well, and has no need."""
    return tuple(one for one in RUNTIMES if registry.runtime(one).int8_layouts[0] == layout)


def for_onnxruntime(model: ModelProto) -> ModelProto:
    """Layout B of a graph in layout A."""
    return _Rewrite(Index.of(model)).model()


class _Rewrite:
    def __init__(self, index: Index) -> None:
        self._index = index
        self._names = graphs.tensor_names(index.model)
        self._node_names = {n.name for n in index.model.graph.node}
        self._constants: dict[str, Array] = dict(index.constants)
        self._cuts = {cut.name: q.name for q in index.model.graph.node if (cut := _cut_before(q, index)) is not None}
        self._moved = {q: cut for cut, q in self._cuts.items()}
        self._zero = self._constant("zero_point_128", np.asarray(_SHIFT, np.uint8))

    def model(self) -> ModelProto:
        by_name = {n.name: n for n in self._index.model.graph.node}
        nodes: list[NodeProto] = []
        for node in self._index.model.graph.node:
            if node.name in self._cuts:
                continue
            copy = NodeProto()
            copy.CopyFrom(node)
            nodes.append(copy)
            if loses_float_weights(node, self._index):
                nodes.append(self._kept_in_float(copy))
            if self._of_activation(node):
                copy.input[2] = self._zero
            if node.name in self._moved:
                cut = by_name[self._moved[node.name]]
                copy.input[0] = cut.input[0]
                nodes += self._integer_cut(cut, copy)
        used = {name for n in nodes for name in graphs.reads(n)} | set(self._index.outputs)
        tensors = [graphs.tensor(name, array) for name, array in self._constants.items() if name in used]
        return graphs.rebuilt(self._index.model, nodes, tensors)

    def _kept_in_float(self, node: NodeProto) -> NodeProto:
        """What stands behind `node` (which gets a new output) so that its weights stay float."""
        target = node.output[0]
        node.output[0] = graphs.fresh(f"{target}_float", self._names)
        lowest = self._constant("lowest_float", LOWEST)
        return helper.make_node(
            "Max", [node.output[0], lowest], [target], name=graphs.fresh(f"{node.name}_float", self._node_names)
        )

    def _of_activation(self, node: NodeProto) -> bool:
        quantized = node.op_type == QUANTIZE
        return quantized or (node.op_type == DEQUANTIZE and node.input[0] not in self._index.constants)

    def _integer_cut(self, cut: NodeProto, q: NodeProto) -> list[NodeProto]:
        """Relu or Clip on the uint8 numbers: between `q` (which gets a new output) and q's readers."""
        low, high = _bounds(cut, self._index)
        scale = self._index.constants[q.input[1]]
        codes = [int(np.clip(np.rint(np.float32(b) / scale), -128, 127)) + _SHIFT for b in (low, high)]
        target = q.output[0]
        q.output[0] = graphs.fresh(f"{target}_uncut", self._names)
        limits = [self._constant(f"{cut.name}_{part}", np.asarray(c, np.uint8)) for part, c in zip(("lo", "hi"), codes)]
        return [helper.make_node("Clip", [q.output[0], *limits], [target], name=graphs.fresh(cut.name, set()))]

    def _constant(self, name: str, value: Array) -> str:
        unique = graphs.fresh(name, self._names)
        self._constants[unique] = value
        return unique


def assert_equal(left: Mapping[str, Array], right: Mapping[str, Array], *, where: str) -> None:
    """CheckFailed unless the outputs of two layouts are equal bit for bit."""
    for name, ours in left.items():
        theirs = right[name]
        if ours.dtype != theirs.dtype or ours.shape != theirs.shape or ours.tobytes() != theirs.tobytes():
            same = ours.shape == theirs.shape and ours.size > 0
            gap = float(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max()) if same else np.inf
            raise CheckFailed(
                f"the two layouts differ in output {name} by up to {gap:g}",
                where=where,
                hint="This is a fault of the rewrite: please report it with the graph",
            )


def _cut_before(q: NodeProto, index: Index) -> NodeProto | None:
    """The Relu or Clip between an int8 operator and this QuantizeLinear, if it may change places with it."""
    if q.op_type != QUANTIZE or q.input[0] in index.outputs or index.only_reader(q.input[0]) is None:
        return None
    cut = index.producer.get(q.input[0])
    if cut is None or not operator(cut).cuts or index.only_reader(cut.input[0]) is None:
        return None
    if not all(name in index.constants for name in cut.input[1:] if name):
        return None
    maker = index.producer.get(cut.input[0])
    if maker is None or operator(maker).kind not in ("matrix", "sum"):
        return None
    sources = {index.producer[name].op_type for name in maker.input if name in index.producer}
    return cut if sources == {DEQUANTIZE} else None


def _bounds(cut: NodeProto, index: Index) -> tuple[float, float]:
    if cut.op_type == "Relu":
        return 0.0, np.inf
    low, high = (
        float(index.constants[cut.input[i]].item()) if len(cut.input) > i and cut.input[i] else None for i in (1, 2)
    )
    return (-np.inf if low is None else low), (np.inf if high is None else high)
