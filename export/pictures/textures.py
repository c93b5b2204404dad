"""Procedural pictures: octaves of noise, grinding lines, speckle, stripes, patches, shapes. Knows no network.

They stand in for photographs of anything else where none may ship: to distil a teacher on, and as foreign pictures.
Overlapping shapes are the "dead leaves" of Baradad et al., Learning to See by Looking at Noise (NeurIPS 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Field: TypeAlias = NDArray[np.float32]
Rgb: TypeAlias = NDArray[np.uint8]


def texture(rng: np.random.Generator, side: int) -> Rgb:
    """One random picture, uint8 (side, side, 3). The same generator state gives the same picture."""
    return _KINDS[int(rng.integers(len(_KINDS)))](rng, side)


def octaves(rng: np.random.Generator, side: int, *, stretch: float = 1.0, rough: float = 0.5) -> Field:
    """Noise of mean 0 and std 1, (side, side): grids of growing fineness, each `rough` times the one before.

    stretch: how much longer the grains are along x than along y.
    """
    total = np.zeros((side, side), np.float32)
    weight, cell = 1.0, side / 2.0
    while cell >= 1.0:
        rows, columns = max(2, round(side / cell)), max(2, round(side / (cell * stretch)))
        grains = rng.standard_normal((rows, columns), np.float32)
        total += np.float32(weight) * cv2.resize(grains, (side, side), interpolation=cv2.INTER_CUBIC)
        weight, cell = weight * rough, cell / 2.0
    return _standard(total)


def _coloured(rng: np.random.Generator, field: Field) -> Rgb:
    """A field of std 1 on a ramp between random colours, from grey (one in four) to full."""
    greys, colours = rng.uniform(0.0, 255.0, (4, 1)), rng.uniform(0.0, 255.0, (4, 3))
    share = max(0.0, float(rng.uniform(-1 / 3, 1.0))) ** 1.5
    stops = (greys + share * (colours - greys)).astype(np.float32)
    at = np.clip((field + 2.0) * 0.75, 0.0, 2.999)
    low = at.astype(np.int32)
    part = (at - low)[..., None]
    return _pixels(stops[low] * (1.0 - part) + stops[low + 1] * part)


def _noise(rng: np.random.Generator, side: int) -> Rgb:
    return _coloured(rng, octaves(rng, side, rough=float(rng.uniform(0.3, 0.95))))


def _grinding(rng: np.random.Generator, side: int) -> Rgb:
    """Long grains in one direction over slow shading, as a ground or brushed surface has."""
    grains = octaves(rng, side, stretch=float(rng.uniform(8, 60)), rough=float(rng.uniform(0.7, 1.0)))
    shading = octaves(rng, side, rough=0.2)
    return _coloured(rng, _turned(rng, grains + float(rng.uniform(0.2, 1.5)) * shading))


def _speckle(rng: np.random.Generator, side: int) -> Rgb:
    """Sparse bright or dark grains on noise."""
    spots = (rng.random((side, side)) < rng.uniform(0.002, 0.05)).astype(np.float32)
    spots = _standard(cv2.GaussianBlur(spots, (0, 0), float(rng.uniform(0.6, 3.0))))
    return _coloured(rng, spots * float(rng.choice([-1.0, 1.0])) + octaves(rng, side, rough=0.5))


def _stripes(rng: np.random.Generator, side: int) -> Rgb:
    """One or two waves, bent by noise: weave, ridges, threads."""
    ys, xs = np.mgrid[0:side, 0:side].astype(np.float32)
    total = np.zeros((side, side), np.float32)
    bend = octaves(rng, side, rough=0.3) * float(rng.uniform(0.0, 6.0))
    for _ in range(int(rng.integers(1, 3))):
        angle, period = rng.uniform(0, np.pi), rng.uniform(4, 60)
        wave = np.sin(2 * np.pi * (xs * np.cos(angle) + ys * np.sin(angle) + bend) / period)
        total += np.sign(wave) if rng.random() < 0.3 else wave
    return _coloured(rng, _standard(total.astype(np.float32) + 0.3 * octaves(rng, side, rough=0.7)))


def _patches(rng: np.random.Generator, side: int) -> Rgb:
    """Islands of one texture in another, with hard borders."""
    mask = octaves(rng, side, rough=float(rng.uniform(0.2, 0.7))) > rng.uniform(-0.7, 0.7)
    return np.asarray(np.where(mask[..., None], _noise(rng, side), _grinding(rng, side)), np.uint8)


def _leaves(rng: np.random.Generator, side: int) -> Rgb:
    """Shapes that cover each other, sizes by a power law, some textured: edges, corners and junctions of every kind."""
    picture = _noise(rng, side)
    other = _stripes(rng, side)
    for _ in range(int(rng.integers(20, 150))):
        radius = float(side * 0.02 * rng.uniform(0.02, 1.0) ** -0.7)
        centre = rng.uniform(0, side, 2)
        mask = np.zeros((side, side), np.uint8)
        if rng.random() < 0.5:
            axes = (max(1, int(radius)), max(1, int(radius * rng.uniform(0.2, 1.0))))
            cv2.ellipse(mask, (int(centre[0]), int(centre[1])), axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
            cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
        shape = mask.astype(bool)
        picture[shape] = other[shape] if rng.random() < 0.2 else rng.integers(0, 256, 3)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.4, 1.5))), np.uint8)


def _scratched(rng: np.random.Generator, side: int) -> Rgb:
    """Thin lines on a ground surface."""
    picture = _grinding(rng, side)
    for _ in range(int(rng.integers(3, 40))):
        ends = rng.integers(0, side, 4)
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        a, b = (int(ends[0]), int(ends[1])), (int(ends[2]), int(ends[3]))
        cv2.line(picture, a, b, colour, int(rng.integers(1, 4)), cv2.LINE_AA)
    return picture


def _turned(rng: np.random.Generator, field: Field) -> Field:
    side = field.shape[0]
    angle = float(rng.uniform(0, 180))
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), angle, 1.42)
    return np.asarray(cv2.warpAffine(field, turn, (side, side), borderMode=cv2.BORDER_REFLECT), np.float32)


def _standard(field: Field) -> Field:
    spread = max(float(field.std(dtype=np.float64)), 1e-6)
    return np.asarray((field - field.mean(dtype=np.float64)) / spread, np.float32)


def _pixels(values: NDArray[np.floating]) -> Rgb:
    pixels: Rgb = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return pixels


_KINDS: tuple[Callable[[np.random.Generator, int], Rgb], ...] = (
    _noise, _grinding, _speckle, _stripes, _patches, _leaves, _leaves, _scratched,
)  # fmt: skip
