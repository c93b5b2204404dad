"""What each int8 operator loses by itself: fed with the float graph's own values, rounded, against its float answer.

Errors that reach an operator from others are not in it, so that the worst one is where int8 costs most, wherever it
stands. One graph computes both and adds up their difference, so that no layer's values are kept. Knows no plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.int8_graph import int8_operators
from edge_sdk.calibration.ops import PAIR
from edge_sdk.calibration.statistics.observe import Feeds, Reader
from edge_sdk.runtimes.operators import is_product


def operator_errors(
    model: ModelProto, quantized: ModelProto, samples: Sequence[Feeds], threads: int | None
) -> dict[str, float]:
    """Relative L2 difference over all samples by node, the largest first. quantized: in the canonical layout.

    With its bias, corrected for rounded weights; before an activation that follows. An operator whose float answer is
    zero on all samples has the plain L2 difference; one whose answer overflows has no figure, and is left out. So is
    one whose channels were rescaled against `model`.
    """
    writer = _Writer(Index.of(model), Index.of(quantized))
    merged = writer.model()
    if not writer.sums:
        return {}
    tensors = tuple(name for pair in writer.sums.values() for name in pair)
    reader = Reader(merged, tensors, optimised=False, threads=threads)  # fused, int8 sums may saturate
    gaps, norms = dict.fromkeys(writer.sums, 0.0), dict.fromkeys(writer.sums, 0.0)
    for feeds in samples:
        got = reader.run(feeds)
        for node, names in writer.sums.items():
            gap, norm, unit = (float(got[name]) for name in names)
            gaps[node] += gap * unit**2
            norms[node] += norm * unit**2
    found = {node: math.sqrt(gap / norms[node] if norms[node] else gap) for node, gap in gaps.items()
             if math.isfinite(gap) and math.isfinite(norms[node])}  # fmt: skip
    return dict(sorted(found.items(), key=lambda item: -item[1]))


RESCALED = 0.3
"""Of weights, how far int8 ones are from float ones that are not the same: rounding to 7 bits gives some hundredths."""
LEAST_UNIT = 1e-30
"""Of an operator that answers zero."""


class _Writer:
    """The float graph, and beside each operator its int8 twin. sums: by node, the names of the squared difference, of
    the squared float answer, and of the unit of both: squares of values beyond 1e19 are none of float32."""

    def __init__(self, real: Index, made: Index) -> None:
        self._real, self._made = real, made
        self._names = graphs.tensor_names(real.model)
        self._node_names = {node.name for node in real.model.graph.node}
        self._constants: dict[str, str] = {}  # of the int8 graph -> name here
        self._least = ""
        self.sums: dict[str, tuple[str, str, str]] = {}

    def model(self) -> ModelProto:
        twins: dict[str, list[NodeProto]] = {}
        nodes = {node.name: node for node in self._made.model.graph.node}
        for name in int8_operators(self._made.model):
            float_node = next((n for n in self._real.model.graph.node if n.name == name), None)
            found = None if float_node is None else self._twin(nodes[name], float_node)
            if found is not None:
                wanted, twin = found
                twins[wanted] = twin
        order = []
        for node in self._real.model.graph.node:
            order += [node, *(one for name in node.output for one in twins.get(name, ()))]
        stored = [*self._real.model.graph.initializer]
        stored += [graphs.tensor(name, self._made.constants[old]) for old, name in self._constants.items()]
        stored += [graphs.tensor(self._least, np.array(LEAST_UNIT, np.float32))] if self._least else []
        return graphs.rebuilt(self._real.model, order, stored)

    def _twin(self, node: NodeProto, real: NodeProto) -> tuple[str, list[NodeProto]] | None:
        """(tensor of the float graph that the twin is held against, nodes); None where the graphs are not alike."""
        source, chain = node.input[0], list[NodeProto]()
        while (maker := self._made.producer.get(source)) is not None and source != real.input[0]:
            if maker.op_type not in PAIR and maker.op_type != "Add":  # Add: the picture less 128
                break
            chain.insert(0, maker)
            source = maker.input[0]
            if maker.op_type == "QuantizeLinear" and self._stands_for(source, real.input[0]):
                source = real.input[0]
        if source != real.input[0]:
            return None
        weight = self._made.producer[node.input[1]]
        if not self._same_weights(weight, real):
            return None
        last, wanted = node, real.output[0]
        behind = self._made.only_reader(node.output[0]) if is_product(node.op_type) else None
        if behind is not None and behind.op_type == "Sub" and behind.input[1] in self._made.constants:
            last = behind
            same = next((n for n in self._real.model.graph.node if n.name == behind.name), None)
            wanted = wanted if same is None else same.output[0]
        nodes = [*chain, weight, node, *([last] if last is not node else [])]
        return wanted, self._copied(nodes, source, real.input[0], last.output[0], wanted, node.name)

    def _same_weights(self, dequantized: NodeProto, real: NodeProto) -> bool:
        """Whether the int8 weights are the float ones, rounded: of rescaled channels the answers are other ones."""
        wanted = self._real.constants.get(real.input[1])
        stored, scale = (self._made.constants.get(name) for name in dequantized.input[:2])
        if wanted is None or stored is None or scale is None or stored.shape != wanted.shape:
            return True  # nothing to compare: a layer of another form has no twin anyway
        axis = next((one.i for one in dequantized.attribute if one.name == "axis"), 1)
        if scale.ndim:
            scale = scale.reshape([-1 if at == axis % stored.ndim else 1 for at in range(stored.ndim)])
        gap = stored.astype(np.float64) * scale - wanted
        return float(np.square(gap).sum()) <= RESCALED**2 * float(np.square(wanted.astype(np.float64)).sum())

    def _stands_for(self, tensor: str, real: str) -> bool:
        """Whether `tensor` of the int8 graph is `real`, an output that Q/DQ took the name of."""
        maker, same = self._made.producer.get(tensor), self._real.producer.get(real)
        return maker is not None and same is not None and maker.name == same.name

    def _copied(
        self, nodes: Sequence[NodeProto], source: str, real: str, last: str, wanted: str, node: str
    ) -> list[NodeProto]:
        names: dict[str, str] = {}
        copies = []
        for one in nodes:
            copy = NodeProto()
            copy.CopyFrom(one)
            copy.name = graphs.fresh(f"{one.name}/twin", self._node_names)
            for place, name in enumerate(one.input):
                copy.input[place] = self._name(name, names, source, real)
            for place, name in enumerate(one.output):
                copy.output[place] = names[name] = graphs.fresh(f"{node}/twin", self._names)
            copies.append(copy)
        return [*copies, *self._summed(names[last], wanted, node)]

    def _summed(self, got: str, wanted: str, node: str) -> list[NodeProto]:
        """Nodes that add up what `got` and `wanted` differ by, in units of the largest value of either."""
        self._least = self._least or graphs.fresh("twin/least", self._names)
        nodes: list[NodeProto] = []

        def add(operator: str, *inputs: str, what: str, **attributes: Any) -> str:
            out = graphs.fresh(f"{node}/{what}", self._names)
            name = graphs.fresh(f"{node}/{what}", self._node_names)
            nodes.append(helper.make_node(operator, inputs, [out], name, **attributes))
            return out

        largest = [add("ReduceMax", add("Abs", one, what="size"), what="largest", keepdims=0) for one in (got, wanted)]
        unit = add("Max", *largest, self._least, what="unit")
        parts = [add("Div", one, unit, what="part") for one in (got, wanted)]
        gap = add("ReduceSumSquare", add("Sub", *parts, what="gap"), what="squared", keepdims=0)
        self.sums[node] = gap, add("ReduceSumSquare", parts[1], what="norm", keepdims=0), unit
        return nodes

    def _name(self, name: str, names: Mapping[str, str], source: str, real: str) -> str:
        if name in names or not name:
            return names.get(name, "")
        if name in self._made.constants:
            if name not in self._constants:
                self._constants[name] = graphs.fresh(f"{name}/twin", self._names)
            return self._constants[name]
        return real
