"""The prompt's own mask as graph nodes (`prior.py`): what a network of our own starts from. Knows no decoder.

The highest of several bumps of one radius is that of the nearest point, so the distance is minimised over the points
once, and not a bump drawn for each point and mask.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.tinysam import BOTTOM_RIGHT, LABELS, POINTS, POSITIVE, TOP_LEFT
from edge_sdk.export.tinysam.graph.parts import float64, transpose
from edge_sdk.export.tinysam.graph.prompts import PREFIX
from edge_sdk.export.tinysam.prior import Prior

NAME = f"{PREFIX}prior"
"""Of the nodes: with the prefix of those that stay in float32, as px of the frame need."""
FAR = 1e4
"""Squared distance, in sides of the frame, of what is no positive point: its bump underflows to 0."""


def prior_masks(g: GraphBuilder, net: Prior) -> str:
    """(N, masks, side, side), logits, of the graph's points and labels."""
    boxed, nearest = _box(g, net), _nearest(g, net)
    radii = np.exp(2.0 * float64(net.log_radius)).reshape(1, -1, 1, 1)
    bumps = g.node("Exp", [g.arithmetic("Mul", nearest, -0.5 / radii, name=f"{NAME}/scaled")], name=f"{NAME}/bumps")
    of_box, of_points = _affine(g, boxed, net.box, name="of_box"), _affine(g, bumps, net.point, name="of_points")
    # of_points + has_box * (of_box - of_points): both are finite, so that nothing has to be chosen by value.
    has_box = g.node("ReduceMax", [_is(g, TOP_LEFT)], name=f"{NAME}/any", attributes={"axes": [1], "keepdims": 0})
    has_box = _unsqueezed(g, has_box, (1, 2, 3), name=f"{NAME}/has_box")
    more = g.node("Mul", [g.node("Sub", [of_box, of_points], name=f"{NAME}/apart"), has_box], name=f"{NAME}/more")
    return g.node("Add", [of_points, more], name=f"{NAME}/masks")


def _affine(g: GraphBuilder, x: str, gains: Tensor, *, name: str) -> str:
    """gain * x + offset of each mask. gains: (masks, 2)."""
    gain, offset = float64(gains).T[:, None, :, None, None]
    scaled = g.arithmetic("Mul", x, gain, name=f"{NAME}/{name}/scaled")
    return g.arithmetic("Add", scaled, offset, name=f"{NAME}/{name}")


def _box(g: GraphBuilder, net: Prior) -> str:
    """The share of each cell inside the box, (N, 1, side, side)."""
    low, high = (
        _corner(g, label, net.side / net.image_size, name=f"{NAME}/{what}")
        for what, label in (("low", TOP_LEFT), ("high", BOTTOM_RIGHT))
    )
    cells = np.arange(net.side, dtype=np.float32)
    first, last = (g.constant(f"{NAME}/{what}", cells + more) for what, more in (("first", 0), ("last", 1)))
    end, start = (
        g.node(op, [corner, edge], name=f"{NAME}/box/{op.lower()}")
        for op, corner, edge in (("Min", high, last), ("Max", low, first))
    )
    share = g.clip(g.node("Sub", [end, start], name=f"{NAME}/box/length"), 0.0, 1.0, name=f"{NAME}/box/share")
    across = _entry(g, share, 0, axis=1, name=f"{NAME}/box/across")  # (N, 1, side)
    down = transpose(g, _entry(g, share, 1, axis=1, name=f"{NAME}/box/y"), (0, 2, 1), name=f"{NAME}/box/down")
    return _unsqueezed(g, g.node("Mul", [down, across], name=f"{NAME}/box/square"), (1,), name=f"{NAME}/box")


def _corner(g: GraphBuilder, label: int, scale: float, *, name: str) -> str:
    """One corner of the box in cells, (N, 2, 1); zeros without a box."""
    chosen = _unsqueezed(g, _is(g, label), (2,), name=f"{name}/chosen")
    only = g.node("Mul", [POINTS, chosen], name=f"{name}/only")
    summed = g.node("ReduceSum", [only, _axes(g, (1,))], name=f"{name}/px", attributes={"keepdims": 0})
    return _unsqueezed(g, g.arithmetic("Mul", summed, scale, name=f"{name}/cells"), (2,), name=name)


def _nearest(g: GraphBuilder, net: Prior) -> str:
    """The squared distance of each cell's centre to the nearest positive point, in sides of the frame, (N, 1, side,
    side); FAR and more where there is none."""
    centres = (np.arange(net.side) + 0.5) / net.side
    at = g.arithmetic("Mul", POINTS, 1.0 / net.image_size, name=f"{NAME}/point/scaled")
    at = g.arithmetic("Add", at, 0.5 / net.image_size, name=f"{NAME}/point/at")
    away = g.arithmetic("Sub", _unsqueezed(g, at, (3,), name=f"{NAME}/point"), centres, name=f"{NAME}/away")
    squared = g.node("Mul", [away, away], name=f"{NAME}/squared")  # (N, T, 2, side)
    across = _entry(g, squared, 0, axis=2, name=f"{NAME}/across")
    down = transpose(g, _entry(g, squared, 1, axis=2, name=f"{NAME}/y"), (0, 1, 3, 2), name=f"{NAME}/down")
    other = g.arithmetic("Mul", _is(g, POSITIVE), -FAR, name=f"{NAME}/not_far")
    far = _unsqueezed(g, g.arithmetic("Add", other, FAR, name=f"{NAME}/far"), (2, 3), name=f"{NAME}/far/square")
    distance = g.node("Add", [g.node("Add", [down, far], name=f"{NAME}/down/far"), across], name=f"{NAME}/distance")
    return g.node("ReduceMin", [distance], name=f"{NAME}/nearest", attributes={"axes": [1], "keepdims": 1})


def _is(g: GraphBuilder, label: int) -> str:
    """1 where a token has this label, (N, T); the nodes are made once."""
    name = f"{NAME}/label/{label}"
    if name in g.node_names:
        return name
    found = g.node("Equal", [LABELS, g.constant(f"{name}/value", np.array(label, np.int32))], name=f"{name}/is")
    return g.node("Cast", [found], name=name, attributes={"to": 1})


def _entry(g: GraphBuilder, x: str, index: int, *, axis: int, name: str) -> str:
    """One entry of an axis, which stays with size 1."""
    at = g.constant(f"{NAME}/index/{index}", np.array([index], np.int64))
    return g.node("Gather", [x, at], name=name, attributes={"axis": axis})


def _unsqueezed(g: GraphBuilder, x: str, axes: tuple[int, ...], *, name: str) -> str:
    return g.node("Unsqueeze", [x, _axes(g, axes)], name=name)


def _axes(g: GraphBuilder, axes: tuple[int, ...]) -> str:
    return g.constant(f"{NAME}/axes/{'_'.join(map(str, axes))}", np.array(axes, np.int64))
