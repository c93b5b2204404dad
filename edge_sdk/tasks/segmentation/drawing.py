"""A picture with masks laid over it. Knows pixels, no result."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_COVER = 0.45
"""Share of the colour inside a mask; the picture shows through the rest."""
_GOLDEN = 0.618033988749895
"""Steps of the hue: neighbours differ, and no number of masks makes the colours repeat early."""


def colour_of(index: int) -> tuple[int, int, int]:
    """RGB of mask `index`, the same in every drawing."""
    red, green, blue = colorsys.hsv_to_rgb((0.58 + index * _GOLDEN) % 1.0, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def with_masks(picture: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB. picture: uint8 (H, W, 3) RGB. masks: bool (H, W) each; smaller ones are drawn last."""
    out = picture.copy()
    thick = max(1, round(max(out.shape[:2]) / 400))
    for index in sorted(range(len(masks)), key=lambda index: -np.count_nonzero(masks[index])):
        mask, colour = masks[index], colour_of(index)
        out[mask] = np.rint(out[mask] * (1 - _COVER) + np.array(colour) * _COVER)
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(out, outlines, -1, colour, thick)
    return out
