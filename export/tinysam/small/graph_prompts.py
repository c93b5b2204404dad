"""The tokens of a prompt as nodes: its positive points and its box. Knows no window and no feature.

All of it is arithmetic on the prompts' own axis, so no shape depends on data. Tensors of prompts are (N, ...). What is
made once and read in several places is handed on in `PointNodes` and `BoxNodes`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_sdk.export.tinysam import BOTTOM_RIGHT, LABELS, POINTS, POSITIVE, TOP_LEFT
from edge_sdk.export.tinysam.small.decoder import FAR_PX
from edge_sdk.export.tinysam.small.graph_parts import Arithmetic, as_float


@dataclass(frozen=True, slots=True, kw_only=True)
class PositiveNodes:
    """Which tokens are positive points, float32 0 or 1. flag: (N, T). column: the same, (N, T, 1). far: FAR_PX at all
    other tokens, (N, T, 1). there: whether there is any, (N, 1)."""

    flag: str
    column: str
    far: str
    there: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PointNodes:
    """at: where each token lies, (N, T, 2), px of the frame, pixel centres at halves. centre, spread: of the box around
    the positive points, (N, 2), px; 0 without any."""

    at: str
    positive: PositiveNodes
    centre: str
    spread: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxNodes:
    """start, end: corners (N, 2), px of the frame; 0 without a box. has: whether there is one, (N, 1)."""

    start: str
    end: str
    has: str


@dataclass(frozen=True, slots=True, eq=False)
class Tokens(Arithmetic):
    """Reads the inputs POINTS (N, T, 2) and LABELS (N, T)."""

    def is_(self, label: int) -> str:
        """1 where a token has this label: (N, T). May be called once for each label."""
        wanted = self.g.constant(f"label/{label}/value", np.array(label, np.int32))
        return as_float(self.g, self.op("Equal", LABELS, wanted, name=f"label/{label}"))

    def points(self) -> PointNodes:
        """The positive points, as `decoder._spread`."""
        op = self.op
        flag = self.is_(POSITIVE)
        column = self.unsqueezed(flag, 2, name="point/is")
        others = op("Sub", self.scalar(1.0), column, name="point/not")
        far = op("Mul", others, self.scalar(FAR_PX), name="point/far")
        at = op("Add", POINTS, self.scalar(0.5), name="point/at")
        there = self.g.largest(flag, 1, name="point/there")
        positive = PositiveNodes(flag=flag, column=column, far=far, there=there)
        low, high = self.ends(positive, at, at, name="point")
        middle = op("Add", low, high, name="point/sum")
        centre = op("Mul", middle, self.scalar(0.5), name="point/centre")
        return PointNodes(at=at, positive=positive, centre=centre, spread=op("Sub", high, low, name="point/spread"))

    def ends(self, positive: PositiveNodes, low: str, high: str, *, name: str) -> tuple[str, str]:
        """Smallest of `low` and largest of `high` (N, T, 2) among the positive points, (N, 2); 0 without any."""
        out = []
        for what, one, away, kind in (("low", low, "Add", "ReduceMin"), ("high", high, "Sub", "ReduceMax")):
            only = self.op("Mul", one, positive.column, name=f"{name}/{what}/only")
            only = self.op(away, only, positive.far, name=f"{name}/{what}/others")
            end = self.op(kind, only, name=f"{name}/{what}/end", axes=[1], keepdims=0)
            out.append(self.op("Mul", end, positive.there, name=f"{name}/{what}"))
        return out[0], out[1]

    def box(self) -> BoxNodes:
        """The box, as `Prompts.box`."""
        flags, corners = [], []
        for what, label in (("start", TOP_LEFT), ("end", BOTTOM_RIGHT)):
            flags.append(self.is_(label))
            column = self.unsqueezed(flags[-1], 2, name=f"box/{what}/is")
            chosen = self.op("Mul", POINTS, column, name=f"box/{what}/only")
            corners.append(self.op("ReduceSum", chosen, self.axes(1), name=f"box/{what}", keepdims=0))
        return BoxNodes(start=corners[0], end=corners[1], has=self.g.largest(flags[0], 1, name="box/has"))
