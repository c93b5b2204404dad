"""Pieces of the small size's graphs: convolutions with folded norms, and arithmetic in few letters. Knows no prompt.

Every norm is folded into the convolution before it, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.tinysam.graph.parts import doubled, float64

Float64 = NDArray[np.float64]


def folded(conv: nn.Module, norm: nn.Module) -> tuple[Float64, Float64]:
    """Weight and bias of a convolution without bias and the norm behind it."""
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    gain, shift = gain_of(norm)
    return float64(conv.weight) * gain[:, None, None, None], shift


def gain_of(norm: nn.BatchNorm2d) -> tuple[Float64, Float64]:
    assert norm.running_var is not None
    assert norm.running_mean is not None
    gain = float64(norm.weight) / np.sqrt(float64(norm.running_var) + norm.eps)
    return gain, float64(norm.bias) - float64(norm.running_mean) * gain


def conv(g: GraphBuilder, x: str, layer: nn.Module, *, name: str, out: str = "") -> str:
    """Convolution, norm, ReLU of `encoder.conv`. out: name of the result, "" = made of `name`."""
    assert isinstance(layer, nn.Sequential)
    assert isinstance(layer[0], nn.Conv2d)
    weight, bias = folded(layer[0], layer[1])
    pad = layer[0].kernel_size[0] // 2
    x = g.conv(x, weight, bias, name=name, pads=(pad,) * 4, groups=layer[0].groups)
    return g.node("Relu", [x], name=out or f"{name}/relu")


def smooth(g: GraphBuilder, x: str, layer: nn.Module, *, name: str, out: str = "") -> str:
    assert isinstance(layer, nn.Sequential)
    return conv(g, conv(g, x, layer[0], name=f"{name}/depthwise"), layer[1], name=f"{name}/mix", out=out)


def merged(g: GraphBuilder, fine: str, coarse: str, *, name: str) -> str:
    """fine + coarse at twice its size."""
    return g.node("Add", [fine, doubled(g, coarse, name=f"{name}/doubled")], name=name)


def as_float(g: GraphBuilder, x: str) -> str:
    return g.node("Cast", [x], name=f"{x}/float", attributes={"to": 1})


@dataclass(frozen=True, slots=True, eq=False)
class Arithmetic:
    """Short names for the nodes that both halves of the decoder write into `g`."""

    g: GraphBuilder

    def op(self, kind: str, *inputs: str, name: str, **attributes: Any) -> str:
        return self.g.node(kind, list(inputs), name=name, attributes=attributes or None)

    def scalar(self, value: float) -> str:
        return self.g.constant(f"scalar/{value:g}", np.array(value, np.float32))

    def axes(self, *axes: int) -> str:
        return self.g.constant(f"axes/{'_'.join(map(str, axes))}", np.array(axes, np.int64))

    def unsqueezed(self, x: str, *axes: int, name: str) -> str:
        return self.op("Unsqueeze", x, self.axes(*axes), name=name)

    def column(self, x: str, index: int, *, name: str, axis: int = -1) -> str:
        """One entry of the last axis, which goes."""
        at = self.g.constant(f"index/{index}", np.array([index], np.int64))
        return self.g.squeeze(self.op("Gather", x, at, name=f"{name}/kept", axis=axis), axis, name=name)
