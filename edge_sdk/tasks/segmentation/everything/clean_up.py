"""Small gaps in a mask and small islands beside it: filled and removed. Knows one mask; no picture, no network."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_CONNECTIVITY = 8
"""Pixels that touch at a corner are one region, as in segment-anything's `remove_small_regions`."""


def without_small_regions(mask: NDArray[np.bool_], area_px: int) -> tuple[NDArray[np.bool_], bool]:
    """The mask, bool (H, W), with gaps filled and islands removed that have less than `area_px` pixels; whether that
    changed anything. The mask given is not written to."""
    filled, gaps = fill_gaps(mask, area_px)
    cleaned, islands = remove_islands(filled, area_px)
    return cleaned, gaps or islands


def fill_gaps(mask: NDArray[np.bool_], area_px: int) -> tuple[NDArray[np.bool_], bool]:
    """The mask with every 8-connected region of its background filled that has less than `area_px` pixels.

    The largest one is no gap if it reaches the picture's rim: segment-anything fills it too where `area_px` is larger
    than the background, and answers the whole picture.
    """
    count, labels, sizes = _regions(~mask)
    small = sizes < area_px
    if count and small.any():
        largest = 1 + int(np.argmax(sizes[1:]))
        rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        small[largest] &= not (rim == largest).any()
    small[0] = False
    return (mask | small[labels], True) if small.any() else (mask, False)


def remove_islands(mask: NDArray[np.bool_], area_px: int) -> tuple[NDArray[np.bool_], bool]:
    """The mask without its 8-connected regions of less than `area_px` pixels; if all are small the largest stays."""
    count, labels, sizes = _regions(mask)
    small = sizes < area_px
    small[0] = False
    if count and small[1:].all():
        small[1 + int(np.argmax(sizes[1:]))] = False
    return (mask & ~small[labels], True) if small.any() else (mask, False)


def _regions(mask: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32], NDArray[Any]]:
    """Number of regions, labels int32 (H, W) with 0 outside them, and pixels by label."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=_CONNECTIVITY)
    return count - 1, labels, stats[:, cv2.CC_STAT_AREA]
