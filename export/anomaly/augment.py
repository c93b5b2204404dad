"""Seeded changes to a picture that leave a good part good: rotations, shifts, scale, light. Knows no network."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.export.pictures.one_input import require_one_input
from edge_sdk.export.pictures.store import shrunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How far a view may differ from its picture. Each value is drawn evenly within +- what stands here.

    any_orientation: quarter turns and mirror images, for parts that lie in any direction: all angles are among the
    pictures already, and these move pixels without resampling them. scale: share. shift: share of the side. light,
    contrast: share, about the picture's mean.
    """

    any_orientation: bool = False
    scale: float = 0.0
    shift: float = 0.0
    light: float = 0.0
    contrast: float = 0.0


def view(
    picture: NDArray[np.uint8], record: Preprocessing, how: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """One view, uint8 (height, width, 3) as the network takes it, of an RGB picture (H, W, 3) of any size.

    Geometry is changed at the picture's own resolution (at most twice the network's) and the product's own resampling
    comes after it, so that a view is as sharp as the picture that it stands for. Raises BadUsage for tiles.
    """
    require_one_input(record)
    source = shrunk(picture, 2 * record.width, 2 * record.height)
    moved = _moved(source, how, rng)
    tensor = preprocess.apply(moved, record).tensor[0]
    return _lit(tensor, how, rng)


def _moved(picture: NDArray[np.uint8], how: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    if how.any_orientation:
        turned = np.rot90(picture, int(rng.integers(4)))
        picture = np.ascontiguousarray(turned[:, ::-1] if rng.random() < 0.5 else turned)
    h, w = picture.shape[:2]
    scale = 1.0 + how.scale * float(rng.uniform(-1.0, 1.0))
    shift_x, shift_y = (how.shift * side * float(rng.uniform(-1.0, 1.0)) for side in (w, h))
    if scale == 1.0 and shift_x == 0.0 and shift_y == 0.0:
        return picture
    matrix = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), 0.0, scale)
    matrix[:, 2] += (shift_x, shift_y)
    moved = cv2.warpAffine(picture, matrix, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _lit(picture: NDArray[np.uint8], how: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    gain = 1.0 + how.light * float(rng.uniform(-1.0, 1.0))
    contrast = 1.0 + how.contrast * float(rng.uniform(-1.0, 1.0))
    if gain == 1.0 and contrast == 1.0:
        return picture
    mean = float(picture.mean(dtype=np.float64))
    # Saturation is what a camera does with too much light, so clipping is part of the change that is simulated here.
    table = np.clip(np.rint(((np.arange(256) - mean) * contrast + mean) * gain), 0, 255).astype(np.uint8)
    return np.asarray(table[picture], np.uint8)
