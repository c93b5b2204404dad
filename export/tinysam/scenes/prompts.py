"""Prompts drawn from masks: boxes with jitter, points inside. Knows no network and no picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def box_of(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(x0, y0, x1, y1) in px, continuous: from the outer edge of the first column and row to that of the last."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def jittered(rng: np.random.Generator, box: NDArray[np.float32], *, most: float = 0.08) -> NDArray[np.float32]:
    """Each side moved by up to `most` of the box's width or height."""
    sides = np.maximum(box[2:] - box[:2], 1.0)
    return box + (rng.uniform(-most, most, 4) * np.tile(sides, 2)).astype(np.float32)


def innermost(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(x, y) of the pixel farthest from the mask's outside, the picture's rim included."""
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return np.array([x, y], np.float32)


def anywhere(rng: np.random.Generator, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(x, y) of a pixel of the mask, each as likely."""
    ys, xs = np.nonzero(mask)
    k = int(rng.integers(len(ys)))
    return np.array([xs[k], ys[k]], np.float32)
