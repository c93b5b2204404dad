"""The small size's graphs: encoder, decoder, refiner. Knows how they are put together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import nn

from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.tinysam import EXTENT, IMAGE, IOU, LABELS, MASK, MASKS, POINTS
from edge_sdk.export.tinysam.graph.parts import float64, reshape
from edge_sdk.export.tinysam.small.decoder import CELLS, FRAME_MASK, WindowDecoder
from edge_sdk.export.tinysam.small.decoder import MASK as MASK_SIDE
from edge_sdk.export.tinysam.small.encoder import F8, REACH, SIDES, STRIDES, TAPS, SmallEncoder
from edge_sdk.export.tinysam.small.graph_alike import Likeness
from edge_sdk.export.tinysam.small.graph_hourglass import Hourglass
from edge_sdk.export.tinysam.small.graph_maps import Maps
from edge_sdk.export.tinysam.small.graph_parts import as_float, conv, folded, merged, smooth
from edge_sdk.export.tinysam.small.graph_prompts import Tokens
from edge_sdk.export.tinysam.small.graph_resample import CHANNELS, Resampling
from edge_sdk.export.tinysam.small.graph_windows import K, Windows
from edge_sdk.export.trunk.lite0 import MEAN
from edge_sdk.export.trunk.lite0_graph import trunk_nodes

WINDOWS = "windows"
"""Output float32 (N, 3, 4): the part of the frame that each mask covers."""
CUTS: Mapping[str, int] = {"features_4": CELLS, "features_2": MASK_SIDE}
"""Cells of a window's side that each is cut to."""


def encoder_graph(net: SmallEncoder, side: int) -> bytes:
    """uint8 picture (1, side, side, 3) and its extent in; features at strides 2 and 4, sides of boxes at stride 8 and
    the extent (1, 2) out."""
    g = GraphBuilder("tinysam-small-encoder")
    x = g.picture(g.input(IMAGE, "uint8", (1, side, side, 3)))
    centred = g.arithmetic("Sub", x, MEAN, name="picture/centred")
    inside = _inside(g, g.input(EXTENT, "float32", (2,)), side)
    taps = trunk_nodes(
        g, net.stem, net.blocks, g.node("Mul", [centred, inside], name="picture/inside"), (side, side), TAPS
    )
    lateral = {f"lateral{s}": conv(g, taps[t], getattr(net, f"lateral{s}"), name=f"lateral{s}")
               for s, t in zip((2, 4, 8, 16, 32), TAPS, strict=True)}  # fmt: skip
    x = merged(g, lateral["lateral16"], lateral["lateral32"], name="merge16")
    pyramid: dict[int, str] = {}
    for below, above in ((8, net.smooth16), (4, net.smooth8), (2, net.smooth4)):
        x = smooth(g, x, above, name=f"smooth{2 * below}", out="features_4" if below == 2 else "")
        pyramid[2 * below] = x
        down = conv(g, x, getattr(net, f"down{below}"), name=f"down{below}")
        x = merged(g, lateral[f"lateral{below}"], down, name=f"merge{below}")
    conv(g, x, net.smooth2, name="smooth2", out="features_2")
    _sides(g, net, pyramid[8], pyramid[16])
    for name, stride in STRIDES.items():
        g.output(name, "float32", (1, CHANNELS[name], side // stride, side // stride))
    g.node("Unsqueeze", [EXTENT, g.constant("extent/first", np.array([0], np.int64))], name=REACH)
    g.output(REACH, "float32", (1, 2))
    return g.finish()


def _sides(g: GraphBuilder, net: SmallEncoder, fine: str, coarse: str) -> None:
    """Distances to the sides of boxes, from the pyramid at strides 8 and 16. The first convolution reads both: it is
    written as two whose answers are added, since what is behind a Concat is not int8 in every runtime."""
    first = net.sides[0]
    assert isinstance(first, nn.Sequential)
    weight, shift = folded(first[0], first[1])
    near = g.conv(fine, weight[:, :F8], shift, name="sides/0/fine")
    far = g.conv(coarse, weight[:, F8:], np.zeros_like(shift), name="sides/0/coarse")
    x = g.node("Relu", [merged(g, near, far, name="sides/0/sum")], name="sides/0")
    for k in (1, 2):
        x = smooth(g, x, net.sides[k], name=f"sides/{k}")
    last = net.sides[3]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    g.conv(x, float64(last.weight), float64(last.bias), name=SIDES)


def _inside(g: GraphBuilder, extent: str, side: int) -> str:
    """1 where the picture is, (1, 1, side, side)."""
    pixels = g.constant("extent/pixels", np.arange(side, dtype=np.float32))
    rows = []
    for axis, shape in ((0, (1, 1, side, 1)), (1, (1, 1, 1, side))):
        length = g.node("Gather", [extent, g.constant(f"extent/{axis}", np.array([axis], np.int64))],
                        name=f"extent/length{axis}", attributes={"axis": 0})  # fmt: skip
        within = as_float(g, g.node("Less", [pixels, length], name=f"extent/within{axis}"))
        rows.append(reshape(g, within, shape, name=f"extent/row{axis}"))
    return g.node("Mul", rows, name="extent/inside")


def decoder_graph(net: WindowDecoder, *, refiner: bool = False) -> tuple[bytes, tuple[str, ...]]:
    """Features and prompts in; masks (N, 3, 64, 64), predicted IoU (N, 3) and windows (N, 3, 4) out. refiner: with mask
    prompts over the frame, (N, 1, 96, 96).

    Beside the graph, the names of the nodes that turn prompts into windows, weights and maps: px of the frame need more
    digits than half precision has.
    """
    g = GraphBuilder("tinysam-small-refiner" if refiner else "tinysam-small-decoder")
    side = net.side
    for name, stride in STRIDES.items():
        g.input(name, "float32", (1, CHANNELS[name], side // stride, side // stride))
    g.input(REACH, "float32", (1, 2))
    g.input(POINTS, "float32", ("N", "T", 2))
    g.input(LABELS, "int32", ("N", "T"))
    if refiner:
        g.input(MASK, "float32", ("N", 1, FRAME_MASK, FRAME_MASK))
    tokens, resampling = Tokens(g), Resampling(g, side)
    windows = Windows(g, tokens, resampling)
    points = tokens.points()
    window = windows.of_points(points)
    if refiner:
        window = windows.of_mask_or(points, window)
    box = tokens.box()
    window = windows.of_box_or(box, window)
    g.node("Concat", [window.low, window.high], name=WINDOWS, attributes={"axis": 2})
    maps = Maps(g, tokens, resampling, refiner).of(window, points, box)
    cuts = {name: resampling.cut(name, window, cells) for name, cells in CUTS.items()}
    alike = Likeness(g, resampling, net).of(cuts["features_4"], maps, points)
    prompts = tuple(name for name in g.node_names if name != "key")
    Hourglass(g, net).write({name: cut.cells for name, cut in cuts.items()}, maps.maps, alike, maps.soft)
    g.output(MASKS, "float32", ("N", K, MASK_SIDE, MASK_SIDE))
    g.output(IOU, "float32", ("N", K))
    g.output(WINDOWS, "float32", ("N", K, 4))
    return g.finish(), prompts
