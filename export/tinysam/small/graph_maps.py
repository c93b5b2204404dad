"""From prompts and their windows to prompt maps, as nodes. Knows no feature of the picture.

The counterpart of `WindowDecoder.maps`. Tensors of prompts are (N, ...), of windows (N, 3, ...).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_sdk.export.tinysam import MASK, NEGATIVE, POSITIVE
from edge_sdk.export.tinysam.graph.parts import reshape, transpose
from edge_sdk.export.tinysam.small.decoder import CELLS, SPOT, SPOT_RADIUS, SQUASH
from edge_sdk.export.tinysam.small.graph_parts import Arithmetic
from edge_sdk.export.tinysam.small.graph_prompts import BoxNodes, PointNodes, Tokens
from edge_sdk.export.tinysam.small.graph_resample import Resampling, WindowNodes


@dataclass(frozen=True, slots=True, kw_only=True)
class MapNodes:
    """maps: (3 N, 12, 32, 32). soft: what the mask starts from, (3 N, 1, 32, 32). Of single maps (N, 3, 32, 32): box:
    inside the box; start: at positive points where there is no box; inside: in the frame. positive, negative: 1 where
    a token has this label, (N, T)."""

    maps: str
    soft: str
    box: str
    start: str
    inside: str
    positive: str
    negative: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """Cells of the windows along x and along y. at: their centres, (N, 3, 32), px. step: from one to the next,
    (N, 3, 1), px. span: of the window, (N, 3, 1), px."""

    at: tuple[str, ...]
    step: tuple[str, ...]
    span: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Maps(Arithmetic):
    """tokens, resampling: writers into the same graph. refiner: with mask prompts."""

    tokens: Tokens
    resampling: Resampling
    refiner: bool

    def of(self, window: WindowNodes, points: PointNodes, box: BoxNodes) -> MapNodes:
        """All maps of the windows."""
        op, g = self.op, self.g
        grid = self._grid(window)
        ramps = [self._ramp(grid, box, axis) for axis in (0, 1)]
        has4 = self.unsqueezed(box.has, 2, 3, name="map/has_box")
        boxed = op("Mul", op("Mul", *ramps, name="map/box_at"), has4, name="map/box")
        near = self._shown(self._bumps(grid, points, POSITIVE), points.positive.flag, POSITIVE)
        bumps = self._bumps(grid, points, NEGATIVE)
        negative = self.tokens.is_(NEGATIVE)
        far = self._shown(bumps, negative, NEGATIVE)
        inside = self._inside(window)
        flat = op("Mul", inside, self.scalar(0.0), name="map/flat")
        signs, sizes = self._signs(flat), self._sizes(grid, flat)
        drawn, has_mask = flat, flat
        if self.refiner:
            drawn = self._drawn(window)
            has_mask = op("Add", flat, self.scalar(1.0), name="map/has_mask")
        flag = op("Add", flat, has4, name="map/boxed")
        there = self.unsqueezed(points.positive.there, 2, 3, name="map/there")
        pointed = op("Add", flat, there, name="map/pointed")
        all_ = [boxed, flag, *signs, near, far, inside, *sizes, drawn, has_mask, pointed]
        channels = [self.unsqueezed(x, 2, name=f"map/{k}/channel") for k, x in enumerate(all_)]
        stacked = op("Concat", *channels, name="maps/5", axis=2)
        start = op("Mul", op("Sub", self.scalar(1.0), flag, name="map/free"), near, name="map/start")
        soft = op("Add", boxed, op("Mul", start, self.scalar(SPOT), name="map/start/low"), name="map/soft")
        return MapNodes(
            maps=reshape(g, stacked, (-1, len(all_), CELLS, CELLS), name="maps"),
            soft=reshape(g, soft, (-1, 1, CELLS, CELLS), name="soft"),
            box=boxed, start=start, inside=inside, positive=points.positive.flag, negative=negative,
        )  # fmt: skip

    def _grid(self, window: WindowNodes) -> _Grid:
        op = self.op
        steps = (np.arange(CELLS, dtype=np.float32) + np.float32(0.5)) / np.float32(CELLS)
        shares = self.g.constant("map/steps", steps)
        span = op("Sub", window.high, window.low, name="map/span")
        at, step, spans = [], [], []
        for axis in (0, 1):
            start = self.unsqueezed(self.column(window.low, axis, name=f"map/low{axis}"), 2, name=f"map/low{axis}/3")
            length = self.unsqueezed(self.column(span, axis, name=f"map/span{axis}"), 2, name=f"map/span{axis}/3")
            at.append(op("Add", start, op("Mul", length, shares, name=f"map/along{axis}"), name=f"map/at{axis}"))
            step.append(op("Mul", length, self.scalar(1.0 / CELLS), name=f"map/step{axis}"))
            spans.append(length)
        return _Grid(at=tuple(at), step=tuple(step), span=tuple(spans))

    def _ramp(self, grid: _Grid, box: BoxNodes, axis: int) -> str:
        """Share of each cell inside the box along one axis: (N, 3, 1, 32) along x, (N, 3, 32, 1) along y."""
        op, name, at = self.op, f"map/box{axis}", grid.at[axis]
        first, last = (
            self.unsqueezed(self.column(x, axis, name=f"{name}/{what}"), 1, 2, name=f"{name}/{what}/3")
            for x, what in ((box.start, "start"), (box.end, "end"))
        )
        after, before = op("Sub", at, first, name=f"{name}/after"), op("Sub", last, at, name=f"{name}/before")
        ends = op("Min", after, before, name=f"{name}/ends")
        in_cells = op("Div", ends, grid.step[axis], name=f"{name}/in_cells")
        share = op("Add", in_cells, self.scalar(0.5), name=f"{name}/share")
        share = self.g.clip(share, 0.0, 1.0, name=f"{name}/ramp")
        return self.unsqueezed(share, 2 if axis == 0 else 3, name=f"{name}/4")

    def _bumps(self, grid: _Grid, points: PointNodes, label: int) -> Sequence[str]:
        """Bumps at all tokens along x, (N, 3, T, 1, 32), and along y, (N, 3, T, 32, 1). label: names the nodes."""
        op, name, bumps = self.op, f"map/spot{label}", []
        for axis in (0, 1):
            point = self.column(points.at, axis, name=f"{name}/{axis}")
            point = self.unsqueezed(point, 1, 3, name=f"{name}/{axis}/4")  # (N, 1, T, 1)
            here = self.unsqueezed(grid.at[axis], 2, name=f"{name}/at{axis}")  # (N, 3, 1, 32)
            step = self.unsqueezed(grid.step[axis], 2, name=f"{name}/step{axis}")
            wide = op("Mul", step, self.scalar(SPOT_RADIUS), name=f"{name}/wide{axis}")
            away = op("Div", op("Sub", here, point, name=f"{name}/off{axis}"), wide, name=f"{name}/away{axis}")
            square = op("Mul", away, away, name=f"{name}/square{axis}")
            power = op("Mul", square, self.scalar(-0.5), name=f"{name}/power{axis}")
            bump = op("Exp", power, name=f"{name}/bump{axis}")
            bumps.append(self.unsqueezed(bump, 3 if axis == 0 else 4, name=f"{name}/bump{axis}/5"))
        return bumps

    def _shown(self, bumps: Sequence[str], flag: str, label: int) -> str:
        """The largest of the bumps at tokens whose flag (N, T) is 1: (N, 3, 32, 32). label: names the nodes."""
        op, name = self.op, f"map/spot{label}"
        there = self.unsqueezed(flag, 1, 3, 4, name=f"{name}/there")
        shown = op("Mul", op("Mul", *bumps, name=f"{name}/bumps"), there, name=f"{name}/only")
        return op("ReduceMax", shown, name=name, axes=[2], keepdims=0)

    def _inside(self, window: WindowNodes) -> str:
        """Share of each cell that lies in the frame: (N, 3, 32, 32)."""
        whole = []
        for axis in (0, 1):
            weights = self.resampling.frame_weights(window, axis, name=f"map/inside{axis}")
            whole.append(self.op("ReduceSum", weights, self.axes(3), name=f"map/within{axis}", keepdims=0))
        across, down = (self.unsqueezed(x, 2 + k, name=f"map/within{k}/4") for k, x in enumerate(whole))
        return self.op("Mul", across, down, name="map/inside")

    def _signs(self, flat: str) -> list[str]:
        """x and y in the window, -1 to 1."""
        row = 2.0 * (np.arange(CELLS, dtype=np.float32) + np.float32(0.5)) / np.float32(CELLS) - 1.0
        across = np.tile(row, (CELLS, 1))
        return [
            self.op("Add", flat, self.g.constant(f"map/sign{k}/value", sign), name=f"map/sign{k}")
            for k, sign in enumerate((across, across.T))
        ]

    def _sizes(self, grid: _Grid, flat: str) -> list[str]:
        """Logs of the window's width and height, in sides of the frame."""
        op, sizes = self.op, []
        for axis, span in enumerate(grid.span):
            ratio = op("Mul", span, self.scalar(1.0 / self.resampling.side), name=f"map/ratio{axis}")
            log = self.unsqueezed(op("Log", ratio, name=f"map/log{axis}"), 3, name=f"map/log{axis}/4")
            sizes.append(op("Add", flat, log, name=f"map/size{axis}"))
        return sizes

    def _drawn(self, window: WindowNodes) -> str:
        """The mask prompt in each window, squashed: (N, 3, 32, 32)."""
        down, across = (
            self.resampling.frame_weights(window, axis, name=f"map/mask/{what}")
            for axis, what in ((1, "down"), (0, "across"))
        )
        rows = self.op("MatMul", down, MASK, name="map/mask/rows")
        columns = transpose(self.g, across, (0, 1, 3, 2), name="map/mask/columns")
        cells = self.op("MatMul", rows, columns, name="map/mask/cells")
        cells = self.op("Mul", cells, self.scalar(1.0 / SQUASH), name="map/mask/quarter")
        return self.op("Tanh", cells, name="map/mask")
