"""The merged ONNX graph of a trained PDN model, folded in float64. Knows no training and no picture file.

uint8 NHWC "image" in, float32 "map" (N, h, w) of real cells and "score" (N,) out. Every folding is exact up to float32
rounding: input scaling into the first convolutions, channel statistics into the teacher's last one, the student's last
convolution split in two, map quantiles and the two halves into one gain per map and one constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_sdk.export.efficientad import INPUT
from edge_sdk.export.efficientad.pdn.autoencoder import Autoencoder
from edge_sdk.export.efficientad.pdn.model import PdnModel
from edge_sdk.export.efficientad.pdn.network import IMAGENET_MEAN, IMAGENET_STD, Pdn
from edge_sdk.export.onnx_graph import GraphBuilder

REDUCTION = "maximum over the cells of the map"

_MEAN = np.array(IMAGENET_MEAN, np.float64)
_STD = np.array(IMAGENET_STD, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Conv:
    """Weights of one convolution in float64: (O, I, k, k) and (O,)."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def of(cls, module: nn.Module) -> Conv:
        """Of a torch convolution."""
        assert isinstance(module, nn.Conv2d)
        assert module.bias is not None
        return cls(_float64(module.weight), _float64(module.bias))

    def on_raw_pixels(self) -> Conv:
        """The same outputs from RGB 0..255 as before from normalised ones. Exact only WITHOUT zero padding: a zero that
        pads normalised pixels means the mean colour, one that pads raw pixels means black."""
        shift = (self.weight * (_MEAN / _STD)[:, None, None]).sum(axis=(1, 2, 3))
        return Conv(self.weight / (255.0 * _STD)[:, None, None], self.bias - shift)

    def on_centred_pixels(self) -> Conv:
        """The same outputs from RGB 0..255 minus 255 x mean: exact with zero padding too, the bias stays."""
        return Conv(self.weight / (255.0 * _STD)[:, None, None], self.bias)

    def standardised(self, mean: NDArray[np.float64], std: NDArray[np.float64]) -> Conv:
        """(output - mean) / std per channel, as a convolution."""
        return Conv(self.weight / std[:, None, None, None], (self.bias - mean) / std)

    def rows(self, start: int, stop: int) -> Conv:
        """The outputs start..stop alone."""
        return Conv(self.weight[start:stop], self.bias[start:stop])


def merged_graph(model: PdnModel, *, width: int, height: int) -> tuple[bytes, tuple[str, ...]]:
    """The serialized graph for inputs of width x height px (any border included), and the names of the nodes after the
    last convolutions, which must stay float in every quantized variant: good parts don't show how far they reach."""
    grid = model.teacher.layout.grid(height, width)
    g = GraphBuilder("efficientad-pdn-" + model.teacher.layout.size)
    raw = g.picture(g.input(INPUT, "uint8", ("N", height, width, 3)))
    channels = model.teacher.layout.channels
    target = Conv.of(model.teacher.convolutions[-1]).standardised(_float64(model.mean), _float64(model.std))
    learned = Conv.of(model.student.convolutions[-1])
    outputs = _pdn(g, raw, model.teacher, {"target": target})
    outputs |= _pdn(
        g, raw, model.student, {"local": learned.rows(0, channels), "overall": learned.rows(channels, 2 * channels)}
    )
    decoded = _autoencoder(_Resizer(g, raw), raw, model.autoencoder, height, width, grid)
    before_tail = len(g.node_names)
    _maps(g, model, outputs["target"], outputs["local"], outputs["overall"], decoded)
    g.output("map", "float32", ("N", *grid))
    g.output("score", "float32", ("N",))
    return g.finish(), g.node_names[before_tail:]


def _pdn(g: GraphBuilder, raw: str, net: Pdn, last: dict[str, Conv]) -> dict[str, str]:
    """One PDN up to its last convolution, which becomes the ones in `last`: {name: tensor}."""
    name = "teacher" if len(last) == 1 else "student"
    x, padding = raw, net.layout.padding
    layers, made = net.layout.layers, {}
    for number, (layer, module) in enumerate(zip(layers, net.convolutions, strict=True), start=1):
        pads = (layer.pad if padding else 0,) * 4
        if number == len(layers):
            for what, conv in last.items():
                made[what] = g.conv(x, conv.weight, conv.bias, name=f"{name}/{what}", pads=pads)
            return made
        conv = Conv.of(module)
        if number == 1:
            conv = conv.on_centred_pixels() if padding else conv.on_raw_pixels()
            x = _centred(g, x, name=f"{name}/centred") if padding else x
        x = g.conv(x, conv.weight, conv.bias, name=f"{name}/conv{number}", pads=pads)
        x = g.node("Relu", [x], name=f"{name}/relu{number}")
        if layer.pool:
            x = _pool(g, x, name=f"{name}/pool{number}", pad=1 if padding else 0)
    raise AssertionError("a PDN has a last layer")


