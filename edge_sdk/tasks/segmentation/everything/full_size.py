"""One mask's logits at the picture's own pixels, only where the mask may be. Knows the frame; no threshold of a model.

segment-anything brings every mask to full size; here it is the part around it, and only of masks that are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk.preprocess import bilinear
from edge_sdk.tasks.segmentation.everything.partial_logits import cells_above
from edge_sdk.tasks.segmentation.frame import Frame, Window, interpolated
from edge_sdk.tasks.segmentation.rle import Rle

_WHOLE = 16
"""From this share of the picture on, a part is cut out of the whole: OpenCV interpolates whole planes so much faster.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """Logits of one mask in a part of the picture, float32 (h, w); x, y: the part's first column and row. Nowhere else
    is a logit above the level that the part was made for."""

    logits: NDArray[np.float32]
    x: int
    y: int


def part_above(logits: NDArray[np.float32], window: Window | None, frame: Frame, *, level: float) -> Part:
    """The part of the picture that holds all pixels whose logits are above `level`, and the logits there.

    logits: float32 (m, m), over `window` in frame px, None = the whole frame; then in the two steps of segment-anything
    (`Frame.whole_frame_logits`): bilinear to frame px, cut to the picture, bilinear to the picture's size.
    """
    x0, y0, x1, y1 = _pixels_around(logits, window, frame, level)
    columns, rows = np.arange(x0, x1), np.arange(y0, y1)
    if x0 >= x1 or y0 >= y1:
        return Part(logits=np.empty((0, 0), np.float32), x=0, y=0)
    across, down = (columns + 0.5) * frame.scale_x, (rows + 0.5) * frame.scale_y
    if window is None and _WHOLE * columns.size * rows.size >= frame.width * frame.height:
        values = np.ascontiguousarray(frame.whole_frame_logits(logits)[y0:y1, x0:x1])
    elif window is None:
        values = _two_steps(logits, frame, across - 0.5, down - 0.5)
    else:
        values = interpolated(np.ascontiguousarray(logits), *_cells(logits, window, across, down))
    return Part(logits=values, x=x0, y=y0)


def values_at(
    logits: NDArray[np.float32], window: Window | None, frame: Frame, pixels: NDArray[np.int64]
) -> NDArray[np.float32]:
    """float32 (n,): one mask's logits at the centres of pixels (x, y) of the picture, int64 (n, 2), in one step:
    bilinear between cells. Minus infinity outside the window."""
    rows, columns = logits.shape
    window = frame.whole if window is None else window
    x, y = _cells(logits, window, (pixels[:, 0] + 0.5) * frame.scale_x, (pixels[:, 1] + 0.5) * frame.scale_y)
    inside = (x >= -0.5) & (x <= columns - 0.5) & (y >= -0.5) & (y <= rows - 0.5)
    x, y = np.clip(x, 0, columns - 1), np.clip(y, 0, rows - 1)
    left, top = x.astype(np.int64), y.astype(np.int64)
    right, bottom = np.minimum(left + 1, columns - 1), np.minimum(top + 1, rows - 1)
    x, y = x - left, y - top
    upper = logits[top, left] * (1 - x) + logits[top, right] * x
    lower = logits[bottom, left] * (1 - x) + logits[bottom, right] * x
    return np.where(inside, upper * (1 - y) + lower * y, -np.inf).astype(np.float32)


