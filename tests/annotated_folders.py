"""Folders of annotated pictures, drawn: disks and rectangles on noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import disk_graphs
import numpy as np
from numpy.typing import NDArray


def scene(seed: int, *, height: int = 60, width: int = 80) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture uint8 (H, W, 3), and its label map uint8 (H, W): a rectangle (1), a disk (2), a speck of 4 px (3)."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.uint8)
    labels[5 : 25 + seed % 5, 6:30] = 1
    cv2.circle(labels, (width - 25, height - 25), 12, 2, cv2.FILLED)
    labels[-3:-1, 3:5] = 3
    colours = rng.integers(40, 220, (4, 3))
    rgb = np.clip(colours[labels] + rng.normal(0, 6, (height, width, 3)), 0, 255)
    return rgb.astype(np.uint8), labels


def label_maps(folder: Path, *, train: int = 3, test: int = 2, home: str = "labels") -> Path:
    """images/SPLIT/KIND_n.png with HOME/SPLIT/KIND_n.png."""
    for split, first, count in (("train", 0, train), ("test", 100, test)):
        for number in range(count):
            name = f"{'flat' if number % 2 else 'round'}_{number}.png"
            rgb, labels = scene(first + number)
            write(folder / "images" / split / name, rgb[:, :, ::-1])
            write(folder / home / split / name, labels)
    return folder


def write(path: Path, pixels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())


def coco(folder: Path, annotations: list[dict[str, Any]], *, name: str = "instances_train.json", **size: int) -> Path:
    """One picture of 80 x 60 px, called a.png, with instances. size: what the file says of it."""
    write(folder / "images" / "a.png", disk_graphs.picture(1, height=60, width=80))
    stated = {"height": 60, "width": 80, **size}
    written = {
        "images": [{"id": 7, "file_name": "a.png", **stated}],
        "annotations": [{"image_id": 7, "iscrowd": 0, **one} for one in annotations],
    }
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    (folder / "annotations" / name).write_text(json.dumps(written))
    return folder
