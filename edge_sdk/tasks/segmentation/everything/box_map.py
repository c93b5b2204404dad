"""Where an encoder says that objects are: a box guessed in each cell of a map, and which of them to prompt. Knows
numbers; no decoder, no mask.

A guess is worth a prompt where others agree with it: in all cells of one object the encoder guesses the same box,
between objects and on a ground each cell guesses another. So a box is compared with those that are guessed inside it.
An object need not fill its box, so only the share of them that agrees best counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import CheckFailed
from edge_sdk.tasks.segmentation.everything.boxes import Suppression
from edge_sdk.tasks.segmentation.everything.search_prompts import SearchPrompts
from edge_sdk.tasks.segmentation.frame import Frame
from edge_sdk.tasks.segmentation.settings import BoxMap
from edge_sdk.tensors import Array

ACROSS = 5
"""Guesses that a box is compared with along each of its sides."""
AGREEING = ACROSS**2 // 3
"""Of them, those that agree best count: a diagonal tool fills a third of its box."""
SAME_IOU = 0.75
"""Of boxes that overlap by more, one is prompted: they are of one object. On training pictures more finds fewer objects
with the same number of boxes, and less fewer of the segments of BSDS500's photographs, which overlap."""


@dataclass(frozen=True, slots=True, eq=False)
class Proposals:
    """What to prompt, the best first. prompts: boxes in the picture, and the cell that guessed each, px of the picture,
    where an integer is the centre of a pixel.

    agreement: float32 (n,), 0 to 1, how much the guesses inside each box agree with it."""

    prompts: SearchPrompts
    agreement: NDArray[np.float32]


def proposals(values: Array, box_map: BoxMap, frame: Frame, *, most: int, agreement: float = 0.0) -> Proposals:
    """At most `most` boxes of the map that have at least this agreement, and are not of one object; where none has it,
    the one with the highest.

    values: float32 (1, 4, n, n), the encoder's output as `box_map` describes it. Raises CheckFailed where it holds NaN.
    """
    if np.isnan(values).any():
        raise CheckFailed(
            f"the encoder answered {box_map.output} that hold NaN", hint="Run edge-sdk verify on this device"
        )
    guesses = _Guesses(values[0], box_map, frame)
    rows, columns = frame.valid(values.shape[-1])
    grid = np.stack(np.meshgrid(np.arange(columns.start, columns.stop), np.arange(rows.start, rows.stop)), axis=-1)
    starts = grid.reshape(-1, 2) * guesses.cell_px
    # Of the part of a cell that the picture covers: a thin one ends before the middle of its only cells.
    centres = (starts + np.minimum(starts + guesses.cell_px, frame.extent[::-1])) / 2
    found = guesses.at(centres)
    agreeing = guesses.agreement(found)
    walk, chosen = Suppression(found, agreeing, SAME_IOU), list[int]()
    for index in walk:
        if len(chosen) == most or (chosen and agreeing[index] < agreement):
            break
        chosen.append(index)
        walk.keep()
    scale, size = np.array([frame.scale_x, frame.scale_y]), np.array([frame.width, frame.height], np.float64)
    points = np.clip(centres[chosen] / scale - 0.5, 0.0, size - 1.0)
    boxes = np.clip(found[chosen] / np.tile(scale, 2), 0.0, np.tile(size, 2))
    return Proposals(prompts=SearchPrompts(points, boxes), agreement=agreeing[chosen])


class _Guesses:
    """Boxes that a map (4, n, n) of one picture guesses, px of the frame."""

    def __init__(self, values: Array, box_map: BoxMap, frame: Frame) -> None:
        logs = np.clip(np.moveaxis(values, 0, -1), np.float32(box_map.least), np.float32(box_map.most))
        self._cells = values.shape[-1]
        self._logs = np.ascontiguousarray(logs.reshape(-1, 4), np.float32)
        self._side, self._reach = np.float32(frame.side), np.tile(frame.extent[::-1], 2)
        self.cell_px = frame.side / self._cells

    def at(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Boxes (..., 4) at points (..., 2), cut to the picture. Distances are interpolated between cells, as their
        logarithms."""
        points, last = np.asarray(points, np.float32), self._cells - 1
        cells = np.clip(points / np.float32(self.cell_px) - np.float32(0.5), 0, last)
        low = np.minimum(cells.astype(np.intp), max(last - 1, 0))
        part = cells - low.astype(np.float32)
        across, down = part[..., :1], part[..., 1:]
        first, right, below = low[..., 1] * self._cells + low[..., 0], min(1, last), min(1, last) * self._cells
        upper = self._between(first, first + right, across)
        lower = self._between(first + below, first + below + right, across)
        distances = np.exp(upper + (lower - upper) * down) * self._side
        distances[..., :2] *= -1.0
        ends = np.concatenate([points, points], axis=-1) + distances
        return np.asarray(np.clip(ends, 0.0, self._reach, out=ends), np.float32)

    def _between(
        self, one: NDArray[np.intp], other: NDArray[np.intp], part: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        start = self._logs.take(one, axis=0)
        return np.asarray(start + (self._logs.take(other, axis=0) - start) * part, np.float32)

    def agreement(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (n,): mean IoU of each of (n, 4) boxes with those AGREEING guesses inside it that overlap it most."""
        along = (np.arange(ACROSS, dtype=np.float32) + 0.5) / ACROSS
        places = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)
        boxes = boxes[:, None]
        sides = boxes[..., 2:] - boxes[..., :2]
        others = self.at(boxes[..., :2] + places * sides)
        overlap = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2])
        shared = np.clip(overlap[..., 0], 0.0, None) * np.clip(overlap[..., 1], 0.0, None)
        theirs = others[..., 2:] - others[..., :2]
        both = sides[..., 0] * sides[..., 1] + theirs[..., 0] * theirs[..., 1] - shared
        ious = np.divide(shared, both, out=np.zeros_like(shared), where=both > 0)
        ious.partition(ACROSS**2 - AGREEING, axis=1)
        return np.asarray(ious[:, -AGREEING:].mean(1), np.float32)
