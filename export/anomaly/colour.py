"""Light and colour of pictures: luma, grey, seeded changes as a camera or a lamp makes them. Knows no network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def luma(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(h, w) of RGB (h, w, 3), 0..255: Rec. 601, as cameras and the published teachers have it."""
    return np.asarray(picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32), np.float32)


def grey(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture without colour, uint8 (h, w, 3)."""
    return np.repeat(np.rint(luma(picture)).astype(np.uint8)[..., None], 3, axis=2)


def jitter(picture: NDArray[np.uint8], share: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Brightness, contrast or saturation changed by a factor in 1 +- share: float32 (h, w, 3), 0..255.

    A grey picture has no saturation to change, so only the other two are drawn for it. What leaves 0..255 is cut, as a
    camera cuts it.
    """
    values = picture.astype(np.float32)
    is_grey = bool((picture[..., 0] == picture[..., 1]).all() and (picture[..., 1] == picture[..., 2]).all())
    kind, factor = int(rng.integers(2 if is_grey else 3)), np.float32(rng.uniform(1.0 - share, 1.0 + share))
    if kind == 0:
        anchor: Any = np.float32(0.0)
    elif kind == 1:
        anchor = np.float32(luma(picture).mean(dtype=np.float64))
    else:
        anchor = luma(picture)[..., None]
    return np.asarray(np.clip(anchor + factor * (values - anchor), 0.0, 255.0), np.float32)
