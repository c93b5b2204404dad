"""Prompts made of a true mask, and how well a mask agrees with it: the protocol of the evaluation. Knows arrays."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput
from edge_sdk.tasks.segmentation.everything import boxes
from edge_sdk.tasks.segmentation.frame import Frame, Window

SAMPLES = 4
"""A side of a cell, where a mask is brought to a grid."""


def box_of(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """float64 (4,): [min x, min y, max x + 1, max y + 1], px. SAM's own boxes of masks lack the + 1.

    Raises BadInput for an empty mask.
    """
    found = np.array(boxes.box_of(mask), np.float64)
    if not found.any():
        raise BadInput("an empty mask has no box")
    return found


def innermost(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """float64 (2,): x and y of the pixel of the mask that is furthest from every pixel outside it; what is beyond the
    picture is outside. Of several the first, row by row."""
    x0, y0, x1, y1 = box_of(mask).astype(int)
    cut = np.ascontiguousarray(mask[y0:y1, x0:x1]).astype(np.uint8)
    padded = cv2.copyMakeBorder(cut, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), cut.shape)
    return np.array([x0 + x, y0 + y], np.float64)


def on_grid(mask: NDArray[np.bool_], frame: Frame, window: Window | None, cells: int) -> NDArray[np.float32]:
    """float32 (cells, cells): the best that a grid can say of a mask, bool (H, W): 1 where it fills a cell, -1 where it
    is not in it, its share in between; by SAMPLES x SAMPLES samples a cell. window: as of `Frame.place`."""
    x0, y0, x1, y1 = frame.whole if window is None else window
    steps = (np.arange(cells * SAMPLES) + 0.5) / (cells * SAMPLES)
    xs = np.floor((x0 + steps * (x1 - x0)) / frame.scale_x).astype(np.int64)
    ys = np.floor((y0 + steps * (y1 - y0)) / frame.scale_y).astype(np.int64)
    across, down = (xs >= 0) & (xs < frame.width), (ys >= 0) & (ys < frame.height)
    seen = np.zeros((ys.size, xs.size), np.float32)
    seen[np.ix_(down, across)] = mask[np.ix_(ys[down], xs[across])]
    shares = seen.reshape(cells, SAMPLES, cells, SAMPLES).mean(axis=(1, 3))
    return np.asarray(2.0 * shares - 1.0, np.float32)


def iou(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union, 0..1; of two empty masks 1."""
    union = int(np.count_nonzero(mask | truth))
    return int(np.count_nonzero(mask & truth)) / union if union else 1.0


def controls(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """IoU of two answers that need no network: the whole box of the mask, and the ellipse inside that box."""
    x0, y0, x1, y1 = box_of(mask).astype(int)
    cut = mask[y0:y1, x0:x1]  # both answers lie in the box
    return float(cut.mean()), iou(ellipse(*cut.shape), cut)


def ellipse(height: int, width: int) -> NDArray[np.bool_]:
    """bool (height, width): the pixels whose centres lie in the ellipse inside the whole."""
    across = (np.arange(width) + 0.5) / width * 2 - 1
    down = (np.arange(height)[:, None] + 0.5) / height * 2 - 1
    return np.asarray(across**2 + down**2 <= 1.0)
