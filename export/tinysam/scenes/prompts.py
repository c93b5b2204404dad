"""Prompts drawn from masks: boxes with jitter, points inside. Knows no network and no picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def jittered(rng: np.random.Generator, box: NDArray[np.float32], *, most: float = 0.08) -> NDArray[np.float32]:
    """Each side moved by up to `most` of the box's width or height."""
    sides = np.maximum(box[2:] - box[:2], 1.0)
    return np.asarray(box + rng.uniform(-most, most, 4) * np.tile(sides, 2), np.float32)


def anywhere(rng: np.random.Generator, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(x, y) of a pixel of the mask, each as likely."""
    ys, xs = np.nonzero(mask)
    k = int(rng.integers(len(ys)))
    return np.array([xs[k], ys[k]], np.float32)
