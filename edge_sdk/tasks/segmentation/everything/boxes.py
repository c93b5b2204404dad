"""Boxes: of masks, against each other, and at the rim of a crop. Knows numbers; no picture, no network.

A box is (x0, y0, x1, y1) with exclusive ends: a mask of one pixel has a box of area 1. segment-anything's boxes end in
the last pixel, so that one of a single row or column has no area and suppresses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

RIM_PX = 20.0
"""How near to the rim of a crop a mask is taken to be cut by it, px. segment-anything, `is_box_near_crop_edge`."""


def box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The box of one mask, bool (H, W); 0, 0, 0, 0 of an empty one."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not columns.size:
        return (0, 0, 0, 0)
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def overlaps(box: NDArray[Any], boxes: NDArray[Any]) -> NDArray[np.float64]:
    """float64 (n,): intersection over union of one box (4,) with each of (n, 4); 0 where both have no area."""
    box, boxes = box.astype(np.float64), boxes.astype(np.float64)
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.clip(sides, 0.0, None).prod(axis=1)
    both = area(boxes) + area(box[None])[0] - shared
    return np.asarray(np.divide(shared, both, out=np.zeros(len(boxes)), where=both > 0), np.float64)


def area(boxes: NDArray[Any]) -> NDArray[np.float64]:
    """float64 (n,): area of each of (n, 4) boxes."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), np.float64)


class Suppression:
    """Greedy suppression, one box at a time: iterate over indices of (n, 4) boxes, best score first and equal scores in
    their order, and `keep` those that stay. Boxes that one of those overlaps by more than `overlap` are left out.

    What is known to suppress nothing can so be found out late, of the few boxes that are reached.
    """

    def __init__(self, boxes: NDArray[Any], scores: NDArray[Any], overlap: float) -> None:
        self._order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
        self._boxes = np.asarray(boxes, np.float64).reshape(-1, 4)[self._order]
        self._overlap, self._at = overlap, -1
        self._stands = np.ones(len(self._order), np.bool_)

    def __iter__(self) -> Iterator[int]:
        for at, index in enumerate(self._order.tolist()):
            if self._stands[at]:
                self._at = at
                yield index

    def keep(self) -> None:
        """The box that iteration gave last stays: leave out what it overlaps from here on."""
        rest = self._at + 1 + np.flatnonzero(self._stands[self._at + 1 :])
        self._stands[rest] = overlaps(self._boxes[self._at], self._boxes[rest]) <= self._overlap

    def upcoming(self) -> Iterator[int]:
        """Indices that iteration will give from here on if nothing more is kept, the last one given among them."""
        first = max(0, self._at)
        return iter(self._order[first:][self._stands[first:]].tolist())


def suppress(boxes: NDArray[Any], scores: NDArray[Any], overlap: float) -> NDArray[np.int64]:
    """int64: which of (n, 4) boxes stay, best score first, equal scores in their order. Each box that stays removes
    those after it that it overlaps by more than `overlap`, as torchvision's `nms`."""
    walk, stay = Suppression(boxes, scores, overlap), []
    for index in walk:
        stay.append(index)
        walk.keep()
    return np.array(stay, np.int64)


def near_crop_rim(
    boxes: NDArray[Any], crop: tuple[int, int, int, int], width: int, height: int, *, within: float = RIM_PX
) -> NDArray[np.bool_]:
    """bool (n,): which boxes come within `within` px of a side of `crop` that is no side of the picture.

    boxes: (n, 4) in the crop's pixels. crop: in the picture's, which is width x height px. A box near both is not cut
    by the crop: what it shows ends with the picture. As `is_box_near_crop_edge`, whose boxes end in the last pixel.
    """
    x0, y0 = crop[:2]
    placed = boxes.astype(np.float64) + np.array([x0, y0, x0 - 1, y0 - 1])
    by_crop = np.abs(placed - np.array(crop, np.float64)) <= within
    by_picture = np.abs(placed - np.array([0, 0, width, height], np.float64)) <= within
    return np.asarray((by_crop & ~by_picture).any(axis=1), np.bool_)
