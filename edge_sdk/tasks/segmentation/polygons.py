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
        outer = _corners(one.outer)
        (x0, y0), (x1, y1) = outer.min(axis=0), outer.max(axis=0) + 1
        x0, y0, x1, y1 = max(0, x0), max(0, y0), min(width, x1), min(height, y1)
        if x0 < x1 and y0 < y1:  # the rest of the picture needs no look
            rings = [_corners(ring) - (x0, y0) for ring in one.inner]
            out[y0:y1, x0:x1] |= _piece(outer - (x0, y0), rings, (y1 - y0, x1 - x0))
    return out.view(np.bool_)


def _piece(outer: NDArray[np.int32], rings: Sequence[NDArray[np.int32]], size: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 0 or 1: one outline filled, less the gaps inside it. The ring around a gap lies on the mask's pixels."""
    piece = np.zeros(size, np.uint8)
    cv2.fillPoly(piece, [outer.astype(np.int32)], 1)
    for ring in rings:
        gap = np.zeros(size, np.uint8)
        cv2.fillPoly(gap, [ring.astype(np.int32)], 1)
        cv2.polylines(gap, [ring.astype(np.int32)], isClosed=True, color=0)
        piece[gap == 1] = 0
    return piece


def _corners(points: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.rint(points).astype(np.int32).reshape(-1, 2)
