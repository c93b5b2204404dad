"""Metal parts drawn by code: turned washers, good ones and ones with a scratch, a dent or a stain. Knows no network.

What a generator for inspection learns from, where no photograph may ship: every picture is another part, turned,
lit and ground in its own way, so that a network has something to learn that is no list of pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 32
_FINE = 8
"""Times as large as the picture, where it is drawn: edges are then as smooth as a camera's."""
Field: TypeAlias = NDArray[np.float32]
Pixels: TypeAlias = NDArray[np.uint8]


def part(rng: np.random.Generator, kind: str, side: int = SIDE) -> Pixels:
    """One picture, uint8 (side, side, 1). kind: one of `KINDS`."""
    size = side * _FINE
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32) / np.float32(size)
    centre = 0.5 + rng.uniform(-0.03, 0.03, 2)
    outer, inner = rng.uniform(0.40, 0.46), rng.uniform(0.12, 0.18)
    radius = np.hypot(xs - np.float32(centre[0]), ys - np.float32(centre[1]))
    metal = _ground(rng, xs, ys, radius, centre)
    metal = DEFECTS[kind](rng, metal, centre, (inner, outer)) if kind in DEFECTS else metal
    chamfer = np.exp(-(((radius - outer + 0.02) / 0.012) ** 2)) + np.exp(-(((radius - inner - 0.015) / 0.01) ** 2))
    metal = metal + np.float32(rng.uniform(25, 55)) * chamfer
    belt = np.float32(rng.uniform(18, 45)) + 8 * _noise(rng, size, 24)
    on = (radius < outer) & (radius > inner)
    picture = np.where(on, metal, belt)
    small = cv2.resize(picture.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    small = small + rng.normal(0.0, 1.5, small.shape)
    pixels: Pixels = np.clip(np.rint(small), 0, 255).astype(np.uint8)[..., None]
    return pixels


def _ground(rng: np.random.Generator, xs: Field, ys: Field, radius: Field, centre: NDArray[np.float64]) -> Field:
    """A turned surface: rings, and the bright fans that light makes on them."""
    angle = np.arctan2(ys - np.float32(centre[1]), xs - np.float32(centre[0]))
    light = np.float32(rng.uniform(-np.pi, np.pi))
    fans = np.cos(2 * (angle - light)) ** 2
    rings = np.sin(2 * np.pi * radius * np.float32(rng.uniform(40, 60)) + np.float32(rng.uniform(0, 6)))
    level, depth = rng.uniform(115, 150), rng.uniform(30, 55)
    out: Field = np.float32(level) + np.float32(depth) * (fans - 0.5) + 6 * rings
    return out


def _noise(rng: np.random.Generator, size: int, cells: int) -> Field:
    """Smooth noise of std about 1."""
    grains = rng.standard_normal((cells, cells), np.float32)
    return np.asarray(cv2.resize(grains, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def _place(rng: np.random.Generator, centre: NDArray[np.float64], band: tuple[float, float]) -> tuple[float, float]:
    """A place on the metal, in shares of the picture."""
    angle, at = rng.uniform(0, 2 * np.pi), rng.uniform(band[0] + 0.07, band[1] - 0.07)
    return float(centre[0] + at * np.cos(angle)), float(centre[1] + at * np.sin(angle))


def _scratch(rng: np.random.Generator, metal: Field, centre: NDArray[np.float64], band: tuple[float, float]) -> Field:
    """A thin bent line, bright on one side and dark on the other."""
    size = metal.shape[0]
    x, y = _place(rng, centre, band)
    turn, length, bend = rng.uniform(0, 2 * np.pi), rng.uniform(0.18, 0.32), rng.uniform(-0.6, 0.6)
    along = np.linspace(-0.5, 0.5, 24)
    line = np.stack(
        [
            x + length * along * np.cos(turn + bend * along),
            y + length * along * np.sin(turn + bend * along),
        ],
        axis=1,
    )
    mask = np.zeros((size, size), np.uint8)
    cv2.polylines(mask, [np.rint(line * size).astype(np.int32)], False, 255, int(rng.integers(5, 9)), cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), 1.5).astype(np.float32) / 255
    shadow = np.roll(soft, (int(rng.integers(3, 6)), int(rng.integers(3, 6))), (0, 1))
    strength = np.float32(rng.uniform(80, 110))
    out: Field = metal + strength * soft - 0.8 * strength * shadow
    return out


def _dent(rng: np.random.Generator, metal: Field, centre: NDArray[np.float64], band: tuple[float, float]) -> Field:
    """A round hollow: dark towards the light, bright away from it."""
    size = metal.shape[0]
    x, y = _place(rng, centre, band)
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32) / np.float32(size)
    width, turn = np.float32(rng.uniform(0.045, 0.075)), np.float32(rng.uniform(0, 2 * np.pi))
    dx, dy = (xs - np.float32(x)) / width, (ys - np.float32(y)) / width
    hollow = np.exp(-(dx**2 + dy**2))
    slope = (dx * np.cos(turn) + dy * np.sin(turn)) * hollow
    out: Field = metal + np.float32(rng.uniform(110, 150)) * slope - np.float32(rng.uniform(25, 40)) * hollow
    return out


def _stain(rng: np.random.Generator, metal: Field, centre: NDArray[np.float64], band: tuple[float, float]) -> Field:
    """A dark patch with a ragged rim."""
    size = metal.shape[0]
    x, y = _place(rng, centre, band)
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32) / np.float32(size)
    width, stretch = rng.uniform(0.07, 0.12), rng.uniform(0.7, 1.4)
    dx, dy = (xs - np.float32(x)) / np.float32(stretch), (ys - np.float32(y)) * np.float32(stretch)
    away = np.hypot(dx, dy) / np.float32(width) + 0.18 * _noise(rng, size, 10)
    patch = 1.0 / (1.0 + np.exp(np.clip(12.0 * (away - 1.0), -30.0, 30.0)))
    out: Field = metal * (1.0 - np.float32(rng.uniform(0.45, 0.7)) * patch.astype(np.float32))
    return out


GOOD = "good"
DEFECTS: Mapping[str, Callable[..., Field]] = MappingProxyType({"dent": _dent, "scratch": _scratch, "stain": _stain})
KINDS = ("dent", GOOD, "scratch", "stain")
"""Sorted, as folders are."""


def parts(count: int, *, seed: int, side: int = SIDE) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures uint8 (count, side, side, 1) and their kinds by number, in turn."""
    drawn = [part(np.random.default_rng([seed, at]), KINDS[at % len(KINDS)], side) for at in range(count)]
    return np.stack(drawn), np.arange(count, dtype=np.int64) % len(KINDS)
