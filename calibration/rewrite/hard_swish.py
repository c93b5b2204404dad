"""Hard sigmoid and hard swish that an exporter wrote out become one operator again. Knows no quantization.

Paddle's exporter writes x * Clip(x + 3, 0, 6) / 6. As one operator it is an activation, behind which Q/DQ fuse. Clip,
HardSigmoid and HardSwish are called by name, because the chain is about these three; arithmetic is what the table says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.ops import operator

_SIXTH = 1.0 / 6.0
_SINCE = 14
"""Opset of HardSwish."""


def joined(model: ModelProto, keep: Collection[str] = ()) -> ModelProto:
    """A copy in which each such chain is a HardSigmoid or a HardSwish; `model` itself where there is none. keep: names
    of nodes that stay as they are."""
    while (found := next((one for one in _chains(Index.of(model)) if _free(one, keep)), None)) is not None:
        old, new = found
        gone = {node.output[0] for node in old}
        nodes = [node for node in model.graph.node if node.output[0] not in gone]
        place = min(position for position, node in enumerate(model.graph.node) if node.output[0] in gone)
        place = max(place, *(_after(nodes, node) for node in new))
        model = graphs.rebuilt(model, [*nodes[:place], *new, *nodes[place:]], model.graph.initializer)
    return model


def _after(nodes: Sequence[NodeProto], node: NodeProto) -> int:
    """The first position behind all that makes what the node reads."""
    made = [position for position, one in enumerate(nodes) if set(one.output) & set(node.input)]
    return max(made, default=-1) + 1


def _free(found: tuple[list[NodeProto], list[NodeProto]], keep: Collection[str]) -> bool:
    return all(node.name not in keep for node in found[0])


def _chains(index: Index) -> Iterator[tuple[list[NodeProto], list[NodeProto]]]:
    """The nodes of each chain that is written out, and those that do its work."""
    for clip in index.model.graph.node:
        add = _shifted(clip, index)
        if add is None:
            continue
        x = add.input[0] if add.input[1] in index.constants else add.input[1]
        reader = index.only_reader(clip.output[0])
        if reader is None:
            continue
        if _sixth(reader, clip.output[0], index):
            gate = _gate(x, reader.output[0], reader.name)
            yield [add, clip, reader], [gate]
            continue
        if operator(reader).arithmetic != "*" or x not in reader.input:
            continue
        end = index.only_reader(reader.output[0])
        if end is not None and _sixth(end, reader.output[0], index):
            yield [add, clip, reader, end], _swish(x, end, index)


def _swish(x: str, end: NodeProto, index: Index) -> list[NodeProto]:
    if graphs.opset_of(index.model) >= _SINCE:
        return [helper.make_node("HardSwish", [x], [end.output[0]], end.name)]
    gate = graphs.fresh(f"{end.output[0]}_gate", graphs.tensor_names(index.model))
    name = graphs.fresh(f"{end.name}_gate", {node.name for node in index.model.graph.node})
    return [_gate(x, gate, name), helper.make_node("Mul", [x, gate], [end.output[0]], end.name)]


def _gate(x: str, out: str, name: str) -> NodeProto:
    return helper.make_node("HardSigmoid", [x], [out], name, alpha=_SIXTH, beta=0.5)


def _shifted(clip: NodeProto, index: Index) -> NodeProto | None:
    """The Add of 3 before a Clip to 0..6, if nothing else reads it."""
    if operator(clip).name != "Clip" or len(clip.input) != 3:
        return None
    if not (_is(clip.input[1], 0.0, index) and _is(clip.input[2], 6.0, index)):
        return None
    add = index.producer.get(clip.input[0])
    alone = add is not None and index.only_reader(clip.input[0]) is not None
    if add is None or not alone or operator(add).arithmetic != "+":
        return None
    return add if any(_is(name, 3.0, index) for name in add.input) else None


def _sixth(node: NodeProto, tensor: str, index: Index) -> bool:
    """Whether a node divides `tensor` by 6."""
    if operator(node).arithmetic == "/":
        return node.input[0] == tensor and _is(node.input[1], 6.0, index)
    return operator(node).arithmetic == "*" and any(_is(name, _SIXTH, index) for name in node.input if name != tensor)


def _is(name: str, value: float, index: Index) -> bool:
    """Whether a constant of one element, without further axes to broadcast, is that number in float32."""
    array = index.constants.get(name)
    if array is None or array.size != 1 or array.ndim > 1 or array.dtype != np.float32:
        return False
    return bool(np.isclose(array.reshape(-1)[0], value, rtol=1e-6, atol=0.0))
