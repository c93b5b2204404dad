"""Boxes: of masks, against each other, and at the rim of a crop. Knows numbers; no picture, no network.

A box is (x0, y0, x1, y1) with exclusive ends: a mask of one pixel has a box of area 1. segment-anything's boxes end in
the last pixel, so that one of a single row or column has no area and suppresses nothing.
"""

from __future__ import annotations

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
    return np.divide(shared, both, out=np.zeros(len(boxes)), where=both > 0)


def area(boxes: NDArray[Any]) -> NDArray[np.float64]:
    """float64 (n,): area of each of (n, 4) boxes."""
    sides: NDArray[np.float64] = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    return sides.prod(axis=1)


def suppress(boxes: NDArray[Any], scores: NDArray[Any], threshold: float) -> NDArray[np.int64]:
    """int64: which of (n, 4) boxes stay, best score first, equal scores in their order.

    Greedy: each box that stays removes those after it that it overlaps by more than `threshold` (torchvision's `nms`).
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    stays = np.ones(len(order), np.bool_)
    ranked = boxes[order]
    for at in range(len(order)):
        if stays[at]:
            stays[at + 1 :] &= overlaps(ranked[at], ranked[at + 1 :]) <= threshold
    return order[stays].astype(np.int64)


def near_crop_rim(
    boxes: NDArray[Any], crop: tuple[int, int, int, int], width: int, height: int, *, within: float = RIM_PX
) -> NDArray[np.bool_]:
    """bool (n,): which boxes come within `within` px of a side of `crop` that is no side of the picture.

    boxes: (n, 4) in the crop's pixels. crop: in the picture's, which is width x height px. A box near both is not cut
    by the crop: what it shows ends with the picture. As `is_box_near_crop_edge`, whose boxes end in the last pixel.
    """
    x0, y0 = crop[:2]
    placed = boxes.astype(np.float64) + (x0, y0, x0, y0)
    by_crop = np.abs(placed - np.array(crop, np.float64)) <= within
    by_picture = np.abs(placed - np.array([0, 0, width, height], np.float64)) <= within
    near: NDArray[np.bool_] = (by_crop & ~by_picture).any(axis=1)
    return near
