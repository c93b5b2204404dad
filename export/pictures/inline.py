"""Pictures inside a page: as data addresses, no larger than a reader looks at. Knows no task and no HTML."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess

SIDE = 480
"""Longest side of a picture on the page, px."""
_QUALITY = 84


def shrunk(rgb: NDArray[np.uint8], side: int = SIDE) -> NDArray[np.uint8]:
    """uint8 (h, w, 3): the picture, its longest side at most `side` px."""
    scale = side / max(rgb.shape[:2])
    if scale >= 1:
        return rgb
    return preprocess.resize(rgb, round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))


def data_uri(rgb: NDArray[np.uint8]) -> str:
    """A JPEG file of uint8 (H, W, 3) RGB as the address of an image."""
    data = cv2.imencode(".jpg", rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
