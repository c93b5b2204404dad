"""Foreign pictures: of anything but the product, from a folder or generated. Knows no network.

Calibration sees them so that no range ends where good parts end; a penalty may use them so that a student learns
nothing about what it was not shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_sdk import encoded, grouping, preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadInput
from edge_sdk.export.anomaly import colour
from edge_sdk.export.pictures.one_input import require_one_input
from edge_sdk.export.pictures.textures import texture
from edge_sdk.folders import pictures_in
from edge_sdk.shown import shown, unreadable


def identity_of(folder: Path | None) -> str:
    """Of what will be drawn: a digest of the pictures' names and contents, or "textures" where there is no folder.

    Every file is read once. Raises BadInput: no folder, no pictures in it, or one that is damaged, by its name.
    """
    if folder is None:
        return "textures"
    files = _files(folder)
    for file in files:
        encoded.size(_bytes(file), where=str(file))
    return grouping.data_digest((file.name, "", "", grouping.content(file)) for file in files)[:16]


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        raise unreadable(file, exc) from exc


def _files(folder: Path) -> tuple[Path, ...]:
    if not (files := pictures_in(folder, recursive=True, at_least=0)):
        raise BadInput(
            "there are no pictures in it", where=shown(folder), hint="Leave it out to take generated textures"
        )
    return files


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignPictures:
    """Draws them as a network with `record` takes them. files: () = procedural textures.

    magnified: at 1 a picture is seen whole, as the device would see it; above, it is brought to that many times the
    product picture's size and its middle taken. grey: probability that its colour is taken away.
    """

    files: tuple[Path, ...]
    record: Preprocessing
    magnified: int = 1
    grey: float = 0.0

    def __post_init__(self) -> None:
        require_one_input(self.record)

    @classmethod
    def of(
        cls, folder: Path | None, record: Preprocessing, *, magnified: int = 1, grey: float = 0.0
    ) -> ForeignPictures:
        """Those of a folder and of the folders in it, in a fixed order, or textures where there is no folder.

        Raises BadInput for a folder without pictures.
        """
        return cls(files=() if folder is None else _files(folder), record=record, magnified=magnified, grey=grey)

    def draw(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """One picture, uint8 (h, w, 3) of the network's input size."""
        if self.magnified == 1:
            one = self._one(rng, max(self.record.height, self.record.width))
            seen = np.asarray(preprocess.apply(one, self.record).tensor[0])
        else:
            seen = self._middle(rng)
        return colour.grey(seen) if rng.random() < self.grey else seen

    def _middle(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        height, width = self.record.height, self.record.width
        tall, wide = (self.magnified * (side - 2 * self.record.border) for side in (height, width))
        tall, wide = max(tall, height), max(wide, width)
        picture = preprocess.resize(self._one(rng, max(tall, wide)), wide, tall)
        top, left = (tall - height) // 2, (wide - width) // 2
        return picture[top : top + height, left : left + width]

    def _one(self, rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
        """A file's picture as it is, uint8 RGB, or a texture of side x side px."""
        if not self.files:
            return texture(rng, side)
        file = self.files[int(rng.integers(len(self.files)))]
        return preprocess.read_rgb8(file, bit_depth=self.record.bit_depth)
