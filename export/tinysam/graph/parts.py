"""Pieces that the graphs share: linear layers, norms, GELU, attention over heads. Knows operators; no network.

Every folding is exact algebra in float64: batch norms into convolutions, the attention's scale into q. A bias of k adds
the same to all logits of a row, which softmax does not see, so it is left out; a bias of v comes out of the weighted
mean as it went in, so it moves into the output's bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.tinysam.layers import ConvBN

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """Weights of a linear layer as MatMul takes them: (inputs, outputs) and (outputs,), None = no bias."""

    weight: Float64
    bias: Float64 | None = None

    @classmethod
    def of(cls, module: nn.Module) -> Linear:
        """Of a torch layer."""
        assert isinstance(module, nn.Linear)
        return cls(float64(module.weight).T, None if module.bias is None else float64(module.bias))

    def scaled(self, factor: float) -> Linear:
        """Its outputs times `factor`."""
        return Linear(self.weight * factor, None if self.bias is None else self.bias * factor)

    def columns(self, chosen: NDArray[np.int64]) -> Linear:
        """The outputs `chosen`, in that order."""
        return Linear(self.weight[:, chosen], None if self.bias is None else self.bias[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class Projections:
    """The four linear layers of an attention, scale and biases folded: only q and out have a bias."""

    q: Linear
    k: Linear
    v: Linear
    out: Linear
    heads: int

    @classmethod
    def folded(cls, q: Linear, k: Linear, v: Linear, out: Linear, heads: int) -> Projections:
        """With the logits' scale in q, no bias of k, and that of v in the output's."""
        scale = (q.weight.shape[1] // heads) ** -0.5
        bias = np.zeros(out.weight.shape[1]) if out.bias is None else out.bias
        moved = bias if v.bias is None else bias + v.bias @ out.weight
        return cls(q.scaled(scale), Linear(k.weight), Linear(v.weight), Linear(out.weight, moved), heads)


def float64(tensor: Tensor) -> Float64:
    """A weight, exactly."""
    return np.asarray(tensor.detach().cpu().numpy(), np.float64)


def reshape(g: GraphBuilder, x: str, shape: Sequence[int], *, name: str) -> str:
    """`x` in another shape; 0 keeps an axis, at most one -1."""
    return g.node("Reshape", [x, g.constant(f"{name}/shape", np.array(shape, np.int64))], name=name)


def transpose(g: GraphBuilder, x: str, order: Sequence[int], *, name: str) -> str:
    """`x` with its axes in another order."""
    return g.node("Transpose", [x], name=name, attributes={"perm": list(order)})


def product(g: GraphBuilder, x: str, weight: Float64, *, name: str) -> str:
    """(..., inputs) -> (..., outputs), without a bias."""
    return g.node("MatMul", [x, g.constant(f"{name}/weight", np.asarray(weight, np.float32))], name=name)


def linear(g: GraphBuilder, x: str, layer: Linear, *, name: str) -> str:
    """(..., inputs) -> (..., outputs). On two axes runtimes make it one operator."""
    if layer.bias is None:
        return product(g, x, layer.weight, name=name)
    return g.arithmetic("Add", product(g, x, layer.weight, name=name), layer.bias, name=f"{name}/sum")


def layer_norm(g: GraphBuilder, x: str, module: nn.Module, *, name: str, eps: float = 1e-5) -> str:
    """Over the last axis. module: anything with weight and bias (C,)."""
    weights: Any = module
    names = [
        g.constant(f"{name}/{what}", np.asarray(float64(tensor), np.float32))
        for what, tensor in (("weight", weights.weight), ("bias", weights.bias))
    ]
    return g.node("LayerNormalization", [x, *names], name=name, attributes={"axis": -1, "epsilon": eps})


def gelu(g: GraphBuilder, x: str, *, name: str) -> str:
    """The exact GELU, in the five nodes that ONNX Runtime, OpenVINO and TensorRT fuse: an operator has opset 20."""
    ratio = g.node("Div", [x, g.constant("gelu/root", np.array(np.sqrt(2.0), np.float32))], name=f"{name}/ratio")
    outer = g.node("Add", [g.node("Erf", [ratio], name=f"{name}/erf"), _scalar(g, 1.0)], name=f"{name}/outer")
    return g.node("Mul", [g.node("Mul", [x, outer], name=f"{name}/twice"), _scalar(g, 0.5)], name=name)


def doubled(g: GraphBuilder, x: str, *, name: str) -> str:
    """An image (N, C, h, w) at twice its size, each value four times."""
    scales = g.constant("doubled/scales", np.array([1, 1, 2, 2], np.float32))
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return g.node("Resize", [x, "", scales], name=name, attributes=attributes)


def conv_bn(g: GraphBuilder, x: str, module: nn.Module, *, name: str, scale: Float64 | None = None) -> str:
    """A convolution with its batch norm folded. scale: (inputs,), what each channel of `x` is multiplied by."""
    assert isinstance(module, ConvBN)
    gain = float64(module.bn.weight) / np.sqrt(float64(_there(module.bn.running_var)) + module.bn.eps)
    bias = float64(module.bn.bias) - float64(_there(module.bn.running_mean)) * gain
    weight = float64(module.c.weight) * gain[:, None, None, None]
    if scale is not None:
        weight = weight * scale[:, None, None]
    pad = module.c.kernel_size[0] // 2
    return g.conv(
        x, weight, bias, name=name, stride=module.c.stride[0], pads=(pad,) * 4, groups=module.c.groups
    )  # fmt: skip


def attention(
    g: GraphBuilder,
    q: str,
    k: str,
    v: str,
    *,
    lead: tuple[int, int],
    heads: int,
    width: int,
    name: str,
    added: Sequence[str] = (),
) -> str:
    """Scaled attention: q, k, v that reshape to (*lead, heads, width / heads), as the result has it. lead: (batch,
    rows), 0 = as the tensor has it. width: of v. added: what the logits (batch, heads, rows, rows) get before softmax.
    """
    of_heads = [
        transpose(
            g, reshape(g, x, (*lead, heads, width // heads), name=f"{name}/{what}/split"), order,
            name=f"{name}/{what}/heads",
        )
        for what, x, order in (("q", q, (0, 2, 1, 3)), ("k", k, (0, 2, 3, 1)), ("v", v, (0, 2, 1, 3)))
    ]  # fmt: skip
    logits = g.node("MatMul", of_heads[:2], name=f"{name}/logits")
    for place, bias in enumerate(added):
        logits = g.node("Add", [logits, bias], name=f"{name}/biased{place or ''}")
    shares = g.node("Softmax", [logits], name=f"{name}/shares", attributes={"axis": -1})
    mixed = g.node("MatMul", [shares, of_heads[2]], name=f"{name}/mixed")
    return transpose(g, mixed, (0, 2, 1, 3), name=f"{name}/rows")


def _there(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor


def _scalar(g: GraphBuilder, value: float) -> str:
    return g.constant(f"scalar/{value:g}", np.array(value, np.float32))
