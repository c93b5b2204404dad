"""A picture with masks, and what training does to it: crops, turns, scales, colours. Knows no network."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
Masks = NDArray[np.bool_]
NEGATIVE = 0.15
"""Share of pictures whose light and dark change places: what lies dark on a light bench lies light on a dark one."""
GLARE = 0.2
"""Share of pictures with glare."""


@dataclass(frozen=True, slots=True, eq=False)
class Annotated:
    """picture: (h, w, 3) RGB. masks: (n, h, w); they may overlap, a whole and its parts for instance."""

    picture: Rgb
    masks: Masks


def of_labels(picture: Rgb, labels: NDArray[np.integer]) -> Annotated:
    """The segments of a label map (h, w), 0 = unmarked."""
    numbers = np.unique(labels)
    return Annotated(picture, labels[None] == numbers[numbers > 0][:, None, None])


def scaled(one: Annotated, longest: int) -> Annotated:
    """The longest side brought to `longest` px, as preprocessing does it: areas averaged, or bilinear."""
    h, w = one.picture.shape[:2]
    scale = longest / max(h, w)
    size = max(1, round(w * scale)), max(1, round(h * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR_EXACT
    picture = cv2.resize(one.picture, size, interpolation=how)
    masks = [cv2.resize(m.astype(np.uint8) * 255, size, interpolation=how) > 127 for m in one.masks]
    return Annotated(picture, np.array(masks, bool).reshape(-1, size[1], size[0]))


def cropped(rng: np.random.Generator, one: Annotated, *, least: float = 0.35) -> Annotated:
    """A random part, each side at least `least` of the whole."""
    h, w = one.picture.shape[:2]
    ch, cw = (max(16, int(side * rng.uniform(least, 1.0))) for side in (h, w))
    y, x = int(rng.integers(0, max(1, h - ch + 1))), int(rng.integers(0, max(1, w - cw + 1)))
    return Annotated(one.picture[y : y + ch, x : x + cw], one.masks[:, y : y + ch, x : x + cw])


def turned(rng: np.random.Generator, one: Annotated) -> Annotated:
    """Quarter turns and mirroring."""
    k, mirror = int(rng.integers(4)), rng.random() < 0.5
    picture, masks = np.rot90(one.picture, k), np.rot90(one.masks, k, axes=(1, 2))
    if mirror:
        picture, masks = picture[:, ::-1], masks[:, :, ::-1]
    return Annotated(np.ascontiguousarray(picture), np.ascontiguousarray(masks))


def coloured(rng: np.random.Generator, picture: Rgb, *, strength: float = 1.0) -> Rgb:
    """Brightness, contrast, gamma, a cast, sometimes a negative, grey, or channels changed about."""
    x = picture.astype(np.float32) / 255.0
    if rng.random() < NEGATIVE:
        x = 1.0 - x
    if rng.random() < 0.5 * strength:
        x = x ** np.float32(np.exp(rng.normal(0.0, 0.45 * strength)))
    gain = np.exp(rng.normal(0.0, 0.2 * strength)) * np.exp(rng.normal(0.0, 0.08 * strength, 3))
    x = (x - 0.5) * gain.astype(np.float32) + np.float32(0.5 + rng.normal(0.0, 0.08 * strength))
    draw = rng.random()
    if draw < 0.1:
        x = np.repeat(x.mean(2, keepdims=True), 3, axis=2)
    elif draw < 0.15:
        x = x[..., rng.permutation(3)]
    return _pixels(x * 255.0)


def glaring(rng: np.random.Generator, picture: Rgb) -> Rgb:
    """Light that a shiny ground throws back: one to three soft bands or spots, blown out in the middle."""
    if rng.random() >= GLARE:
        return picture
    h, w = picture.shape[:2]
    ys, xs = np.mgrid[0:h, 0:w].astype(np.float32)
    light = np.zeros((h, w), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        angle = rng.choice([0.0, np.pi / 2]) if rng.random() < 0.5 else rng.uniform(0, np.pi)
        x, y = rng.uniform(0, 1, 2) * (w, h)
        across = (xs - x) * np.cos(angle) + (ys - y) * np.sin(angle)
        along = (ys - y) * np.cos(angle) - (xs - x) * np.sin(angle)
        wide = rng.uniform(0.03, 0.15) * max(h, w)
        far = wide * np.exp(rng.uniform(0.0, 3.0))
        light += rng.uniform(0.2, 0.9) * np.exp(-0.5 * ((across / wide) ** 2 + (along / far) ** 4)).astype(np.float32)
    return _pixels(picture + 255.0 * light[..., None])


def worn(rng: np.random.Generator, picture: Rgb) -> Rgb:
    """What a camera adds: blur, noise, compression."""
    x = picture
    if rng.random() < 0.3:
        x = np.asarray(cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.4, 1.6))), np.uint8)
    if rng.random() < 0.4:
        x = _pixels(np.asarray(x + rng.normal(0.0, rng.uniform(1.0, 12.0), x.shape), np.float32))
    if rng.random() < 0.2:
        _, coded = cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))])
        x = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return x


def shrunk(rng: np.random.Generator, one: Annotated, *, least: float = 0.45) -> Annotated:
    """The picture made smaller on a ground of its own mean colour, so that small objects come up."""
    h, w = one.picture.shape[:2]
    scale = float(rng.uniform(least, 1.0))
    small = scaled(one, max(1, int(max(h, w) * scale)))
    sh, sw = small.picture.shape[:2]
    y, x = int(rng.integers(0, h - sh + 1)), int(rng.integers(0, w - sw + 1))
    picture = np.empty_like(one.picture)
    picture[:] = one.picture.reshape(-1, 3).mean(0)
    masks = np.zeros_like(one.masks)
    picture[y : y + sh, x : x + sw] = small.picture
    masks[:, y : y + sh, x : x + sw] = small.masks
    return Annotated(picture, masks)


def transplanted(rng: np.random.Generator, one: Annotated, ground: Rgb) -> Annotated:
    """What is marked on another ground (h, w, 3), with a soft edge; what is not marked is gone. A thing is then known
    by itself, and not by the bench that it always lies on."""
    marked = one.masks.any(0).astype(np.float32)
    alpha = cv2.GaussianBlur(marked, (0, 0), float(rng.uniform(0.5, 1.2)))[..., None]
    return Annotated(_pixels(one.picture * alpha + ground * (1.0 - alpha)), one.masks)


def _pixels(values: NDArray[np.floating]) -> Rgb:
    out: Rgb = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return out
