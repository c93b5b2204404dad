"""Outlines of a mask as polygons, and back. Knows arrays; no picture, no prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Polygon:
    """One connected piece of a mask. outer: float64 (P, 2), x and y in px, P >= 1: pixel centres along its outermost
    pixels, in order, not closed. inner: the same around each gap inside it, along the mask's pixels at its edge."""

    outer: NDArray[np.float64]
    inner: tuple[NDArray[np.float64], ...] = ()


def polygons_of(mask: NDArray[np.bool_]) -> tuple[Polygon, ...]:
    """The pieces of one mask, bool (H, W), 8-connected, largest first by the length of their outline."""
    contours, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if tree is None:
        return ()
    points = [contour.reshape(-1, 2).astype(np.float64) for contour in contours]
    parents = tree[0, :, 3]
    found = [
        Polygon(outer=points[i], inner=tuple(points[j] for j in np.flatnonzero(parents == i)))
        for i in np.flatnonzero(parents < 0)
    ]
    return tuple(sorted(found, key=lambda one: -len(one.outer)))


def mask_of(polygons: Sequence[Polygon], height: int, width: int) -> NDArray[np.bool_]:
    """The mask (height, width) of polygons, outlines included; of what `polygons_of` gave, the mask that it was given.

    Raises BadInput for a size below 1.
    """
    if height < 1 or width < 1:
        raise BadInput(f"a mask of {width} x {height} px", hint="State the size of the picture")
    out = np.zeros((height, width), np.uint8)
    for one in polygons:
        piece = np.zeros_like(out)
        cv2.fillPoly(piece, [_corners(one.outer)], 1)
        for ring in one.inner:
            gap = np.zeros_like(out)
            cv2.fillPoly(gap, [_corners(ring)], 1)
            cv2.polylines(gap, [_corners(ring)], isClosed=True, color=0)  # the ring itself lies on the mask's pixels
            piece[gap == 1] = 0
        out |= piece
    return out.astype(np.bool_)


def _corners(points: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.rint(points).astype(np.int32).reshape(-1, 1, 2)
