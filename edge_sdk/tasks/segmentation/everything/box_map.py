"""Where an encoder says that objects are: a box guessed in each cell of a map, and which of them to ask about. Knows
numbers; no decoder, no mask.

A guess is worth asking about where others agree with it: in all cells of one object the encoder guesses the same box,
between objects and on a ground each cell guesses another. So a box is compared with those that are guessed inside it.
An object need not fill its box, so only the share of them that agrees best counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_sdk.tasks.segmentation.everything.boxes import Suppression
from edge_sdk.tasks.segmentation.frame import Frame
from edge_sdk.tasks.segmentation.settings import BoxMap
from edge_sdk.tensors import Array

ACROSS = 5
"""Guesses that a box is compared with along each of its sides."""
AGREEING = ACROSS**2 // 3
"""Of them, those that agree best count: a diagonal tool fills a third of its box."""
SAME_IOU = 0.7
"""Of boxes that overlap by more, one is asked about: they are of one object."""


@dataclass(frozen=True, slots=True, eq=False)
class Proposals:
    """What to ask, the best first. points: float64 (n, 2), x and y in px of the picture, where an integer is the centre
    of a pixel. agreement: float64 (n,), 0 to 1, how much the guesses inside each box agree with it."""

    points: NDArray[np.float64]
    agreement: NDArray[np.float64]


def proposals(values: Array, boxes: BoxMap, frame: Frame, *, most: int, agreement: float = 0.0) -> Proposals:
    """At most `most` cells of the map whose boxes have at least this agreement, and are not of one object.

    values: float32 (1, 4, n, n), the encoder's output as `boxes` describes it.
    """
    guesses = _Guesses(values[0], boxes, frame)
    rows, columns = frame.valid(values.shape[-1])
    grid = np.stack(np.meshgrid(np.arange(columns.start, columns.stop), np.arange(rows.start, rows.stop)), axis=-1)
    centres = (grid.reshape(-1, 2) + 0.5) * guesses.cell_px
    found = guesses.at(centres)
    agreeing = guesses.agreement(found)
    walk, chosen = Suppression(found, agreeing, SAME_IOU), list[int]()
    for index in walk:
        if len(chosen) == most or agreeing[index] < agreement:
            break
        chosen.append(index)
        walk.keep()
    points = centres[chosen] / (frame.scale_x, frame.scale_y) - 0.5
    inside = np.clip(points, 0.0, np.array([frame.width - 1, frame.height - 1], np.float64))
    return Proposals(points=inside, agreement=agreeing[chosen])


class _Guesses:
    """Boxes that a map (4, n, n) of one picture guesses, px of the frame."""

    def __init__(self, values: Array, boxes: BoxMap, frame: Frame) -> None:
        self._logs = np.clip(np.moveaxis(values, 0, -1).astype(np.float64), boxes.least, boxes.most)
        self._frame = frame
        self.cell_px = frame.side / values.shape[-1]

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Boxes (..., 4) at points (..., 2), cut to the picture. Distances are interpolated between cells, as their
        logarithms."""
        last = len(self._logs) - 1
        cells = np.clip(points / self.cell_px - 0.5, 0, last)
        low = np.minimum(cells.astype(np.int64), max(last - 1, 0))
        high = np.minimum(low + 1, last)
        (x0, y0), (x1, y1) = np.moveaxis(low, -1, 0), np.moveaxis(high, -1, 0)
        across, down = np.moveaxis((cells - low)[..., None], -2, 0)
        upper = self._logs[y0, x0] * (1 - across) + self._logs[y0, x1] * across
        lower = self._logs[y1, x0] * (1 - across) + self._logs[y1, x1] * across
        distances = np.exp(upper * (1 - down) + lower * down) * self._frame.side
        ends = np.concatenate([points - distances[..., :2], points + distances[..., 2:]], axis=-1)
        reach = np.tile(self._frame.extent[::-1], 2)
        return np.asarray(np.clip(ends, 0.0, reach), np.float64)

    def agreement(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 (n,): mean IoU of each of (n, 4) boxes with those AGREEING guesses inside it that overlap it most."""
        along = (np.arange(ACROSS) + 0.5) / ACROSS
        places = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)
        sides = boxes[:, None, 2:] - boxes[:, None, :2]
        others = self.at(boxes[:, None, :2] + places * sides)
        overlap = np.minimum(boxes[:, None, 2:], others[..., 2:]) - np.maximum(boxes[:, None, :2], others[..., :2])
        shared = np.clip(overlap, 0.0, None).prod(-1)
        both = sides.prod(-1) + (others[..., 2:] - others[..., :2]).prod(-1) - shared
        ious = np.divide(shared, both, out=np.zeros_like(shared), where=both > 0)
        return np.asarray(np.sort(ious, axis=1)[:, -AGREEING:].mean(1), np.float64)
