"""Golden samples of an anomaly bundle: two good parts, and one damaged on purpose. Knows no network."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import CheckFailed
from edge_sdk.export.anomaly.data import AnomalyData, AnomalyTrained
from edge_sdk.export.tasks.base import Golden
from edge_sdk.tasks.images import stored_picture

SIDE = 640
"""Longest side of a stored golden picture, px: enough to exercise decode and resize, small enough to travel."""
DAMAGED = "damaged on purpose"


def golden(data: AnomalyData, trained: AnomalyTrained, record: Preprocessing) -> list[Golden]:
    """The first and the last held-out good part, and the first with a strip moved and turned, so that its map has a
    peak."""
    first, second = (data.store.source(p.path, record) for p in (trained.held_out[0], trained.held_out[-1]))
    return [sample("good", first), sample("good", second), sample(DAMAGED, damaged(first))]


def sample(label: str, rgb: NDArray[np.uint8]) -> Golden:
    """A picture as a user would give it: encoded, RGB uint8 (H, W, 3), at most SIDE px a side."""
    return Golden(source=stored_picture(png(shrunk(rgb))), label=label)


def damaged(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy with a turned, inverted patch in its middle."""
    out: NDArray[np.uint8] = rgb.copy()
    h, w = out.shape[0] // 5, out.shape[1] // 5
    y, x = 2 * out.shape[0] // 5, 2 * out.shape[1] // 5
    out[y : y + h, x : x + w] = 255 - rgb[y : y + h, x : x + w][::-1, ::-1]
    return out


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
