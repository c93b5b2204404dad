"""Pictures that a generator drew: one, or a batch. Knows no graph and no noise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk import atomic
from edge_sdk.errors import BadUsage
from edge_sdk.shown import shown
from edge_sdk.tasks.base import RunInfo
from edge_sdk.tasks.generation.asked import Asked

Pixels = NDArray[np.uint8]
Values = NDArray[np.float32]
_GAP = 2
"""Pixels between the pictures of a grid."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """One picture. pixels: uint8 (H, W) grey, or (H, W, 3) RGB. label: the name of its class, "" = none. values:
    float32 (C, H, W), what pixels were rounded from, in the network's own range; None = the bundle does not keep it."""

    suffix: ClassVar[str] = ".png"

    asked: Asked
    pixels: Pixels
    ran: RunInfo
    label: str = ""
    values: Values | None = None

    @property
    def name(self) -> str:
        """By which it can be drawn again: seed and number, with its class."""
        return f"seed-{self.asked.seed}-{self.asked.index:06d}" + (f"-{self.asked.label}" if self.label else "")

    def to_json(self) -> str:
        height, width = self.pixels.shape[:2]
        out = {
            "seed": self.asked.seed, "index": self.asked.index, "label": self.label, "width": width, "height": height,
            "ran": self.ran.to_json(),
        }  # fmt: skip
        return json.dumps(out, ensure_ascii=False)

    def line(self) -> str:
        height, width = self.pixels.shape[:2]
        words = [f"seed {self.asked.seed}", f"picture {self.asked.index}", shown(self.label), f"{width} x {height} px"]
        return "  ".join(word for word in words if word)

    def save(self, path: Path) -> None:
        """As a PNG file. Raises CantWrite."""
        atomic.write(path, png(self.pixels))


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Pictures that were drawn together. pixels: uint8 (n, H, W, C), C 1 or 3 (RGB). labels: names of their classes,
    () = none. values: float32 (n, C, H, W), what pixels were rounded from, None = the bundle does not keep it.
    stages_ms of `ran` are of all of them."""

    asked: tuple[Asked, ...]
    pixels: Pixels
    ran: RunInfo
    labels: tuple[str, ...] = ()
    values: Values | None = None

    def __len__(self) -> int:
        return len(self.asked)

    def __iter__(self) -> Iterator[Drawn]:
        return (self[at] for at in range(len(self)))

    def __getitem__(self, at: int) -> Drawn:
        label = self.labels[at] if self.labels else ""
        values = None if self.values is None else self.values[at]
        return Drawn(asked=self.asked[at], pixels=flat(self.pixels[at]), ran=self.ran, label=label, values=values)

    def grid(self, columns: int | None = None) -> Pixels:
        """All of them in one picture, uint8 (H, W) or (H, W, 3), row by row on white. columns: None = about as many as
        rows."""
        if columns is not None and columns < 1:
            raise BadUsage(f"a grid has 1 column or more, not {columns}")
        return grid(self.pixels, columns or max(1, round(len(self) ** 0.5 + 0.49)))


def grid(pixels: Pixels, columns: int) -> Pixels:
    """uint8 (n, H, W, C) as one picture with `columns` in a row."""
    count, height, width, channels = pixels.shape
    rows = -(-count // columns)
    columns = min(columns, count)
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, channels), 255, np.uint8)
    for at, one in enumerate(pixels):
        top, left = (at // columns) * (height + _GAP), (at % columns) * (width + _GAP)
        sheet[top : top + height, left : left + width] = one
    return flat(sheet)


def flat(pixels: Pixels) -> Pixels:
    """(H, W, 1) as (H, W); others as they are."""
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def png(pixels: Pixels) -> bytes:
    """A grey or RGB picture, encoded."""
    return cv2.imencode(".png", pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()


def npy(values: Values) -> bytes:
    """As a .npy file, which numpy and others read."""
    file = BytesIO()
    np.save(file, np.ascontiguousarray(values), allow_pickle=False)
    return file.getvalue()
