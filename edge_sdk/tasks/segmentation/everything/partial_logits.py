"""The part of a mask's low-resolution logits that its full size depends on, so that many masks fit into little memory.

Knows one grid; no picture, no point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_sdk.tasks.segmentation.everything.boxes import box_of

_AROUND = 2
"""Cells kept around those above the level: one for the interpolation to px of the frame, one for that to the picture's
px, which mixes neighbouring px of the frame. Enough where a cell is a pixel of the frame or more."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartialLogits:
    """Logits float32 (h, w) from `row` and `column` of a grid of cells x cells; outside: the value of all others.

    Wherever the full grid, interpolated, is above the level that this was made for, `grid` gives the same; elsewhere
    both are at or below it.
    """

    part: NDArray[np.float32]
    row: int
    column: int
    cells: int
    outside: float

    @property
    def nbytes(self) -> int:
        """Bytes of the part."""
        return self.part.nbytes

    @property
    def grid(self) -> NDArray[np.float32]:
        """float32 (cells, cells); made anew at each call."""
        out = np.full((self.cells, self.cells), self.outside, np.float32)
        rows, columns = self.part.shape
        out[self.row : self.row + rows, self.column : self.column + columns] = self.part
        return out


def cells_above(
    logits: NDArray[np.float32], visible: tuple[slice, slice], *, level: float
) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 in cells of a grid (m, m): the box around those above `level` from which a mask in the `visible`
    rows and columns may come; x0, y0, x0, y0 where there is none.

    What is held of a grid and what is brought to full size go by this one box: if the latter reached further, a mask
    that is decoded again would change.
    """
    rows, columns = visible
    row, column = max(0, rows.start - 1), max(0, columns.start - 1)  # cells in the padding reach into the picture
    left, top, right, bottom = box_of(logits[row : rows.stop + 1, column : columns.stop + 1] > np.float32(level))
    return column + left, row + top, column + right, row + bottom


def partial_logits(logits: NDArray[np.float32], visible: tuple[slice, slice], *, level: float) -> PartialLogits:
    """What has to be held of a grid (m, m) whose full size is asked for above `level`, in the `visible` rows and
    columns (`Frame.valid`)."""
    left, top, right, bottom = cells_above(logits, visible, level=level)
    row, column = max(0, top - _AROUND), max(0, left - _AROUND)
    part = logits[row : bottom + _AROUND, column : right + _AROUND]
    # A copy: a view would keep the answers to a whole batch of points in memory. And below the level by enough to stay
    # there, however the interpolation rounds.
    return PartialLogits(part=part.copy(), row=row, column=column, cells=logits.shape[0], outside=level - 1.0)