def _cells(
    logits: NDArray[np.float32], window: Window, x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Column and row of cells, counted from their centres, of places in frame px."""
    rows, columns = logits.shape
    return (
        (x - window[0]) / (window[2] - window[0]) * columns - 0.5,
        (y - window[1]) / (window[3] - window[1]) * rows - 0.5,
    )


def _two_steps(
    logits: NDArray[np.float32], frame: Frame, across: NDArray[np.floating[Any]], down: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """across, down: columns and rows of the frame, counted from the centres of its pixels."""
    x0, x1 = _neighbours(across, frame.extent_width)
    y0, y1 = _neighbours(down, frame.extent_height)
    columns, rows = np.arange(x0, x1), np.arange(y0, y1)
    patch = _frame_part(logits, frame, columns, rows)
    if np.array_equal(across, columns) and np.array_equal(down, rows):  # the picture has the size of its extent
        return patch
    return interpolated(np.ascontiguousarray(patch), across - x0, down - y0)


def _frame_part(
    logits: NDArray[np.float32], frame: Frame, columns: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Logits at consecutive pixels of the frame."""
    ratio, uneven = divmod(frame.side, logits.shape[0])
    if uneven:
        return bilinear(logits, *_cells(logits, frame.whole, columns + 0.5, rows + 0.5))
    # OpenCV does it five times as fast, of whole cells and with one more on each side to interpolate with.
    left, top = max(0, columns[0] // ratio - 1), max(0, rows[0] // ratio - 1)
    cells = np.ascontiguousarray(logits[top : rows[-1] // ratio + 2, left : columns[-1] // ratio + 2])
    size = (cells.shape[1] * ratio, cells.shape[0] * ratio)
    grown: NDArray[np.float32] = cv2.resize(cells, size, interpolation=cv2.INTER_LINEAR)
    x, y = columns[0] - left * ratio, rows[0] - top * ratio
    return grown[y : y + len(rows), x : x + len(columns)]


def _neighbours(places: NDArray[np.floating[Any]], count: int) -> tuple[int, int]:
    """First and end of the pixels, of `count`, between which all places lie; beyond the rim its pixel is repeated."""
    first, last = np.clip((np.floor(places[0]), np.ceil(places[-1])), 0, count - 1)
    return int(first), int(last) + 1


def _pixels_around(
    logits: NDArray[np.float32], window: Window | None, frame: Frame, level: float
) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 in px of the picture, ends exclusive: what cells above `level` can reach by interpolation."""
    x0, y0, x1, y1 = frame.whole if window is None else window
    left, top, right, bottom = cells_above(logits, frame.valid(logits.shape[0], window), level=level)
    if right == left:
        return (0, 0, 0, 0)
    cell = np.array([x1 - x0, y1 - y0]) / logits.shape[::-1]
    corners = (x0, y0) + np.array([[left, top], [right, bottom]]) * cell
    corners += np.array([[-1.0], [1.0]]) * (cell + 1.0)  # a cell of interpolation, then a pixel of the frame
    if window is not None:  # outside it nothing is said of the mask
        corners = np.clip(corners, (x0, y0), (x1, y1))
        corners = np.array([[-0.5], [-0.5]]) + corners / (frame.scale_x, frame.scale_y)
        low, high = np.ceil(corners[0]), np.floor(corners[1]) + 1
    else:
        corners = corners / (frame.scale_x, frame.scale_y)
        low, high = np.floor(corners[0]), np.ceil(corners[1])
    size = (frame.width, frame.height)
    (px0, py0), (px1, py1) = np.clip(low, 0, size), np.clip(high, 0, size)
    return int(px0), int(py0), int(px1), int(py1)


def encode_part(mask: NDArray[np.bool_], x: int, y: int, *, width: int, height: int) -> Rle:
    """The runs of a mask that lies in a picture of width x height px with its first column and row at x, y.

    As `rle.encode` of the whole, for the price of the part.
    """
    if not mask.size:
        return Rle(height=height, width=width, counts=np.array([width * height], np.int64))
    # OpenCV transposes eight times as fast as numpy. Each column gets a zero at its end, so that no run goes beyond it.
    columns = cv2.copyMakeBorder(cv2.transpose(mask.view(np.uint8)), 0, 0, 0, 1, cv2.BORDER_CONSTANT, value=0)
    flat, length = columns.ravel(), mask.shape[0] + 1
    steps = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[0]:
        steps = np.concatenate([[0], steps])
    placed = (x + steps // length) * height + y + steps % length
    starts, ends = placed[0::2], placed[1::2]
    apart = starts[1:] != ends[:-1]  # a run that goes on at the top of the next column is one
    starts, ends = starts[np.append(True, apart)[: len(starts)]], ends[np.append(apart, True)[: len(ends)]]
    borders = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(borders, prepend=0, append=width * height)
    if len(counts) > 1 and counts[-1] == 0:  # the last run is of ones
        counts = counts[:-1]
    return Rle(height=height, width=width, counts=counts.astype(np.int64))
