"""What results with masks write: the plot, JSON, a label map. Knows no runtime and no encoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk import atomic
from edge_sdk.errors import BadInput
from edge_sdk.tasks.images import Source
from edge_sdk.tasks.plots import write_plot

JSON = ".json"
LABELS = ".labels.png"
FILES: Mapping[str, str] = {"plot": ".png", "labels": LABELS, "json": JSON}
"""What `save` writes, by the end of the name that asks for it."""


class MasksOfPicture(ABC):
    """A result that holds masks of one picture: how it is saved."""

    @abstractmethod
    def to_json(self) -> str:
        """One JSON object."""

    @abstractmethod
    def plot(self, picture: Source | None = None) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB."""

    @abstractmethod
    def label_map(self) -> NDArray[np.uint16]:
        """uint16 (H, W): 0 = no mask, i = mask i - 1."""

    def save(self, path: Path | str, picture: Source | None = None) -> None:
        """`plot` to a PNG or JPEG file, `to_json` to a .json file, the label map to one that ends in .labels.png.

        Raises BadInput: another suffix, and as `plot`; CantWrite.
        """
        if Path(path).suffix.lower() == JSON:
            atomic.write(Path(path), self.to_json() + "\n")
        elif Path(path).name.lower().endswith(LABELS):
            self.save_label_map(path)
        else:
            write_plot(Path(path), lambda: self.plot(picture), others=(JSON,))

    def save_label_map(self, path: Path | str) -> None:
        """`label_map` as a PNG file of 8 bits, or of 16 where there are more than 255 masks. Raises BadInput (another
        suffix), CantWrite."""
        if Path(path).suffix.lower() != ".png":
            raise BadInput("a label map is written as PNG", where=str(path), hint="Use .png: JPEG changes the values")
        labels = self.label_map()
        _, data = cv2.imencode(".png", labels if labels.max(initial=0) > 255 else labels.astype(np.uint8))
        atomic.write(Path(path), data.tobytes())
