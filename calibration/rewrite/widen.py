"""Graphs in half or double precision become float32: int8 needs that, and fp16 is made anew where ranges allow it.

Every stored half is exactly a float32. What a graph computed in half is computed in float32, and so differs by the
rounding that half added. Knows graphs; no quantization and no runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    numpy_helper,
    shape_inference,
)

from edge_sdk.calibration import graphs
from edge_sdk.errors import BadInput

OTHERS: Mapping[int, str] = {
    TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16", TensorProto.DOUBLE: "float64",
}  # fmt: skip
"""Types that become float32."""
_REALS = {TensorProto.FLOAT, *OTHERS}
_KINDS_AS_ATTRIBUTE = ("to", "dtype", "output_datatype")
"""Attributes that name a type: of Cast; of EyeLike, RandomNormal, Bernoulli; of the windows."""


def types_in(model: ModelProto) -> tuple[str, ...]:
    """Which of OTHERS the graph stores, takes, answers or casts to, by name; () = all of it is float32 already."""
    kinds = {tensor.data_type for tensor in graphs.tensors(model)}
    kinds |= {kind.elem_type for kind in _declared(model)}
    kinds |= {item.i for node in _nodes(model) for item in _naming(node)}
    return tuple(name for kind, name in OTHERS.items() if kind in kinds)


def widened(model: ModelProto, *, where: str = "") -> ModelProto:
    """A copy in float32: weights, constants, inputs, outputs; casts between real types are gone.

    Raises BadInput for a float64 constant that float32 does not hold.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    _without_casts(copy)
    for tensor in graphs.tensors(copy):
        if tensor.data_type in OTHERS:
            _widen(tensor, where)
    for kind in _declared(copy):
        if kind.elem_type in OTHERS:
            kind.elem_type = TensorProto.FLOAT
    for node in _nodes(copy):
        for item in _naming(node):
            if item.i in OTHERS:
                item.i = TensorProto.FLOAT
    return copy


def _widen(tensor: TensorProto, where: str) -> None:
    values = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore", invalid="ignore"):  # a signalling NaN becomes a quiet one
        floats, wide = values.astype(np.float32), values.astype(np.float64)
    if (np.isinf(floats) & np.isfinite(wide)).any():
        raise BadInput(
            f"its constant {tensor.name[:80] or 'without a name'} is beyond what float32 holds", where=where,
            hint="Export the model in float32",
        )  # fmt: skip
    tensor.CopyFrom(graphs.tensor(tensor.name, floats))


def _without_casts(model: ModelProto) -> None:
    """Casts from one real type to another become Identity, which cleaning takes away. In subgraphs they stay: a Cast of
    float32 to float32 does nothing."""
    inferred = shape_inference.infer_shapes(model)
    known = (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    kinds = {info.name: info.type.tensor_type.elem_type for info in known}
    kinds |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        standard = node.domain in graphs.STANDARD_DOMAINS
        if standard and node.op_type == "Cast" and kinds.get(node.input[0]) in _REALS and _to(node) in _REALS:
            node.op_type = "Identity"
            del node.attribute[:]


def _to(node: NodeProto) -> int:
    return graphs.integer(node, "to", TensorProto.UNDEFINED)


def _naming(node: NodeProto) -> Iterator[AttributeProto]:
    """The attributes of a node that name a type."""
    if node.domain in graphs.STANDARD_DOMAINS:
        yield from (item for item in node.attribute if item.name in _KINDS_AS_ATTRIBUTE)


def _declared(model: ModelProto) -> Iterator[TypeProto.Tensor]:
    """Every type that the file states of an input, an output, or a tensor between them."""
    holders: list[Any] = [model.graph, *model.functions]
    for node in _nodes(model):
        holders += graphs.subgraphs(node)
    for holder in holders:
        infos = [*holder.value_info]
        if isinstance(holder, GraphProto):
            infos += [*holder.input, *holder.output]
        yield from (info.type.tensor_type for info in infos if info.type.HasField("tensor_type"))


def _nodes(model: ModelProto) -> Iterator[NodeProto]:
    """All nodes: of the graph, of its functions, and of subgraphs in them."""
    waiting = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [inner for graph in graphs.subgraphs(node) for inner in graph.node]
