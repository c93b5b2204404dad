"""A picture with labelled masks laid over it. Knows pixels and labels, no result."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

_COVER = 0.45
"""Share of the colour inside a mask; the picture shows through the rest."""
_GOLDEN = 0.618033988749895
"""Steps of the hue: neighbours differ, and no number of masks makes the colours repeat early."""
_LINES = 600
"""Of the width of the lines in the longest side: 1 px below 900 px."""


def colour_of(index: int) -> tuple[int, int, int]:
    """RGB of mask `index`, the same in every drawing."""
    red, green, blue = colorsys.hsv_to_rgb((0.58 + index * _GOLDEN) % 1.0, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def with_labels(picture: NDArray[np.uint8], labels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB: the picture with the colour of each label over it, and a line inside its edge. picture:
    uint8 (H, W, 3) RGB. labels: (H, W), 0 = none, i = mask i - 1."""
    colours = np.array([(0, 0, 0), *(colour_of(index) for index in range(int(labels.max())))], np.uint8)
    tint = colours[labels]
    rims = _rims(labels)
    inside = ((labels > 0) & ~rims)[:, :, None]
    out = np.where(inside, cv2.addWeighted(picture, 1.0 - _COVER, tint, _COVER, 0.0), picture)
    out[rims] = tint[rims]
    return np.asarray(out, np.uint8)


def _rims(labels: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """bool (H, W): labelled pixels with another label beside, above or below them, or near, in large pictures."""
    rims = np.zeros(labels.shape, np.bool_)
    across, down = labels[:, :-1] != labels[:, 1:], labels[:-1] != labels[1:]
    rims[:, :-1] |= across
    rims[:, 1:] |= across
    rims[:-1] |= down
    rims[1:] |= down
    thick = round(max(labels.shape) / _LINES)
    if thick > 1:
        side = 2 * thick - 1
        rims = cv2.dilate(rims.view(np.uint8), np.ones((side, side), np.uint8)).view(np.bool_)
    return np.asarray(rims & (labels > 0))
