"""A float graph of TinySAM run by torch, node by node, so that gradients reach every operator. Knows operators alone.

For the searches of q_tinysam.py: the operators that encoder and decoder graphs hold, at opset 17.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

Change = Callable[[NodeProto, list[Any]], Tensor | None]
"""(node, inputs) -> its output instead, or None."""
_TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool}


class TorchGraph:
    """Constants are read once; `run` may be called as often as needed, with gradients where torch records them."""

    def __init__(self, model: ModelProto) -> None:
        self.nodes = list(model.graph.node)
        stored = {one.name: np.array(numpy_helper.to_array(one)) for one in model.graph.initializer}
        self.constants = {name: torch.from_numpy(array) for name, array in stored.items()}
        self.outputs = tuple(one.name for one in model.graph.output)

    def run(self, feeds: Mapping[str, Any], change: Change | None = None) -> dict[str, Tensor]:
        """The graph's outputs. change: asked for each MatMul and Conv."""
        values: dict[str, Any] = {**self.constants, "": None}
        values |= {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in feeds.items()}
        for node in self.nodes:
            read = [values[name] for name in node.input]
            made = change(node, read) if change is not None and node.op_type in ("MatMul", "Conv") else None
            values[node.output[0]] = computed(node, read) if made is None else made
        return {name: values[name] for name in self.outputs}


def computed(node: NodeProto, x: list[Any]) -> Tensor:
    """The one output of a node."""
    held = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    if node.op_type in _PLAIN:
        return _PLAIN[node.op_type](*x)
    match node.op_type:
        case "Conv":
            pads = held.get("pads", [0, 0, 0, 0])
            padded = F.pad(x[0], (pads[1], pads[3], pads[0], pads[2])) if any(pads) else x[0]
            bias = x[2] if len(x) > 2 else None
            return F.conv2d(padded, x[1], bias, held.get("strides", 1), groups=held.get("group", 1))
        case "Reshape":
            sizes = [x[0].shape[at] if size == 0 else size for at, size in enumerate(x[1].tolist())]
            return x[0].reshape(sizes)
        case "Transpose":
            return x[0].permute(held["perm"])
        case "Softmax":
            return x[0].softmax(held.get("axis", -1))
        case "LayerNormalization":
            return F.layer_norm(x[0], x[1].shape, x[1], x[2], held["epsilon"])
        case "Concat":
            return torch.cat(x, held["axis"])
        case "Gather":
            return torch.index_select(x[0], held.get("axis", 0), x[1].reshape(-1)).reshape(
                *x[0].shape[: held.get("axis", 0)], *x[1].shape, *x[0].shape[held.get("axis", 0) + 1 :]
            )
        case "Cast":
            return x[0].to(_TYPES[held["to"]])
        case "Pad":
            return F.pad(x[0], _last_first(x[1].tolist()))
        case "Slice":
            return _sliced(*x)
        case "Squeeze" | "Unsqueeze":
            for axis in sorted(x[1].tolist(), reverse=node.op_type == "Squeeze"):
                x[0] = x[0].squeeze(axis) if node.op_type == "Squeeze" else x[0].unsqueeze(axis)
            return x[0]
    raise SystemExit(f"{node.op_type} of {node.name} is not one of the operators of TinySAM's graphs")


def _last_first(pads: list[int]) -> list[int]:
    """Torch counts pads from the last axis on, ONNX gives all starts and then all ends."""
    rank = len(pads) // 2
    return [pads[at + end] for at in range(rank - 1, -1, -1) for end in (0, rank)]


def _sliced(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor, steps: Tensor | None = None) -> Tensor:
    if steps is not None and bool((steps != 1).any()):
        raise SystemExit("a Slice with steps is not one of the operators of TinySAM's graphs")
    cut = [slice(None)] * x.dim()
    for start, end, axis in zip(starts.tolist(), ends.tolist(), axes.tolist(), strict=True):
        cut[axis] = slice(start, min(end, x.shape[axis]))
    return x[tuple(cut)]


_PLAIN: Mapping[str, Callable[..., Tensor]] = {
    "MatMul": torch.matmul, "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div, "Erf": torch.erf,
    "Relu": torch.relu, "Sin": torch.sin, "Cos": torch.cos, "Less": torch.lt, "Greater": torch.gt, "Equal": torch.eq,
    "And": torch.logical_and, "Identity": lambda x: x,
}  # fmt: skip


def parsed(graph: bytes) -> ModelProto:
    """The model of a serialized graph."""
    return onnx.load_from_string(graph)