def _autoencoder(resize: _Resizer, raw: str, net: Autoencoder, height: int, width: int, grid: tuple[int, int]) -> str:
    g, layout = resize.graph, net.layout
    view = layout.view(height, width)
    x = raw if view == (height, width) else resize(raw, 3, view, name="autoencoder/view")
    x = _centred(g, x, name="autoencoder/centred")
    encoder = list(net.encoder.children())
    for number, ((_, _, _, stride, pad), module) in enumerate(zip(layout.encoder, encoder, strict=True), start=1):
        conv = Conv.of(module).on_centred_pixels() if number == 1 else Conv.of(module)
        x = g.conv(x, conv.weight, conv.bias, name=f"autoencoder/enconv{number}", stride=stride, pads=(pad,) * 4)
        if number < len(encoder):
            x = g.node("Relu", [x], name=f"autoencoder/enrelu{number}")
    sizes = layout.decoder_sizes(height, width, grid)
    for number, ((inputs, _, _, pad), module) in enumerate(
        zip(layout.decoder, net.decoder.children(), strict=True), start=1
    ):
        conv = Conv.of(module)
        if number <= len(sizes):
            x = resize(x, inputs, sizes[number - 1], name=f"autoencoder/resize{number}")
        x = g.conv(x, conv.weight, conv.bias, name=f"autoencoder/deconv{number}", pads=(pad,) * 4)
        if number <= len(sizes):
            x = g.node("Relu", [x], name=f"autoencoder/derelu{number}")
    return x


class _Resizer:
    """Bilinear resizes (half-pixel centres) to constant sizes at a free batch axis.

    The size is the batch's own length beside constants. Resize with `axes` would need no such node, and TensorRT's
    parser refuses it at a free batch axis; `scales` make shape inference differ from the result by one.
    """

    def __init__(self, graph: GraphBuilder, raw: str) -> None:
        self.graph = graph
        self._batch = graph.node("Shape", [raw], name="batch", attributes={"start": 0, "end": 1})

    def __call__(self, x: str, channels: int, size: tuple[int, int], *, name: str) -> str:
        """(N, channels, *size) of `x` (N, channels, h, w)."""
        constant = self.graph.constant(f"{name}/chw", np.array([channels, *size], np.int64))
        sizes = self.graph.node("Concat", [self._batch, constant], name=f"{name}/sizes", attributes={"axis": 0})
        attributes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return self.graph.node("Resize", [x, "", "", sizes], name=name, attributes=attributes)


RAW_MAPS = ("map/local/mean", "map/overall/mean")
"""The nodes that make the two maps, before their quantiles scale them."""


def _maps(g: GraphBuilder, model: PdnModel, target: str, local: str, overall: str, decoded: str) -> None:
    """Both maps, scaled and added, and the score."""
    gains = 0.5 * model.local.gain, 0.5 * model.overall.gain
    shift = -(gains[0] * model.local.low + gains[1] * model.overall.low)
    parts = []
    for name, a, b, gain in (("map/local", target, local, gains[0]), ("map/overall", decoded, overall, gains[1])):
        cells = g.squeeze(g.mean_square(a, b, name=name), 1, name=f"{name}/cells")
        parts.append(g.arithmetic("Mul", cells, gain, name=f"{name}/gain"))
    g.arithmetic("Add", g.node("Add", parts, name="map/sum"), shift, name="map")
    g.node("ReduceMax", ["map"], name="score", attributes={"axes": [1, 2], "keepdims": 0})


def _centred(g: GraphBuilder, raw: str, *, name: str) -> str:
    return g.arithmetic("Sub", raw, (255.0 * _MEAN).reshape(1, 3, 1, 1), name=name)


def _pool(g: GraphBuilder, x: str, *, name: str, pad: int) -> str:
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [pad] * 4, "count_include_pad": 1, "ceil_mode": 0}
    return g.node("AveragePool", [x], name=name, attributes=attributes)


def _float64(tensor: Tensor) -> NDArray[np.float64]:
    return np.asarray(tensor.detach().numpy(), np.float64)
