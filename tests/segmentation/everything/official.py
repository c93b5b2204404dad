"""What the official code of everything mode answers: recorded numbers, the maps they were made of, and its rules where
the product's differ. official.json: of segment-anything dca509f and TinySAM 11589bc, with weights made by rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

RECORDED: dict[str, Any] = json.loads((Path(__file__).with_name("official.json")).read_text("utf-8"))
EVERYTHING: dict[str, Any] = RECORDED["everything"]
HEIGHT, WIDTH = EVERYTHING["synthetic"]["h"], EVERYTHING["synthetic"]["w"]


def logits() -> NDArray[np.float32]:
    """float32 (12, 96, 128): ten ellipses, an empty map and a checkerboard."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.int64)
    maps = []
    for cy, cx, a, b in EVERYTHING["synthetic"]["ellipses_cy_cx_a_b"]:
        inside = a * a * b * b - (y - cy) ** 2 * b * b - (x - cx) ** 2 * a * a
        maps.append(np.clip((64 * inside) // (a * a * b), -4096, 4096) / 64)
    maps += [np.full((HEIGHT, WIDTH), -5.0), np.where((x // 16 + y // 16) % 2 == 0, 0.5, -0.5)]
    return np.stack(maps).astype(np.float32)


def inclusive(boxes: NDArray[Any]) -> NDArray[Any]:
    """The official form of (n, 4) boxes: their ends are the last pixel; 0, 0, 0, 0 of an empty mask."""
    return np.where((boxes[:, 2:] > boxes[:, :2]).all(axis=1)[:, None], boxes - (0, 0, 1, 1), 0)


def exclusive() -> NDArray[np.int64]:
    """int64 (12, 4): the recorded boxes in the product's form."""
    return np.array(EVERYTHING["boxes"]) + np.array([0, 0, 1, 1])


def speckled() -> NDArray[np.bool_]:
    """bool (96, 128): the mask whose small regions were filled and removed."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.int64)
    disc = ((x * x + 3 * y * y + (x * y) // 5) % 53 < 31) & ((x - 64) ** 2 + (y - 48) ** 2 < 45**2)
    mask = disc | ((x - 110) ** 2 + (y - 20) ** 2 < 36)
    mask[40:56, 50:80] = True
    mask[46:49, 60:64] = False
    return mask


def region(name: str, width: int, height: int) -> NDArray[np.bool_]:
    """bool (height, width): where the first pass was confident, by its recorded name."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    return {
        "none": np.zeros((height, width), np.bool_),
        "left half": x < width // 2,
        "disc": (2 * x - width) ** 2 + (2 * y - height) ** 2 < (9 * min(height, width) // 10) ** 2,
        "all": np.ones((height, width), np.bool_),
    }[name]


def fine_points(side: int, width: int, height: int) -> NDArray[np.float64]:
    """float64 (n, 2): the second pass of TinySAM, with its steps in whole pixels."""
    step_x, step_y = width // side, height // side
    along = (np.arange(side // 4) + 0.5) / (side // 4)
    found = []
    for y in along * height:
        for x in along * width:
            near = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
            right, below = bool(x + 2 * step_x < width), bool(y + 2 * step_y < height)
            near += [(2, j) for j in (-1, 0, 1)] * right + [(i, 2) for i in (-1, 0, 1)] * below
            near += [(2, 2)] * (right and below)
            found += [(x + i * step_x, y + j * step_y) for i, j in near]
    return np.array(found)


def stability(maps: NDArray[np.float32], threshold: float, offset: float) -> NDArray[np.float64]:
    """float64 (n,): NaN where both masks are empty."""
    inner = (maps > threshold + offset).sum(axis=(1, 2))
    outer = (maps > threshold - offset).sum(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        return np.divide(inner, outer)


def fill_gaps(mask: NDArray[np.bool_], area_px: int) -> NDArray[np.bool_]:
    """The official first half of the clean-up: any small region of the background is filled, be it all of it."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] < area_px
    small[0] = False
    return mask | small[labels]
