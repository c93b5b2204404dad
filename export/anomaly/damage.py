"""Damage that we make ourselves: cuts, lines, noise, blur, blank patches. Knows no network."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray


def damage(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A copy of `picture`, uint8 (h, w, 3), with one to three kinds of damage."""
    out: NDArray[np.uint8] = np.array(picture, np.uint8)
    for index in rng.permutation(len(_KINDS))[: int(rng.integers(1, 4))]:
        _KINDS[index](out, rng)
    return out


def _box(out: NDArray[np.uint8], rng: np.random.Generator) -> tuple[slice, slice]:
    """A random box of 3 to 30 % of each side."""
    h, w = out.shape[:2]
    tall, wide = (max(2, int(side * rng.uniform(0.03, 0.3))) for side in (h, w))
    top, left = int(rng.integers(0, h - tall + 1)), int(rng.integers(0, w - wide + 1))
    return slice(top, top + tall), slice(left, left + wide)


def _cut_paste(out: NDArray[np.uint8], rng: np.random.Generator) -> None:
    box = _box(out, rng)
    piece = out[box][::-1].copy() if rng.random() < 0.5 else out[box][:, ::-1].copy()
    top = int(rng.integers(0, out.shape[0] - piece.shape[0] + 1))
    left = int(rng.integers(0, out.shape[1] - piece.shape[1] + 1))
    out[top : top + piece.shape[0], left : left + piece.shape[1]] = piece


def _line(out: NDArray[np.uint8], rng: np.random.Generator) -> None:
    h, w = out.shape[:2]
    points = np.stack([rng.integers(0, w, 4), rng.integers(0, h, 4)], axis=1).astype(np.int32)
    colour = tuple(int(v) for v in rng.integers(0, 256, 3))
    cv2.polylines(out, [points], False, colour, int(rng.integers(1, 6)), cv2.LINE_AA)


def _noise(out: NDArray[np.uint8], rng: np.random.Generator) -> None:
    box = _box(out, rng)
    out[box] = rng.integers(0, 256, out[box].shape, dtype=np.uint8)


def _blur(out: NDArray[np.uint8], rng: np.random.Generator) -> None:
    box = _box(out, rng)
    out[box] = cv2.GaussianBlur(np.ascontiguousarray(out[box]), (0, 0), float(rng.uniform(2.0, 8.0)))


def _blank(out: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Black, white or any grey, as a missing piece or a reflection is."""
    out[_box(out, rng)] = int(rng.choice([0, 255, int(rng.integers(0, 256))]))


_KINDS: tuple[Callable[[NDArray[np.uint8], np.random.Generator], None], ...] = (
    _cut_paste, _line, _noise, _blur, _blank,
)  # fmt: skip
