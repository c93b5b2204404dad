"""Golden samples that are pictures, as a user would give them: encoded, and small enough to travel. Knows no task."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.errors import CheckFailed
from edge_sdk.export.tasks.base import Golden
from edge_sdk.tasks.images import stored_picture

SIDE = 640
"""Longest side of a stored golden picture, px: enough to exercise decode and resize, small enough to travel."""


def sample(label: str, rgb: NDArray[np.uint8]) -> Golden:
    """A picture as a user would give it: encoded, RGB uint8 (H, W, 3), at most SIDE px a side."""
    return Golden(source=stored_picture(png(shrunk(rgb))), label=label)


def shrunk(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture, brought down to SIDE px if it is larger."""
    scale = SIDE / max(rgb.shape[:2])
    if scale >= 1.0:
        return rgb
    return preprocess.resize(rgb, max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))


def png(rgb: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG."""
    ok, data = cv2.imencode(".png", rgb[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not ok:
        raise CheckFailed("OpenCV could not write a PNG", hint="Reinstall opencv-python-headless")
    return bytes(data)
