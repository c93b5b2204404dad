"""What a graph costs: multiply-adds by kind of operator, parameters, the share in int8. Knows shapes; runs nothing.

Padding is counted as run, and so are windows that it fills up. A product of two computed tensors is attention's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from onnx import ModelProto, NodeProto

from edge_sdk.calibration import graphs, sizes
from edge_sdk.errors import BadInput
from edge_sdk.runtimes.operators import is_product, traits

Kind: TypeAlias = Literal["linear", "attention", "conv 1x1", "conv", "depthwise", "transposed conv"]
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCost:
    """One operator's multiply-adds for one run. int8: both of its factors are dequantized, so that a runtime may fuse
    it; whether it does is the runtime's to say."""

    kind: Kind
    macs: int
    int8: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphCost:
    """nodes: by node name, those that multiply and add. parameters: stored values, shapes and scales left out."""

    nodes: Mapping[str, NodeCost]
    parameters: int

    @property
    def macs(self) -> int:
        """Of one run."""
        return sum(one.macs for one in self.nodes.values())

    @property
    def by_kind(self) -> dict[Kind, int]:
        """Multiply-adds of one run, the largest first."""
        total: dict[Kind, int] = {}
        for one in self.nodes.values():
            total[one.kind] = total.get(one.kind, 0) + one.macs
        return dict(sorted(total.items(), key=lambda item: -item[1]))

    @property
    def int8_share(self) -> float:
        """Share of the multiply-adds, 0 to 1, that are written for int8."""
        return sum(one.macs for one in self.nodes.values() if one.int8) / self.macs if self.macs else 0.0


def cost(model: ModelProto, axes: Mapping[str, int] = MappingProxyType({})) -> GraphCost:
    """What a run costs with these sizes of the free axes. Raises BadInput where a shape stays unknown."""
    given: dict[str, Shape] = {}
    for info in model.graph.input:
        dims = info.type.tensor_type.shape.dim
        free = [dim.dim_param for dim in dims if not dim.dim_value and dim.dim_param not in axes]
        if free:
            what = f"the size of axis {free[0] or 'without a name'} of {info.name} is not stated"
            raise BadInput(what, hint="State the sizes of all free axes")
        given[info.name] = tuple(dim.dim_value or axes[dim.dim_param] for dim in dims)
    shapes, index = sizes.shapes(model, given), graphs.Index.of(model)
    found = {
        node.name: _node(node, shapes, index) for node in model.graph.node if traits(node.op_type).kind == "matrix"
    }
    stored = (array for array in index.constants.values() if array.dtype.kind == "f" or array.dtype.itemsize == 1)
    return GraphCost(nodes=found, parameters=sum(array.size for array in stored))


def _node(node: NodeProto, shapes: Mapping[str, Shape], index: graphs.Index) -> NodeCost:
    missing = [name for name in (*node.input[:2], node.output[0]) if name not in shapes]
    if missing:
        raise BadInput(
            f"the shape of {missing[0]} is not known", where=node.name, hint="State the sizes of all free axes"
        )
    first, second, out = (shapes[name] for name in (*node.input[:2], node.output[0]))
    stored, int8 = _factors(node, index)
    kind: Kind
    if is_product(node.op_type):
        kind, depth = "linear" if stored else "attention", first[-2 if graphs.integer(node, "transA", 0) else -1]
        return NodeCost(kind=kind, macs=math.prod(out) * depth, int8=int8)
    if node.op_type == "ConvTranspose":
        return NodeCost(kind="transposed conv", macs=math.prod(first) * math.prod(second[1:]), int8=int8)
    return NodeCost(kind=_convolution(node, second), macs=math.prod(out) * math.prod(second[1:]), int8=int8)


def _factors(node: NodeProto, index: graphs.Index) -> tuple[bool, bool]:
    """(whether a factor is stored, behind its dequantization too; whether both are dequantized)."""
    makers = [index.producer.get(name) for name in node.input[:2]]
    dequantized = [maker is not None and maker.op_type == "DequantizeLinear" for maker in makers]
    names = [maker.input[0] if maker is not None and behind else name
             for maker, behind, name in zip(makers, dequantized, node.input[:2])]  # fmt: skip
    return any(name in index.constants for name in names), all(dequantized)


def _convolution(node: NodeProto, weight: Shape) -> Kind:
    if graphs.integer(node, "group", 1) > 1 and weight[1] == 1:
        return "depthwise"
    return "conv 1x1" if math.prod(weight[2:]) == 1 else "conv"
