"""The encoder's graph: uint8 picture in, embedding out. Knows no prompt.

"image" uint8 (1, S, S, 3) RGB and "extent" float32 (2,) -> "embedding" float32 (1, D, g, g). Outside `extent` the frame
is zero behind the normalisation, as in the official code; zero pixels, or mean ones rounded to uint8, would not be it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_sdk.errors import BadInput
from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.tinysam import EMBEDDING, EXTENT, IMAGE
from edge_sdk.export.tinysam.graph.lite0 import lite0
from edge_sdk.export.tinysam.graph.parts import Linear, float64, layer_norm, linear, reshape, transpose
from edge_sdk.export.tinysam.graph.tiny_vit import tiny_vit
from edge_sdk.export.tinysam.graph.vit import vit
from edge_sdk.export.tinysam.layers import NORM_EPS
from edge_sdk.export.tinysam.lite0 import Lite0Encoder
from edge_sdk.export.tinysam.pixels import PIXEL_MEAN, PIXEL_STD
from edge_sdk.export.tinysam.tiny_vit import TinyVit
from edge_sdk.export.tinysam.vit import Vit

MOST_BYTES = 2**31
"""Protobuf's limit for one message."""


def encoder_graph(net: TinyVit | Vit | Lite0Encoder) -> bytes:
    """The serialized graph for the network's image size. Raises BadInput where weights are NaN, or the graph is over 2
    GiB, which ViT-H is."""
    size = net.layout.image_size
    check_size(net)
    g = GraphBuilder("tinysam-encoder")
    _neck(g, _tokens(g, _centred(g, size), net), net.neck, net.layout.grid, net.layout.width)
    g.output(EMBEDDING, "float32", (1, net.layout.width, net.layout.grid, net.layout.grid))
    return g.finish()


def check_size(net: TinyVit | Vit | Lite0Encoder) -> None:
    """Raises BadInput for an encoder whose weights no ONNX file holds. Their values are not read."""
    if (stored := 4 * sum(weight.numel() for weight in net.parameters())) >= MOST_BYTES:
        what = f"the encoder has {stored / 2**30:.1f} GiB of weights, and an ONNX file ends at 2 GiB"
        raise BadInput(what, hint="Use it as a teacher, or take a smaller encoder")


def _tokens(g: GraphBuilder, pictures: str, net: TinyVit | Vit | Lite0Encoder) -> str:
    """(g^2, C), before the neck."""
    if isinstance(net, Lite0Encoder):
        return lite0(g, pictures, net)
    scale = 1.0 / np.array(PIXEL_STD, np.float64)
    return tiny_vit(g, pictures, net, scale=scale) if isinstance(net, TinyVit) else vit(g, pictures, net, scale=scale)


def _centred(g: GraphBuilder, size: int) -> str:
    """RGB minus the mean, zero outside the extent: (1, 3, S, S). The division by std is left to the first layer."""
    image = g.input(IMAGE, "uint8", (1, size, size, 3))
    extent = g.input(EXTENT, "float32", (2,))
    # Channels first, and only then the arithmetic: three values in the last axis are slow to broadcast to.
    x = g.arithmetic("Sub", g.picture(image), np.array(PIXEL_MEAN).reshape(1, 3, 1, 1), name="picture/centred")
    centres = np.arange(size, dtype=np.float32) + 0.5
    sides = []
    for place, (what, shape) in enumerate((("rows", (1, 1, size, 1)), ("columns", (1, 1, 1, size)))):
        which = g.constant(f"picture/{what}/place", np.array([place], np.int64))
        end = g.node("Gather", [extent, which], name=f"picture/{what}/end")
        at = g.constant(f"picture/{what}/centres", centres.reshape(shape))
        inside = g.node("Less", [at, end], name=f"picture/{what}/inside")
        sides.append(g.node("Cast", [inside], name=f"picture/{what}", attributes={"to": 1}))
    return g.node("Mul", [x, g.node("Mul", sides, name="picture/mask")], name="picture/masked")


def _neck(g: GraphBuilder, tokens: str, neck: Any, grid: int, width: int) -> str:
    """(g^2, C) to the embedding. The first convolution is 1 x 1: a product on tokens, which the norm wants anyway."""
    x = linear(g, tokens, Linear(float64(neck[0].weight)[:, :, 0, 0].T), name="neck/0")
    x = layer_norm(g, x, neck[1], name="neck/1", eps=NORM_EPS)
    x = transpose(g, reshape(g, x, (1, grid, grid, width), name="neck/square"), (0, 3, 1, 2), name="neck/image")
    x = g.conv(x, float64(neck[2].weight), np.zeros(width), name="neck/2", pads=(1, 1, 1, 1))
    x = layer_norm(g, transpose(g, x, (0, 2, 3, 1), name="neck/last"), neck[3], name="neck/3", eps=NORM_EPS)
    return transpose(g, x, (0, 3, 1, 2), name=EMBEDDING)
