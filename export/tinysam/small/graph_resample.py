"""Resampling of the encoder's outputs and of mask prompts into windows, as nodes. Knows no prompt.

The counterpart of `windows.weights` and `windows.sample`: products with matrices of triangle weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edge_sdk.export.tinysam.graph.parts import reshape, transpose
from edge_sdk.export.tinysam.small.decoder import CELLS, FRAME_MASK
from edge_sdk.export.tinysam.small.encoder import F2, F4, SIDES, STRIDES
from edge_sdk.export.tinysam.small.graph_parts import Arithmetic
from edge_sdk.export.tinysam.small.windows import LEAST_SUM, MARGIN

CHANNELS: Mapping[str, int] = {"features_2": F2, "features_4": F4, SIDES: 4}
"""Of the encoder's outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowNodes:
    """Low and high corners of windows, px of the frame: (N, 3, 2), or (N, T, 2) where each token has one."""

    low: str
    high: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CutNodes:
    """cells: an encoder's output in the windows, (3 N, C, cells, cells). table: the rows of that output, (h, C w);
    `Resampling.under` reads it too."""

    cells: str
    table: str


@dataclass(frozen=True, slots=True, eq=False)
class Resampling(Arithmetic):
    """side: of the frame, px."""

    side: int

    def cut(self, feature: str, window: WindowNodes, cells: int) -> CutNodes:
        """An encoder's output in the windows."""
        g, channels = self.g, CHANNELS[feature]
        length, name = self.side // STRIDES[feature], f"cut/{feature}"
        down, across = self._down_across(feature, window, cells, name=name)
        table = self._table(feature)
        picked = self.op("MatMul", reshape(g, down, (-1, length), name=f"{name}/down2"), table, name=f"{name}/rows")
        picked = reshape(g, picked, (-1, cells, channels, length), name=f"{name}/rows4")
        picked = transpose(g, picked, (0, 2, 1, 3), name=f"{name}/channels_first")
        picked = reshape(g, picked, (-1, channels * cells, length), name=f"{name}/rows3")
        across = reshape(g, across, (-1, cells, length), name=f"{name}/across3")
        columns = transpose(g, across, (0, 2, 1), name=f"{name}/columns")
        picked = self.op("MatMul", picked, columns, name=f"{name}/cells")
        return CutNodes(cells=reshape(g, picked, (-1, channels, cells, cells), name=name), table=table)

    def under(self, feature: str, at: str, *, table: str | None = None) -> str:
        """An encoder's output at points (N, T, 2): (N, T, C). table: of `CutNodes`, None = it is made here."""
        g, op, stride, channels = self.g, self.op, STRIDES[feature], CHANNELS[feature]
        length, half, name = self.side // stride, self.scalar(stride / 2), f"under/{feature}"
        low, high = (op(kind, at, half, name=f"{name}/{kind.lower()}") for kind in ("Sub", "Add"))
        down, across = self._down_across(feature, WindowNodes(low=low, high=high), 1, name=name)
        rows = op("MatMul", down, table or self._table(feature), name=f"{name}/rows")  # (N, T, 1, C * length)
        rows = reshape(g, rows, (0, 0, channels, length), name=f"{name}/rows4")
        cells = op("MatMul", rows, transpose(g, across, (0, 1, 3, 2), name=f"{name}/column"), name=f"{name}/cells")
        return g.squeeze(cells, 3, name=name)

    def frame_weights(self, window: WindowNodes, axis: int, *, name: str) -> str:
        """Weights (N, 3, 32, 96) from the grid of mask prompts. axis: 0 = x, 1 = y."""
        return self._weights(window, axis, CELLS, FRAME_MASK, self.side / FRAME_MASK, name=name)

    def _down_across(self, feature: str, window: WindowNodes, cells: int, *, name: str) -> tuple[str, str]:
        """Weights from an encoder's output along y and along x."""
        stride = STRIDES[feature]
        down, across = (
            self._weights(window, axis, cells, self.side // stride, float(stride), name=f"{name}/{what}")
            for axis, what in ((1, "down"), (0, "across"))
        )
        return down, across

    def _table(self, feature: str) -> str:
        """An encoder's output as a table of its rows: (h, C w)."""
        name, length = f"cut/{feature}", self.side // STRIDES[feature]
        rows = transpose(self.g, feature, (0, 2, 1, 3), name=f"{name}/rows_first")
        return reshape(self.g, rows, (length, CHANNELS[feature] * length), name=f"{name}/table")

    def _weights(self, window: WindowNodes, axis: int, cells: int, length: int, stride: float, *, name: str) -> str:
        """Triangle weights (N, 3, cells, length), as `windows.weights`. axis: 0 = x, 1 = y."""
        op = self.op
        ends = (("low", window.low), ("high", window.high))
        start, stop = (self.column(x, axis, name=f"{name}/{what}") for what, x in ends)
        step = op("Mul", op("Sub", stop, start, name=f"{name}/span"), self.scalar(1.0 / cells), name=f"{name}/step")
        step, start = (self.unsqueezed(x, 2, 3, name=f"{x}/4") for x in (step, start))
        centres = self.g.constant(f"cells/{cells}", (np.arange(cells, dtype=np.float32) + np.float32(0.5))[:, None])
        at = op("Add", start, op("Mul", step, centres, name=f"{name}/along"), name=f"{name}/at")
        in_cells = op("Mul", at, self.scalar(1.0 / stride), name=f"{name}/cells")
        where = op("Sub", in_cells, self.scalar(0.5), name=f"{name}/where")
        steps = op("Mul", step, self.scalar(1.0 / stride), name=f"{name}/steps")
        return self._triangles(where, op("Max", steps, self.scalar(1.0), name=f"{name}/width"), length, name=name)

    def _triangles(self, where: str, width: str, length: int, *, name: str) -> str:
        """Weights of the cells 0 to length - 1 for centres `where` and triangles of this half width, in cells, as
        `windows._triangles`."""
        op = self.op
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
