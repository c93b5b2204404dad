"""Cutting a square of tokens into windows, and back, as nodes whose shapes and pads are constants. Knows no network."""

from __future__ import annotations

import numpy as np

from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.tinysam.graph.parts import reshape, transpose


def windows(g: GraphBuilder, x: str, side: int, window: int, channels: int, *, name: str) -> str:
    """(side^2, C) to (windows * window^2, C), zeros filling up the windows at the bottom and at the right."""
    count = -(-side // window)
    if count == 1 and side == window:
        return x
    missing = count * window - side
    if missing:
        square = reshape(g, x, (side, side, channels), name=f"{name}/square")
        pads = g.constant(f"{name}/pads", np.array([0, 0, 0, missing, missing, 0], np.int64))
        x = g.node("Pad", [square, pads], name=f"{name}/pad")
    cut = reshape(g, x, (count, window, count, window, channels), name=f"{name}/cut")
    return reshape(g, transpose(g, cut, (0, 2, 1, 3, 4), name=f"{name}/order"), (-1, channels), name=name)


def whole(g: GraphBuilder, x: str, side: int, window: int, channels: int, *, name: str) -> str:
    """Undoes `windows`."""
    count = -(-side // window)
    if count == 1 and side == window:
        return x
    cut = reshape(g, x, (count, count, window, window, channels), name=f"{name}/cut")
    ordered = transpose(g, cut, (0, 2, 1, 3, 4), name=f"{name}/order")
    padded = count * window
    if padded == side:
        return reshape(g, ordered, (-1, channels), name=name)
    square = reshape(g, ordered, (padded, padded, channels), name=f"{name}/square")
    ends = [
        g.constant(f"{name}/{what}", np.array(values, np.int64))
        for what, values in (("starts", [0, 0]), ("ends", [side, side]), ("axes", [0, 1]))
    ]
    return reshape(g, g.node("Slice", [square, *ends], name=f"{name}/crop"), (-1, channels), name=name)
