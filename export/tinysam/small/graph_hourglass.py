"""From cut features and prompt maps to masks and predicted IoU, as nodes. Knows no prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edge_sdk.export.tinysam import IOU, MASKS
from edge_sdk.export.tinysam.graph.parts import Linear, doubled, float64, linear, reshape
from edge_sdk.export.tinysam.small.decoder import CELLS, WindowDecoder, rim_of
from edge_sdk.export.tinysam.small.decoder import MASK as MASK_SIDE
from edge_sdk.export.tinysam.small.graph_parts import Arithmetic, conv, gain_of
from edge_sdk.export.tinysam.small.graph_windows import K


@dataclass(frozen=True, slots=True, eq=False)
class Hourglass(Arithmetic):
    """The part of the decoder `net` behind its prompts."""

    net: WindowDecoder

    def write(self, cuts: Mapping[str, str], maps: str, alike: str, soft: str) -> None:
        """From features and maps to the outputs, as `WindowDecoder.forward`."""
        g, net, op = self.g, self.net, self.op
        weight = np.concatenate([float64(net.enter4.weight), float64(net.enter_maps.weight)], 1)
        assert isinstance(net.enter[0], nn.BatchNorm2d)
        assert isinstance(net.join[0], nn.BatchNorm2d)
        gain, shift = gain_of(net.enter[0])
        x = op("Concat", cuts["features_4"], maps, alike, name="enter/all", axis=1)
        x = g.conv(x, weight * gain[:, None, None, None], shift, name="enter", pads=(1, 1, 1, 1))
        fine = conv(g, op("Relu", x, name="enter/relu"), net.fine, name="fine")
        middle = self._convs(self._halved(fine, name="middle/in"), net.middle, name="middle")
        coarse = self._convs(self._halved(middle, name="coarse/in"), net.coarse, name="coarse")
        seen = g.mean(coarse, (2, 3), name="seen", keep=False)
        first, last = Linear.of(net.around[0]), Linear.of(net.around[2])
        wide = linear(g, op("Relu", linear(g, seen, first, name="around/0"), name="around/relu"), last, name="around/2")
        coarse = op("Add", coarse, self.unsqueezed(wide, 2, 3, name="around"), name="coarse/seen")
        x = coarse
        for size, skip in (("16", middle), ("32", fine)):
            x = conv(g, doubled(g, x, name=f"up{size}/in"), getattr(net, f"up{size}"), name=f"up{size}")
            x = conv(g, op("Add", x, skip, name=f"up{size}/sum"), getattr(net, f"out{size}"), name=f"out{size}")
        gain, shift = gain_of(net.join[0])
        up = g.conv(x, float64(net.up64.weight) * gain[:, None, None, None], shift, name="up64")
        side = g.conv(
            cuts["features_2"], float64(net.enter2.weight) * gain[:, None, None, None],
            np.zeros_like(shift), name="enter2",
        )  # fmt: skip
        edge = op("Add", doubled(g, up, name="up64/doubled"), side, name="join")
        edge = conv(g, op("Relu", edge, name="join/relu"), net.out64, name="out64")
        assert net.logit.bias is not None
        logits = g.conv(edge, float64(net.logit.weight), float64(net.logit.bias), name="logit")
        slope, offset = (float(v) for v in float64(net.prior))
        grow = _doubling(CELLS)
        prior = g.arithmetic("Mul", g.resample(soft, grow, grow, name="prior/grown"), slope, name="prior/scaled")
        logits = op("Add", logits, g.arithmetic("Add", prior, offset, name="prior"), name="logits")
        reshape(g, logits, (-1, K, MASK_SIDE, MASK_SIDE), name=MASKS)
        reshape(g, self._iou(logits, x, seen), (-1, K), name=IOU)

    def _convs(self, x: str, layers: nn.Module, *, name: str) -> str:
        assert isinstance(layers, nn.Sequential)
        for k, layer in enumerate(layers):
            x = conv(self.g, x, layer, name=f"{name}/{k}")
        return x

    def _halved(self, x: str, *, name: str) -> str:
        return self.op("MaxPool", x, name=name, kernel_shape=[2, 2], strides=[2, 2])

    def _iou(self, logits: str, x: str, seen: str) -> str:
        g, op = self.g, self.op
        half = op("AveragePool", logits, name="iou/half", kernel_shape=[2, 2], strides=[2, 2])
        share = op("Sigmoid", half, name="iou/share")
        total = op("ReduceSum", share, self.axes(2, 3), name="iou/total", keepdims=0)  # (3 N, 1)
        under = op("ReduceSum", op("Mul", x, share, name="iou/lit"), self.axes(2, 3), name="iou/sum", keepdims=0)
        under = op("Div", under, op("Max", total, self.scalar(1.0), name="iou/least"), name="iou/under")
        area = op("Mul", total, self.scalar(1.0 / (CELLS * CELLS)), name="iou/area")
        sure = op("Sub", op("Mul", share, self.scalar(2.0), name="iou/double"), self.scalar(1.0), name="iou/side")
        sure = g.mean(op("Abs", sure, name="iou/distance"), (2, 3), name="iou/sure", keep=False)
        rim = op("Mul", share, g.constant("iou/rim/weights", rim_of(CELLS).numpy()), name="iou/rim/cells")
        rim = op("ReduceSum", rim, self.axes(2, 3), name="iou/rim", keepdims=0)
        all_ = op("Concat", seen, under, area, sure, rim, name="iou/all", axis=1)
        first, last = Linear.of(self.net.iou[0]), Linear.of(self.net.iou[2])
        return linear(g, op("Relu", linear(g, all_, first, name="iou/0"), name="iou/relu"), last, name="iou/2")


def _doubling(cells: int) -> NDArray[np.float32]:
    """Weights (2 cells, cells) of bilinear doubling, half-pixel centres, edges repeated."""
    at = np.clip((np.arange(2 * cells) + 0.5) / 2 - 0.5, 0, cells - 1)
    return np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(cells))).astype(np.float32)
