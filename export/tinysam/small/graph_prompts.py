"""From prompts to windows, weights of their resampling, and prompt maps, as nodes. Knows no convolution but the keys'.

All of it is arithmetic on the prompts' own axis, so no shape depends on data. Tensors of prompts are (N, ...), of
windows (N, 3, ...).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_sdk.export.tinysam import BOTTOM_RIGHT, LABELS, MASK, NEGATIVE, POINTS, POSITIVE, TOP_LEFT
from edge_sdk.export.tinysam.graph.parts import float64, reshape, transpose
from edge_sdk.export.tinysam.small.decoder import CELLS, FRAME_MASK, HEADS, KEY, SIDE_LOGS, SPOT, WindowDecoder
from edge_sdk.export.tinysam.small.encoder import F2, F4, REACH, SIDES, STRIDES
from edge_sdk.export.tinysam.small.graph_parts import Arithmetic, as_float
from edge_sdk.export.tinysam.small.windows import (
    BOX_SCALES,
    GUESS_SCALE,
    LEAST_ASPECT,
    LEAST_PX,
    LEAST_SUM,
    MARGIN,
    POINT_SCALES,
    SPREAD,
)  # fmt: skip

CHANNELS: Mapping[str, int] = {"features_2": F2, "features_4": F4, SIDES: 4}
"""Of the encoder's outputs."""
K = len(BOX_SCALES)
"""Windows of a prompt: of a box, or the guess and the further ones of points."""


