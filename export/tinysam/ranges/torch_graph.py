"""A float graph of the family run by torch, node by node: gradients reach every operator. Knows operators alone.

The operators are those of the family's encoders and decoders at opset 17, with the attributes that they have there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from edge_sdk.errors import BadInput
from edge_sdk.tensors import Array

PRODUCTS = ("Conv", "MatMul")
"""Operators whose output a `Change` may replace."""
Change: TypeAlias = Callable[[NodeProto, Sequence[Any]], Tensor | None]
"""(node, inputs) -> what the node answers instead, or None."""
_TYPES = {
    TensorProto.FLOAT: torch.float32, TensorProto.INT32: torch.int32, TensorProto.INT64: torch.int64,
    TensorProto.BOOL: torch.bool,
}  # fmt: skip


class TorchGraph:
    """Constants are read once; `run` may be called as often as needed, from one thread. Raises BadInput for an operator
    that no graph of the family has."""

    def __init__(self, model: ModelProto) -> None:
        self.nodes = tuple(model.graph.node)
        unknown = {n.op_type: n.name for n in self.nodes if n.op_type not in _PLAIN and n.op_type not in _WITH_SETTINGS}
        for kind, name in unknown.items():
            raise BadInput(f"{kind} is not an operator of the family's graphs, and has no gradient here", where=name)
        self.constants = {one.name: _tensor(numpy_helper.to_array(one)) for one in model.graph.initializer}
        self.inputs = tuple(one.name for one in model.graph.input)
        self.outputs = tuple(one.name for one in model.graph.output)
        self._settings = [{one.name: helper.get_attribute_value(one) for one in n.attribute} for n in self.nodes]
        self._spent = _spent(self.nodes, self.outputs)

    def run(self, feeds: Mapping[str, Array | Tensor], change: Change | None = None) -> dict[str, Tensor]:
        """The graph's outputs, with gradients where torch records them. change: asked for each of PRODUCTS. A value is
        dropped after the last node that reads it, unless a gradient needs it."""
        values: dict[str, Any] = {"": None, **self.constants}
        values |= {name: v if isinstance(v, Tensor) else _tensor(v) for name, v in feeds.items()}
        for node, settings, spent in zip(self.nodes, self._settings, self._spent, strict=True):
            read = [values[name] for name in node.input]
            made = change(node, read) if change is not None and node.op_type in PRODUCTS else None
            values[node.output[0]] = _computed(node.op_type, read, settings) if made is None else made
            for name in spent:
                del values[name]
        return {name: values[name] for name in self.outputs}

    def computed(self, node: NodeProto, read: Sequence[Any]) -> Tensor:
        """The output of one node of the graph on these inputs."""
        return _computed(node.op_type, read, {one.name: helper.get_attribute_value(one) for one in node.attribute})


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.require(array, requirements=("C", "W")))  # torch warns of what can't be written


def _spent(nodes: Sequence[NodeProto], outputs: Sequence[str]) -> list[list[str]]:
    """By node, the values that no later node reads: those that nodes make, and no output."""
    last = {name: at for at, node in enumerate(nodes) for name in (*node.output, *node.input)}
    made = {name for node in nodes for name in node.output} - set(outputs)
    spent: list[list[str]] = [[] for _ in nodes]
    for name in made:
        spent[last[name]].append(name)
    return spent


def _computed(kind: str, read: Sequence[Any], settings: Mapping[str, Any]) -> Tensor:
    plain = _PLAIN.get(kind)
    return plain(*read) if plain is not None else _WITH_SETTINGS[kind](settings, *read)


def _conv(held: Mapping[str, Any], x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    pads = held.get("pads", [0, 0, 0, 0])
    padded = F.pad(x, (pads[1], pads[3], pads[0], pads[2])) if any(pads) else x
    return F.conv2d(padded, weight, bias, held.get("strides", 1), groups=held.get("group", 1))


def _reshape(x: Tensor, shape: Tensor) -> Tensor:
    return x.reshape([x.shape[at] if size == 0 else size for at, size in enumerate(shape.tolist())])


def _divided(x: Tensor, by: Tensor) -> Tensor:
    return torch.div(x, by, rounding_mode=None if x.is_floating_point() else "trunc")


def _clipped(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return torch.clamp(x, low, high)


def _normalized(held: Mapping[str, Any], x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.layer_norm(x, list(scale.shape), scale, bias, held["epsilon"])


def _gathered(held: Mapping[str, Any], x: Tensor, at: Tensor) -> Tensor:
    axis = held.get("axis", 0) % x.dim()
    found = torch.index_select(x, axis, at.reshape(-1) % x.shape[axis])
    return found.reshape(*x.shape[:axis], *at.shape, *x.shape[axis + 1 :])


def _padded(x: Tensor, pads: Tensor, value: Tensor | None = None) -> Tensor:
    """Torch counts pads from the last axis on, ONNX gives all starts and then all ends."""
    ends, rank = pads.tolist(), x.dim()
    order = [ends[at + side] for at in range(rank - 1, -1, -1) for side in (0, rank)]
    return F.pad(x, order, value=0.0 if value is None else value.item())


def _sliced(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor, steps: Tensor | None = None) -> Tensor:
    if steps is not None and bool((steps != 1).any()):
        raise BadInput("a Slice with steps is not an operator of the family's graphs")
    cut = [slice(None)] * x.dim()
    for start, end, axis in zip(starts.tolist(), ends.tolist(), axes.tolist(), strict=True):
        cut[axis] = slice(start, min(end, x.shape[axis]))
    return x[tuple(cut)]


def _squeezed(x: Tensor, axes: Tensor) -> Tensor:
    return x.squeeze(tuple(axes.tolist()))


def _unsqueezed(x: Tensor, axes: Tensor) -> Tensor:
    rank = x.dim() + axes.numel()
    return reduce(torch.unsqueeze, sorted(axis % rank for axis in axes.tolist()), x)


def _enlarged(held: Mapping[str, Any], x: Tensor, regions: Tensor | None, factors: Tensor) -> Tensor:
    """Nearest neighbours by whole factors alone."""
    whole = factors.round().long()
    if held.get("mode", b"nearest") != b"nearest" or not torch.equal(whole.float(), factors):
        raise BadInput("a Resize that does not repeat cells is not an operator of the family's graphs")
    repeated = x
    for axis, factor in enumerate(whole.tolist()):
        repeated = repeated.repeat_interleave(factor, axis) if factor != 1 else repeated
    return repeated


def _reduction(of: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A reduction whose axes are an attribute or, as those of ReduceSum, an input."""

    def reduced(held: Mapping[str, Any], x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = held.get("axes", list(range(x.dim()))) if axes is None else axes.tolist()
        return of(x, dim=tuple(chosen), keepdim=bool(held.get("keepdims", 1)))

    return reduced


_PLAIN: Mapping[str, Callable[..., Tensor]] = {
    "Abs": torch.abs, "Add": torch.add, "And": torch.logical_and, "Clip": _clipped, "Cos": torch.cos, "Div": _divided,
    "Equal": torch.eq, "Erf": torch.erf, "Exp": torch.exp, "Greater": torch.gt, "Identity": lambda x: x,
    "Less": torch.lt, "Log": torch.log, "MatMul": torch.matmul, "Max": lambda *x: reduce(torch.maximum, x),
    "Min": lambda *x: reduce(torch.minimum, x), "Mul": torch.mul, "Pad": _padded, "Relu": torch.relu,
    "Reshape": _reshape, "Sigmoid": torch.sigmoid, "Sin": torch.sin, "Slice": _sliced, "Sqrt": torch.sqrt,
    "Squeeze": _squeezed, "Sub": torch.sub, "Unsqueeze": _unsqueezed, "Where": torch.where,
}  # fmt: skip
"""Operators without settings: a function of the inputs."""
_WITH_SETTINGS: Mapping[str, Callable[..., Tensor]] = {
    "AveragePool": lambda held, x: F.avg_pool2d(x, held["kernel_shape"], held["strides"]),
    "Cast": lambda held, x: x.to(_TYPES[held["to"]]),
    "Concat": lambda held, *x: torch.cat(x, held["axis"]),
    "Conv": _conv, "Gather": _gathered, "LayerNormalization": _normalized,
    "MaxPool": lambda held, x: F.max_pool2d(x, held["kernel_shape"], held["strides"]),
    "ReduceMax": _reduction(torch.amax), "ReduceMean": _reduction(torch.mean), "ReduceMin": _reduction(torch.amin),
    "ReduceSum": _reduction(torch.sum), "Resize": _enlarged,
    "Softmax": lambda held, x: x.softmax(held.get("axis", -1)),
    "Transpose": lambda held, x: x.permute(held["perm"]),
}  # fmt: skip
"""Operators with settings: a function of the node's attributes and its inputs."""
