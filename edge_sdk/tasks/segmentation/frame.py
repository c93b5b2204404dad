"""How a decoder's mask grid lies in the caller's pixels: masks placed there. Knows no prompt.

Three frames. The caller's picture: height x width px. The network's frame: side x side px, the picture scaled into its
top left corner (`extent`), padding behind. A mask grid: m x m cells that cover a window of the frame, the whole of it
where nothing else is said. Coordinates of prompts are those of SAM: an integer is the centre of that pixel. Windows and
boxes are continuous: 0 is the outer edge of the first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.preprocess import Geometry

OUTSIDE_LOGIT = -10.0
"""Logit of a mask prompt where it says "not the object"; `-OUTSIDE_LOGIT` where it says "the object". SAM was trained
on logits of its own, most of which lie between -10 and 10."""
Window = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture in the network's frame. width, height: of the caller's picture, px. side: of the frame, px.

    extent_height, extent_width: px of the frame that the picture covers, from the top left corner, each at least 1.
    """

    width: int
    height: int
    side: int
    extent_height: int
    extent_width: int

    @classmethod
    def of(cls, geometry: Geometry, side: int) -> Frame:
        """Of a picture prepared with the mode "longest-side"."""
        (transform,) = geometry.transforms
        return cls(
            width=geometry.width, height=geometry.height, side=side,
            extent_height=max(1, round(transform.scale_y * geometry.height)),
            extent_width=max(1, round(transform.scale_x * geometry.width)),
        )  # fmt: skip

    @property
    def extent(self) -> NDArray[np.float32]:
        """The encoder's input of that name: float32 (height, width), px of the frame."""
        return np.array([self.extent_height, self.extent_width], np.float32)

    @property
    def scale_x(self) -> float:
        """Frame px per px of the caller's picture; differs a little from `scale_y`, since the extent is rounded."""
        return self.extent_width / self.width

    @property
    def scale_y(self) -> float:
        return self.extent_height / self.height

    def forward(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        """Caller's points (..., 2), x and y, as the decoder takes them: float32, before the 0.5 that the graph adds."""
        return (np.asarray(points, np.float64) * (self.scale_x, self.scale_y)).astype(np.float32)

    @property
    def whole(self) -> Window:
        """The window that a decoder without `windows` answers for."""
        return 0.0, 0.0, float(self.side), float(self.side)

    def valid(self, cells: int, window: Window | None = None) -> tuple[slice, slice]:
        """Rows and columns of a grid of cells x cells whose centres lie on the picture, at least one of each."""
        x0, y0, x1, y1 = self.whole if window is None else window
        return (
            _inside(cells, y0, y1, self.extent_height),
            _inside(cells, x0, x1, self.extent_width),
        )

    def place(
        self, logits: NDArray[np.float32], window: Window | None = None, *, threshold: float = 0.0
    ) -> NDArray[np.bool_]:
        """bool (height, width) in the caller's pixels: where the mask grid (m, m), interpolated, is above `threshold`.

        window: x0, y0, x1, y1 in frame px; pixels whose centre lies outside are False. None: the grid covers the whole
        frame, and the two steps of SAM's own postprocessing are taken (`whole_frame_logits`).
        """
        if window is None:
            return np.asarray(self.whole_frame_logits(logits) > threshold)
        out = np.zeros((self.height, self.width), np.bool_)
        found = self._in_window(logits, window)
        if found is not None:
            rows, columns, values = found
            np.greater(values, threshold, out=out[rows, columns])
        return out

    def whole_frame_logits(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (height, width): a grid over the whole frame in the caller's pixels, as SAM does it: bilinear to
        frame px, cut to the extent, bilinear to the picture. One interpolation instead gives another mask (IoU 0.98 to
        0.99 on speckled logits)."""
        grid, side = np.ascontiguousarray(logits, np.float32), self.side
        cells = grid.shape[0]
        rows = columns = cells
        if side % cells == 0:  # what lies below and right of the extent need not be interpolated
            ratio = side // cells
            rows = min(cells, -(-self.extent_height // ratio) + 1)
            columns = min(cells, -(-self.extent_width // ratio) + 1)
            grid = np.ascontiguousarray(grid[:rows, :columns])
        size = (columns * side // cells, rows * side // cells)
        full = cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR)
        cut = np.ascontiguousarray(full[: self.extent_height, : self.extent_width])
        if cut.shape == (self.height, self.width):
            return np.asarray(cut, np.float32)
        return np.asarray(cv2.resize(cut, (self.width, self.height), interpolation=cv2.INTER_LINEAR), np.float32)

    def _in_window(
        self, logits: NDArray[np.float32], window: Window
    ) -> tuple[slice, slice, NDArray[np.float32]] | None:
        """Rows and columns of the caller's pixels whose centres lie in the window, and the logits there; None if none
        do. Between cell centres the values are interpolated; outside the outermost ones the nearest is repeated."""
        x0, y0, x1, y1 = window
        columns, across = _pixels(x0, x1, self.scale_x, self.width, logits.shape[1])
        rows, down = _pixels(y0, y1, self.scale_y, self.height, logits.shape[0])
        if not across.size or not down.size:
            return None
        return rows, columns, interpolated(np.ascontiguousarray(logits, np.float32), across, down)

    def whole_frame_grid(self, logits: NDArray[np.float32], window: Window | None, cells: int) -> NDArray[np.float32]:
        """float32 (cells, cells) over the whole frame, of a grid over `window`: the mask prompt that repeats an answer.
        Outside the window OUTSIDE_LOGIT.

        Golden samples hold such grids, so they must be the same on every CPU: by NumPy, element by element.
        """
        if window is None and logits.shape == (cells, cells):
            return np.asarray(logits, np.float32)
        span = self.side / cells
        x0, y0, x1, y1 = self.whole if window is None else window
        columns, across = _pixels(x0, x1, span, cells, logits.shape[1])
        rows, down = _pixels(y0, y1, span, cells, logits.shape[0])
        out = np.full((cells, cells), OUTSIDE_LOGIT, np.float32)
        if across.size and down.size:
            out[rows, columns] = preprocess.bilinear(np.ascontiguousarray(logits, np.float32), across, down)
        return out

    def prompt_of(self, mask: NDArray[np.bool_], cells: int) -> NDArray[np.float32]:
        """float32 (cells, cells): the caller's own mask (height, width) as a mask prompt: resized as the picture is,
        padded, averaged over the cells, -10 where no pixel of a cell is set and 10 where all are."""
        small = preprocess.resize(mask.astype(np.uint8) * 255, self.extent_width, self.extent_height)
        padded = np.zeros((self.side, self.side), np.float32)
        padded[: self.extent_height, : self.extent_width] = small
        shares = cv2.resize(padded, (cells, cells), interpolation=cv2.INTER_AREA) / 255.0
        return np.asarray(OUTSIDE_LOGIT * (1.0 - 2.0 * shares), np.float32)

    def from_cells(self, box: NDArray[np.float64], cells: int) -> NDArray[np.float64]:
        """A box in cells of a side of the whole frame, in px of the picture and cut to it."""
        scale, size = np.array([self.scale_x, self.scale_y] * 2), np.array([self.width, self.height] * 2, np.float64)
        return np.asarray(np.minimum(box * (self.side / cells) / scale, size), np.float64)


def _inside(cells: int, start: float, end: float, extent: int) -> slice:
    """Cells of a side from `start` to `end` whose centres lie in 0..extent."""
    centres = start + (np.arange(cells) + 0.5) / cells * (end - start)
    first, last = np.searchsorted(centres, (0.0, float(extent)))
    first = min(int(first), cells - 1)
    return slice(first, max(first + 1, int(last)))


def _pixels(start: float, end: float, scale: float, count: int, cells: int) -> tuple[slice, NDArray[np.float64]]:
    """The pixels of one axis whose centres lie between `start` and `end` in frame px, and where each is in cells."""
    if not end > start:
        return slice(0, 0), np.empty(0)
    first = int(np.clip(np.ceil(start / scale - 0.5), 0, count))
    stop = int(np.clip(np.floor(end / scale - 0.5) + 1, first, count))
    centres = (np.arange(first, stop, dtype=np.float64) + 0.5) * scale
    return slice(first, stop), (centres - start) / (end - start) * cells - 0.5


def interpolated(grid: NDArray[np.float32], across: NDArray[Any], down: NDArray[Any]) -> NDArray[np.float32]:
    """Bilinear values of a grid at columns `across` and rows `down`, in cells; edges repeated.

    Two small matrix products of OpenCV: for the few hundred pixels of a window 3 to 10 times faster than
    `preprocess.bilinear`, which goes through the rows in Python. `cv2.warpAffine` would be as fast, but OpenCV
    4 rounds its positions to 1/32 of a cell (INTER_BITS), a quarter of a pixel where a cell is 8 px.
    """
    rows = cv2.gemm(_weights(down, grid.shape[0]), grid, 1.0, None, 0.0)
    return np.asarray(cv2.gemm(rows, _weights(across, grid.shape[1]), 1.0, None, 0.0, flags=cv2.GEMM_2_T))


def _weights(at: NDArray[np.float64], cells: int) -> NDArray[np.float32]:
    """float32 (places, cells): the share of each cell in the value at each place."""
    low, high, part = preprocess.between(at, cells)
    out = np.zeros((at.size, cells), np.float32)
    places = np.arange(at.size)
    out[places, low] = 1.0 - part
    out[places, high] += part
    return out