@dataclass(frozen=True, slots=True, eq=False)
class PromptNodes(Arithmetic):
    """The part of the decoder `net` that knows prompts. side: of the frame, px. refiner: with mask prompts."""

    net: WindowDecoder
    side: int
    refiner: bool

    def is_(self, label: int) -> str:
        """1 where a token has this label: (N, T)."""
        wanted = self.g.constant(f"label/{label}/value", np.array(label, np.int32))
        return as_float(self.g, self.op("Equal", LABELS, wanted, name=f"label/{label}"))

    def windows(self) -> tuple[str, str]:
        """Low and high corners (N, 3, 2): around the box, else the mask prompt, else the points."""
        op = self.op
        centre, spread, _ = self._positive()
        widest = op("Mul", self.g.largest(spread, 1, name="point/widest"), self.scalar(SPREAD), name="point/wide")
        scales = self.g.constant("point/scales", np.array(POINT_SCALES, np.float32) * np.float32(self.side))
        sides = op("Max", scales, widest, name="point/sides")  # (N, 3)
        reach = op("Gather", REACH, self.g.constant("reach/x_y", np.array([1, 0], np.int64)), name="reach/xy", axis=1)
        reach = self.unsqueezed(reach, 1, name="reach/3")  # (1, 1, 2)
        sides = op("Min", self.unsqueezed(sides, 2, name="point/sides3"), reach, name="point/within")  # (N, 3, 2)
        half = op("Mul", sides, self.scalar(0.5), name="point/half")
        middle = op("Max", self.unsqueezed(centre, 1, name="point/centre3"), half, name="point/from_low")
        middle = op("Min", middle, op("Sub", reach, half, name="point/latest"), name="point/moved")
        half = op("Max", half, self.scalar(LEAST_PX / 2), name="point/half/least")
        first = self._around(*self._guess(), (GUESS_SCALE,), name="guess/window")
        pair = [
            op(
                "Concat",
                guessed,
                op(kind, middle, half, name=f"point/{kind.lower()}"),
                name=f"point/all/{kind}",
                axis=1,
            )
            for kind, guessed in zip(("Sub", "Add"), first, strict=True)
        ]
        if self.refiner:
            masked, there = self._mask_windows()
            pair = [self._either(there, m, p, name=f"mask/or_point/{i}") for i, (m, p) in enumerate(zip(masked, pair))]
        start, end, has_box = self._box()
        boxed = self._around(start, end, BOX_SCALES, name="box")
        low, high = (
            self._either(has_box, b, p, name=f"window/{what}")
            for what, b, p in zip(("low", "high"), boxed, pair, strict=True)
        )
        return low, high

    def _either(self, which: str, yes: str, no: str, *, name: str) -> str:
        """`yes` where `which` (N, 1) is 1, else `no`: (N, 3, 2)."""
        true = self.op("Greater", self.unsqueezed(which, 2, name=f"{name}/which"), self.scalar(0.5), name=f"{name}/is")
        return self.op("Where", true, yes, no, name=name)

    def _box(self) -> tuple[str, str, str]:
        """Corners (N, 2) and whether there is a box (N, 1); nodes are made once."""
        if "box/has" in self.g.node_names:
            return "box/start", "box/end", "box/has"
        corners = []
        for what, label in (("start", TOP_LEFT), ("end", BOTTOM_RIGHT)):
            chosen = self.op("Mul", POINTS, self.unsqueezed(self.is_(label), 2, name=f"box/{what}/is"),
                             name=f"box/{what}/only")  # fmt: skip
            corners.append(self.op("ReduceSum", chosen, self.axes(1), name=f"box/{what}", keepdims=0))
        has = self.g.largest(f"label/{TOP_LEFT}/float", 1, name="box/has")
        return corners[0], corners[1], has

    def _around(self, start: str, end: str, scales_: Sequence[float], *, name: str) -> tuple[str, str]:
        """Windows around boxes, as `windows.around`: (N, len(scales_), 2)."""
        op = self.op
        sides = op("Sub", end, start, name=f"{name}/sides")
        least = op(
            "Mul", self.g.largest(sides, 1, name=f"{name}/longest"), self.scalar(LEAST_ASPECT), name=f"{name}/least"
        )
        sides = self.unsqueezed(op("Max", sides, least, name=f"{name}/fit"), 1, name=f"{name}/fit3")
        scales = self.g.constant(f"{name}/scales", np.array(scales_, np.float32)[:, None] / 2)
        half = op(
            "Max", op("Mul", sides, scales, name=f"{name}/half"), self.scalar(LEAST_PX / 2), name=f"{name}/halves"
        )
        middle = op("Mul", op("Add", start, end, name=f"{name}/sum"), self.scalar(0.5), name=f"{name}/centre")
        middle = self.unsqueezed(middle, 1, name=f"{name}/centre3")
        return op("Sub", middle, half, name=f"{name}/low"), op("Add", middle, half, name=f"{name}/high")

    def _positive(self) -> tuple[str, str, str]:
        """Centre and spread (N, 2) of the positive points, whether there are any (N, 1)."""
        op, far = self.op, 1e6
        positive = self.unsqueezed(self.is_(POSITIVE), 2, name="point/is")
        op("Mul", op("Sub", self.scalar(1.0), positive, name="point/not"), self.scalar(far), name="point/far")
        at = op("Add", POINTS, self.scalar(0.5), name="point/at")
        there = self.g.largest(f"label/{POSITIVE}/float", 1, name="point/there")
        low, high = self._ends(at, at, name="point")
        middle = op("Add", low, high, name="point/sum")
        return (
            op("Mul", middle, self.scalar(0.5), name="point/centre"),
            op("Sub", high, low, name="point/spread"),
            there,
        )

    def _ends(self, low: str, high: str, *, name: str) -> tuple[str, str]:
        """Smallest of `low` and largest of `high` (N, T, 2) among the positive points, (N, 2); 0 without any."""
        out = []
        for what, one, away, kind in (("low", low, "Add", "ReduceMin"), ("high", high, "Sub", "ReduceMax")):
            only = self.op("Mul", one, "point/is", name=f"{name}/{what}/only")
            only = self.op(away, only, "point/far", name=f"{name}/{what}/others")
            end = self.op(kind, only, name=f"{name}/{what}/end", axes=[1], keepdims=0)
            out.append(self.op("Mul", end, "point/there", name=f"{name}/{what}"))
        return out[0], out[1]

    def _guess(self) -> tuple[str, str]:
        """Corners (N, 2) of the box around what lies under the positive points, as `WindowDecoder.guessed`."""
        g, op = self.g, self.op
        x = g.clip(self._under(SIDES), *SIDE_LOGS, name="guess/logs")
        x = op("Exp", x, name="guess/shares")
        x = op("Mul", x, self.scalar(float(self.side)), name="guess/distances")  # (N, T, 4)
        ends = []
        for what, kind, columns in (("low", "Sub", (0, 2)), ("high", "Add", (2, 4))):
            start, end = (g.constant(f"guess/{what}/{k}", np.array([at], np.int64)) for k, at in enumerate(columns))
            distances = op("Slice", x, start, end, self.axes(2), name=f"guess/{what}/distances")
            edge = op(kind, "point/at", distances, name=f"guess/{what}/edge")
            edge = op("Max", edge, self.scalar(0.0), name=f"guess/{what}/from")
            ends.append(op("Min", edge, "reach/3", name=f"guess/{what}/to"))
        return self._ends(*ends, name="guess/box")

    def _under(self, feature: str) -> str:
        """An encoder's output under each token: (N, T, C)."""
        g, op, stride, channels = self.g, self.op, STRIDES[feature], CHANNELS[feature]
        length, half, name = self.side // stride, self.scalar(stride / 2), f"under/{feature}"
        low, high = (op(kind, "point/at", half, name=f"{name}/{kind.lower()}") for kind in ("Sub", "Add"))
        down, across = (
            self.weights(low, high, axis, 1, length, float(stride), name=f"{name}/{what}")
            for axis, what in ((1, "down"), (0, "across"))
        )
        rows = op("MatMul", down, self._table(feature), name=f"{name}/rows")  # (N, T, 1, C * length)
        rows = reshape(g, rows, (0, 0, channels, length), name=f"{name}/rows4")
        cells = op("MatMul", rows, transpose(g, across, (0, 1, 3, 2), name=f"{name}/column"), name=f"{name}/cells")
        return g.squeeze(cells, 3, name=name)

    def _table(self, feature: str) -> str:
        """An encoder's output as a table of its rows: (h, C w); nodes are made once."""
        name, length = f"cut/{feature}", self.side // STRIDES[feature]
        if f"{name}/table" in self.g.node_names:
            return f"{name}/table"
        rows = transpose(self.g, feature, (0, 2, 1, 3), name=f"{name}/rows_first")
        return reshape(self.g, rows, (length, CHANNELS[feature] * length), name=f"{name}/table")

    def _mask_windows(self) -> tuple[tuple[str, str], str]:
        """Windows around the positive part of the mask prompt and the positive points; whether there is any (N, 1)."""
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
            first = op(
                "Add", here, op("Mul", off, self.scalar(float(r)), name=f"mask/{what}/late"), name=f"mask/{what}/or"
            )
            last = op(
                "Add", op("Sub", here, off, name=f"mask/{what}/early"), self.scalar(1.0), name=f"mask/{what}/next"
            )
            low = op("ReduceMin", first, name=f"mask/{what}/first", axes=[1], keepdims=1)
            for place, edge in enumerate((low, self.g.largest(last, 1, name=f"mask/{what}/last"))):
                corners[place].append(op("Mul", edge, self.scalar(self.side / r), name=f"mask/{what}/{place}"))
        start, end = (op("Concat", *one, name=f"mask/corner{k}", axis=1) for k, one in enumerate(corners))
        half = op("Mul", "point/spread", self.scalar(0.5), name="mask/half_spread")
        has = op("Greater", "point/there", self.scalar(0.5), name="mask/pointed")
        low = op("Min", start, op("Sub", "point/centre", half, name="mask/point_low"), name="mask/both_low")
        high = op("Max", end, op("Add", "point/centre", half, name="mask/point_high"), name="mask/both_high")
        start, end = op("Where", has, low, start, name="mask/start"), op("Where", has, high, end, name="mask/end")
        return self._around(start, end, BOX_SCALES, name="mask/window"), there

    def weights(self, low: str, high: str, axis: int, cells: int, length: int, stride: float, *, name: str) -> str:
        """Triangle weights (N, 3, cells, length), as `windows.weights`. axis: 0 = x, 1 = y."""
        op = self.op
        start, stop = (self.column(x, axis, name=f"{name}/{what}") for x, what in ((low, "low"), (high, "high")))
        step = op("Mul", op("Sub", stop, start, name=f"{name}/span"), self.scalar(1.0 / cells), name=f"{name}/step")
        step, start = (self.unsqueezed(x, 2, 3, name=f"{x}/4") for x in (step, start))
        centres = self.g.constant(f"cells/{cells}", (np.arange(cells, dtype=np.float32) + np.float32(0.5))[:, None])
        at = op("Add", start, op("Mul", step, centres, name=f"{name}/along"), name=f"{name}/at")
        where = op(
            "Sub",
            op("Mul", at, self.scalar(1.0 / stride), name=f"{name}/cells"),
            self.scalar(0.5),
            name=f"{name}/where",
        )
        width = op(
            "Max",
            op("Mul", step, self.scalar(1.0 / stride), name=f"{name}/steps"),
            self.scalar(1.0),
            name=f"{name}/width",
        )
        here = self.g.constant(f"row/{length}", np.arange(-MARGIN, length + MARGIN, dtype=np.float32))
        away = op("Abs", op("Sub", here, where, name=f"{name}/off"), name=f"{name}/away")
        far = op("Div", away, width, name=f"{name}/far")
        every = op("Relu", op("Sub", self.scalar(1.0), far, name=f"{name}/left"), name=f"{name}/every")
        total = op("ReduceSum", every, self.axes(3), name=f"{name}/sum", keepdims=1)
        total = op("Max", total, self.scalar(LEAST_SUM), name=f"{name}/total")
        ends = [
            self.g.constant(f"row/{length}/{what}", np.array([value], np.int64))
            for what, value in (("start", MARGIN), ("end", MARGIN + length))
        ]
        inside = op("Slice", every, *ends, self.axes(3), name=f"{name}/inside")
        return op("Div", inside, total, name=name)

    def _frame(self, low: str, high: str, axis: int, name: str) -> str:
        """Weights from the grid of mask prompts."""
        return self.weights(low, high, axis, CELLS, FRAME_MASK, self.side / FRAME_MASK, name=name)

    def cut(self, feature: str, low: str, high: str, cells: int) -> str:
        """An encoder's output in the windows: (3 N, C, cells, cells)."""
        g, stride, channels = self.g, STRIDES[feature], CHANNELS[feature]
        length, name = self.side // stride, f"cut/{feature}"
        down = self.weights(low, high, 1, cells, length, float(stride), name=f"{name}/down")
        across = self.weights(low, high, 0, cells, length, float(stride), name=f"{name}/across")
        table = self._table(feature)
        picked = self.op("MatMul", reshape(g, down, (-1, length), name=f"{name}/down2"), table, name=f"{name}/rows")
        picked = reshape(g, picked, (-1, cells, channels, length), name=f"{name}/rows4")
        picked = transpose(g, picked, (0, 2, 1, 3), name=f"{name}/channels_first")
        picked = reshape(g, picked, (-1, channels * cells, length), name=f"{name}/rows3")
        columns = transpose(
            g, reshape(g, across, (-1, cells, length), name=f"{name}/across3"), (0, 2, 1), name=f"{name}/columns"
        )
        return reshape(
            g, self.op("MatMul", picked, columns, name=f"{name}/cells"), (-1, channels, cells, cells), name=name
        )

    def maps(self, low: str, high: str) -> tuple[str, str]:
        """Prompt maps (3 N, 12, 32, 32) and what the mask starts from (3 N, 1, 32, 32), as `WindowDecoder.maps`."""
        op, g = self.op, self.g
        steps = g.constant("map/steps", (np.arange(CELLS, dtype=np.float32) + np.float32(0.5)) / np.float32(CELLS))
        span = op("Sub", high, low, name="map/span")
        at, step = [], []
        for axis in (0, 1):
            start = self.unsqueezed(self.column(low, axis, name=f"map/low{axis}"), 2, name=f"map/low{axis}/3")
            length = self.unsqueezed(self.column(span, axis, name=f"map/span{axis}"), 2, name=f"map/span{axis}/3")
            at.append(op("Add", start, op("Mul", length, steps, name=f"map/along{axis}"), name=f"map/at{axis}"))
            step.append(op("Mul", length, self.scalar(1.0 / CELLS), name=f"map/step{axis}"))
        start, end, has = self._box()
        ramps = [
            self.unsqueezed(
                self._ramp(at[axis], step[axis], start, end, axis), 2 if axis == 0 else 3, name=f"map/box{axis}/4"
            )
            for axis in (0, 1)
        ]
        has4 = self.unsqueezed(has, 2, 3, name="map/has_box")
        boxed = op("Mul", op("Mul", *ramps, name="map/box_at"), has4, name="map/box")
        near, far = (self._spots(at, step, label) for label in (POSITIVE, NEGATIVE))
        whole = [
            op("ReduceSum", self._frame(low, high, axis, f"map/inside{axis}"), self.axes(3), name=f"map/within{axis}",
               keepdims=0)
            for axis in (0, 1)
        ]  # fmt: skip
        inside = op(
            "Mul",
            self.unsqueezed(whole[0], 2, name="map/within0/4"),
            self.unsqueezed(whole[1], 3, name="map/within1/4"),
            name="map/inside",
        )
        flat = op("Mul", inside, self.scalar(0.0), name="map/flat")
        sign = np.tile(
            2.0 * (np.arange(CELLS, dtype=np.float32) + np.float32(0.5)) / np.float32(CELLS) - 1.0, (CELLS, 1)
        )
        signs = [
            op("Add", flat, g.constant(f"map/sign{k}/value", s), name=f"map/sign{k}")
            for k, s in enumerate((sign, sign.T))
        ]
        sizes = []
        for axis in (0, 1):
            ratio = op("Mul", f"map/span{axis}/3", self.scalar(1.0 / self.side), name=f"map/ratio{axis}")
            sizes.append(
                op(
                    "Add",
                    flat,
                    self.unsqueezed(op("Log", ratio, name=f"map/log{axis}"), 3, name=f"map/log{axis}/4"),
                    name=f"map/size{axis}",
                )
            )
        drawn, has_mask = flat, flat
        if self.refiner:
            drawn = self._mask_in(low, high)
            has_mask = op("Add", flat, self.scalar(1.0), name="map/has_mask")
        flag = op("Add", flat, has4, name="map/boxed")
        pointed = op("Add", flat, self.unsqueezed("point/there", 2, 3, name="map/there"), name="map/pointed")
        all_ = [boxed, flag, *signs, near, far, inside, *sizes, drawn, has_mask, pointed]
        stacked = op(
            "Concat",
            *(self.unsqueezed(x, 2, name=f"map/{k}/channel") for k, x in enumerate(all_)),
            name="maps/5",
            axis=2,
        )
        free = op("Mul", op("Sub", self.scalar(1.0), flag, name="map/free"), near, name="map/start")
        soft = op("Add", boxed, op("Mul", free, self.scalar(SPOT), name="map/start/low"), name="map/soft")
        return (
            reshape(g, stacked, (-1, len(all_), CELLS, CELLS), name="maps"),
            reshape(g, soft, (-1, 1, CELLS, CELLS), name="soft"),
        )

    def alike(self, cut: str) -> str:
        """Likeness of each cell of the windows to points, to what is covered and to the rest: (3 N, 16, 32, 32), as
        `WindowDecoder.alike`."""
        g, op, count = self.g, self.op, CELLS * CELLS
        keys = g.conv(cut, float64(self.net.key.weight), np.zeros(HEADS * KEY), name="key")
        cells = self._unit(reshape(g, keys, (-1, K, HEADS, KEY, count), name="alike/keys"), 3, name="alike/cells")
        seeds = self.unsqueezed(self._seeds(), 1, name="alike/seeds5")  # (N, 1, HEADS, T, KEY)
        to_tokens = op("MatMul", seeds, cells, name="alike/tokens")
        out = []
        for label in (POSITIVE, NEGATIVE):
            is_ = self.unsqueezed(f"label/{label}/float", 1, 2, 4, name=f"alike/is{label}")
            those = op("Mul", to_tokens, is_, name=f"alike/of{label}")
            most = op("ReduceMax", those, name=f"alike/most{label}", axes=[3], keepdims=0)
            out.append(op("Relu", most, name=f"alike/{label}"))
        covered = op("Add", "map/box", "map/start", name="alike/covered")
        rest = op("Sub", self.scalar(1.0), covered, name="alike/uncovered")
        rest = op("Mul", rest, "map/inside", name="alike/rest")
        for what, share in (("in", covered), ("out", rest)):
            flat = reshape(g, share, (0, K, 1, count, 1), name=f"alike/{what}/share")
            mean = self._unit(op("MatMul", cells, flat, name=f"alike/{what}/sum"), 3, name=f"alike/{what}/mean")
            mean = transpose(g, mean, (0, 1, 2, 4, 3), name=f"alike/{what}/row")
            near = op("MatMul", mean, cells, name=f"alike/{what}/near")
            out.append(op("Relu", g.squeeze(near, 3, name=f"alike/{what}/flat"), name=f"alike/{what}"))
        return reshape(g, op("Concat", *out, name="alike/all", axis=2), (-1, 4 * HEADS, CELLS, CELLS), name="alike")

    def _seeds(self) -> str:
        """Keys under each token, of length 1: (N, HEADS, T, KEY)."""
        g, op = self.g, self.op
        weight = g.constant(
            "seed/key/weight", np.asarray(float64(self.net.key.weight).reshape(HEADS * KEY, F4).T, np.float32)
        )
        keys = op("MatMul", self._under("features_4"), weight, name="seed/key")
        unit = self._unit(reshape(g, keys, (0, 0, HEADS, KEY), name="seed/heads"), 3, name="seed/unit")
        return transpose(g, unit, (0, 2, 1, 3), name="seed")

    def _unit(self, x: str, axis: int, *, name: str) -> str:
        """Of length 1 along an axis."""
        op = self.op
        square = op(
            "ReduceSum", op("Mul", x, x, name=f"{name}/square"), self.axes(axis), name=f"{name}/sum", keepdims=1
        )
        length = op("Sqrt", op("Add", square, self.scalar(1e-6), name=f"{name}/some"), name=f"{name}/length")
        return op("Div", x, length, name=name)

    def _ramp(self, at: str, step: str, start: str, end: str, axis: int) -> str:
        """Share of each cell inside the box along one axis: (N, 3, 32)."""
        op, name = self.op, f"map/box{axis}"
        first, last = (
            self.unsqueezed(self.column(x, axis, name=f"{name}/{what}"), 1, 2, name=f"{name}/{what}/3")
            for x, what in ((start, "start"), (end, "end"))
        )
        ends = op(
            "Min",
            op("Sub", at, first, name=f"{name}/after"),
            op("Sub", last, at, name=f"{name}/before"),
            name=f"{name}/ends",
        )
        share = op("Add", op("Div", ends, step, name=f"{name}/in_cells"), self.scalar(0.5), name=f"{name}/share")
        return self.g.clip(share, 0.0, 1.0, name=f"{name}/ramp")

    def _spots(self, at: Sequence[str], step: Sequence[str], label: int) -> str:
        """A bump at each point of this label: (N, 3, 32, 32)."""
        op, name, bumps = self.op, f"map/spot{label}", []
        for axis in (0, 1):
            point = self.unsqueezed(
                self.column("point/at", axis, name=f"{name}/{axis}"), 1, 3, name=f"{name}/{axis}/4"
            )  # (N, 1, T, 1)
            here = self.unsqueezed(at[axis], 2, name=f"{name}/at{axis}")  # (N, 3, 1, 32)
            wide = op(
                "Mul",
                self.unsqueezed(step[axis], 2, name=f"{name}/step{axis}"),
                self.scalar(1.2),
                name=f"{name}/wide{axis}",
            )
            away = op("Div", op("Sub", here, point, name=f"{name}/off{axis}"), wide, name=f"{name}/away{axis}")
            power = op(
                "Mul", op("Mul", away, away, name=f"{name}/square{axis}"), self.scalar(-0.5), name=f"{name}/power{axis}"
            )
            bump = op("Exp", power, name=f"{name}/bump{axis}")
            bumps.append(self.unsqueezed(bump, 3 if axis == 0 else 4, name=f"{name}/bump{axis}/5"))
        label_is = f"label/{label}/float" if f"label/{label}" in self.g.node_names else self.is_(label)
        there = self.unsqueezed(label_is, 1, 3, 4, name=f"{name}/there")
        shown = op("Mul", op("Mul", *bumps, name=f"{name}/bumps"), there, name=f"{name}/only")
        return op("ReduceMax", shown, name=name, axes=[2], keepdims=0)

    def _mask_in(self, low: str, high: str) -> str:
        """The mask prompt in each window, squashed: (N, 3, 32, 32)."""
        down, across = (self._frame(low, high, axis, f"map/mask/{what}") for axis, what in ((1, "down"), (0, "across")))
        rows = self.op("MatMul", down, MASK, name="map/mask/rows")
        cells = self.op(
            "MatMul", rows, transpose(self.g, across, (0, 1, 3, 2), name="map/mask/columns"), name="map/mask/cells"
        )
        return self.op("Tanh", self.op("Mul", cells, self.scalar(0.25), name="map/mask/quarter"), name="map/mask")
