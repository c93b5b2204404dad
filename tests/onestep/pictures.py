"""Tiny pictures of two kinds in folders: bars that stand and bars that lie, 8 x 8 px."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

KINDS = ("lying", "standing")


def bar(rng: np.random.Generator, kind: str, side: int = 8) -> NDArray[np.uint8]:
    """One picture, uint8 (side, side)."""
    picture = rng.integers(0, 40, (side, side)).astype(np.uint8)
    at = int(rng.integers(1, side - 2))
    picture[at : at + 2] = int(rng.integers(180, 250))
    return picture if kind == "lying" else np.ascontiguousarray(picture.T)


def folder_of(path: Path, *, count: int = 60, classes: bool = True, side: int = 8) -> Path:
    """A folder of pictures, in subfolders where they have classes."""
    rng = np.random.default_rng(4)
    for number in range(count):
        kind = KINDS[number % 2]
        place = path / kind if classes else path
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{number:03d}.png"), bar(rng, kind, side))
    return path


def zip_of(folder: Path, path: Path, *, below: str = "") -> Path:
    """The same pictures as a ZIP file. below: a folder in it that holds all of them."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, Path(below) / file.relative_to(folder))
    return path
