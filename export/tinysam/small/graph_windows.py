"""From prompts to their windows, as nodes: around the box, else the mask prompt, else the points. Knows no map.

The counterpart of `decoder.windows_of`. Tensors of prompts are (N, ...), of windows (N, 3, ...).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_sdk.export.tinysam import MASK
from edge_sdk.export.tinysam.small.decoder import FRAME_MASK, SIDE_LOGS
from edge_sdk.export.tinysam.small.encoder import REACH, SIDES
from edge_sdk.export.tinysam.small.graph_parts import Arithmetic, as_float
from edge_sdk.export.tinysam.small.graph_prompts import BoxNodes, PointNodes, Tokens
from edge_sdk.export.tinysam.small.graph_resample import Resampling, WindowNodes
from edge_sdk.export.tinysam.small.windows import (
    BOX_SCALES,
    GUESS_SCALE,
    LEAST_ASPECT,
    LEAST_PX,
    POINT_SCALES,
    SPREAD,
)

K = len(BOX_SCALES)
"""Windows of a prompt: of a box, or the guess and the further ones of points."""


@dataclass(frozen=True, slots=True, eq=False)
class Windows(Arithmetic):
    """tokens, resampling: writers into the same graph."""

    tokens: Tokens
    resampling: Resampling

    def of_points(self, points: PointNodes) -> WindowNodes:
        """Around the box that is guessed from what lies under the points, and the further ones (`point_windows`)."""
        op = self.op
        widest = self.g.largest(points.spread, 1, name="point/widest")
        widest = op("Mul", widest, self.scalar(SPREAD), name="point/wide")
        side = np.float32(self.resampling.side)
        scales = self.g.constant("point/scales", np.array(POINT_SCALES, np.float32) * side)
        sides = op("Max", scales, widest, name="point/sides")  # (N, 2)
        reach = op("Gather", REACH, self.g.constant("reach/x_y", np.array([1, 0], np.int64)), name="reach/xy", axis=1)
        reach = self.unsqueezed(reach, 1, name="reach/3")  # (1, 1, 2)
        further = self._fitted(points.centre, sides, reach)
        first = self._around(*self._guess(points, reach), (GUESS_SCALE,), name="guess/window")
        low, high = (
            op("Concat", guessed, op(kind, *further, name=f"point/{kind.lower()}"), name=f"point/all/{kind}", axis=1)
            for kind, guessed in (("Sub", first.low), ("Add", first.high))
        )
        return WindowNodes(low=low, high=high)

    def of_mask_or(self, points: PointNodes, other: WindowNodes) -> WindowNodes:
        """Around the positive part of the mask prompt and the positive points; `other` where there is none."""
        start, end, there = self._lit()
        start, end = self._with_points(start, end, points)
        masked = self._around(start, end, BOX_SCALES, name="mask/window")
        return self._either(there, masked, other, names=("mask/or_point/0", "mask/or_point/1"))

    def of_box_or(self, box: BoxNodes, other: WindowNodes) -> WindowNodes:
        """Around the box; `other` where there is none."""
        boxed = self._around(box.start, box.end, BOX_SCALES, name="box")
        return self._either(box.has, boxed, other, names=("window/low", "window/high"))

    def _fitted(self, centre: str, sides: str, reach: str) -> tuple[str, str]:
        """Middle and half sides of windows of centres (N, 2) and sides (N, 2), px, within the picture, as
        `windows.fitted`."""
        op = self.op
        sides = op("Min", self.unsqueezed(sides, 2, name="point/sides3"), reach, name="point/within")  # (N, 2, 2)
        half = op("Mul", sides, self.scalar(0.5), name="point/half")
        middle = op("Max", self.unsqueezed(centre, 1, name="point/centre3"), half, name="point/from_low")
        middle = op("Min", middle, op("Sub", reach, half, name="point/latest"), name="point/moved")
        return middle, op("Max", half, self.scalar(LEAST_PX / 2), name="point/half/least")

    def _guess(self, points: PointNodes, reach: str) -> tuple[str, str]:
        """Corners (N, 2) of the box around what lies under the positive points, as `WindowDecoder.guessed`."""
        g, op = self.g, self.op
        x = g.clip(self.resampling.under(SIDES, points.at), *SIDE_LOGS, name="guess/logs")
        x = op("Exp", x, name="guess/shares")
        x = op("Mul", x, self.scalar(float(self.resampling.side)), name="guess/distances")  # (N, T, 4)
        ends = []
        for what, kind, columns in (("low", "Sub", (0, 2)), ("high", "Add", (2, 4))):
            start, end = (g.constant(f"guess/{what}/{k}", np.array([at], np.int64)) for k, at in enumerate(columns))
            distances = op("Slice", x, start, end, self.axes(2), name=f"guess/{what}/distances")
            edge = op(kind, points.at, distances, name=f"guess/{what}/edge")
            edge = op("Max", edge, self.scalar(0.0), name=f"guess/{what}/from")
            ends.append(op("Min", edge, reach, name=f"guess/{what}/to"))
        return self.tokens.ends(points.positive, *ends, name="guess/box")

    def _lit(self) -> tuple[str, str, str]:
        """Corners (N, 2) of the box around the positive part of the mask prompt, whether there is any (N, 1)."""
        op, r = self.op, FRAME_MASK
        lit = as_float(self.g, op("Greater", MASK, self.scalar(0.0), name="mask/lit"))
        index = self.g.constant("mask/index", np.arange(r, dtype=np.float32))
        corners: list[list[str]] = [[], []]
        there = ""
        for what, axis in (("x", 2), ("y", 3)):
            row = op("ReduceMax", lit, name=f"mask/{what}", axes=[1, axis], keepdims=0)  # (N, r)
            there = there or self.g.largest(row, 1, name="mask/there")
            off = op("Sub", self.scalar(1.0), row, name=f"mask/{what}/off")
            here = op("Mul", row, index, name=f"mask/{what}/here")
            late = op("Mul", off, self.scalar(float(r)), name=f"mask/{what}/late")
            first = op("Add", here, late, name=f"mask/{what}/or")
            early = op("Sub", here, off, name=f"mask/{what}/early")
            last = op("Add", early, self.scalar(1.0), name=f"mask/{what}/next")
            low = op("ReduceMin", first, name=f"mask/{what}/first", axes=[1], keepdims=1)
            for place, edge in enumerate((low, self.g.largest(last, 1, name=f"mask/{what}/last"))):
                scale = self.scalar(self.resampling.side / r)
                corners[place].append(op("Mul", edge, scale, name=f"mask/{what}/{place}"))
        start, end = (op("Concat", *one, name=f"mask/corner{k}", axis=1) for k, one in enumerate(corners))
        return start, end, there

    def _with_points(self, start: str, end: str, points: PointNodes) -> tuple[str, str]:
        """The box from start to end (N, 2), widened to the positive points."""
        op = self.op
        half = op("Mul", points.spread, self.scalar(0.5), name="mask/half_spread")
        has = op("Greater", points.positive.there, self.scalar(0.5), name="mask/pointed")
        low = op("Min", start, op("Sub", points.centre, half, name="mask/point_low"), name="mask/both_low")
        high = op("Max", end, op("Add", points.centre, half, name="mask/point_high"), name="mask/both_high")
        start = op("Where", has, low, start, name="mask/start")
        return start, op("Where", has, high, end, name="mask/end")

    def _around(self, start: str, end: str, scales_: Sequence[float], *, name: str) -> WindowNodes:
        """Windows around boxes, as `windows.around`: (N, len(scales_), 2)."""
        op = self.op
        sides = op("Sub", end, start, name=f"{name}/sides")
        longest = self.g.largest(sides, 1, name=f"{name}/longest")
        least = op("Mul", longest, self.scalar(LEAST_ASPECT), name=f"{name}/least")
        sides = self.unsqueezed(op("Max", sides, least, name=f"{name}/fit"), 1, name=f"{name}/fit3")
        scales = self.g.constant(f"{name}/scales", np.array(scales_, np.float32)[:, None] / 2)
        half = op("Mul", sides, scales, name=f"{name}/half")
        half = op("Max", half, self.scalar(LEAST_PX / 2), name=f"{name}/halves")
        middle = op("Mul", op("Add", start, end, name=f"{name}/sum"), self.scalar(0.5), name=f"{name}/centre")
        middle = self.unsqueezed(middle, 1, name=f"{name}/centre3")
        low = op("Sub", middle, half, name=f"{name}/low")
        return WindowNodes(low=low, high=op("Add", middle, half, name=f"{name}/high"))

    def _either(self, which: str, yes: WindowNodes, no: WindowNodes, *, names: tuple[str, str]) -> WindowNodes:
        """`yes` where `which` (N, 1) is 1, else `no`. names: of the low and the high corners."""
        corners = []
        for name, one, other in ((names[0], yes.low, no.low), (names[1], yes.high, no.high)):
            asked = self.unsqueezed(which, 2, name=f"{name}/which")
            true = self.op("Greater", asked, self.scalar(0.5), name=f"{name}/is")
            corners.append(self.op("Where", true, one, other, name=name))
        return WindowNodes(low=corners[0], high=corners[1])
