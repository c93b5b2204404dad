"""A mask of a picture, and a result that holds several: what is the same whatever was asked. Knows no runtime."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk import atomic
from edge_sdk.counted import counted
from edge_sdk.errors import BadInput
from edge_sdk.tasks.images import Source
from edge_sdk.tasks.picture_result import PictureResult
from edge_sdk.tasks.plots import write_plot
from edge_sdk.tasks.segmentation.drawing import with_labels
from edge_sdk.tasks.segmentation.frame import Frame
from edge_sdk.tasks.segmentation.label_map import label_map
from edge_sdk.tasks.segmentation.polygons import Polygon, polygons_of
from edge_sdk.tasks.segmentation.rle import Rle

JSON = ".json"
LABELS = ".labels.png"
FILES: Mapping[str, str] = {"plot": ".png", "labels": LABELS, "json": JSON}
"""What `save` writes, by the end of the name that asks for it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mask(ABC):
    """One mask of a picture. predicted_iou: the network's own estimate, not clamped.

    How it is stored is the subclass's: as the decoder's logits (`result.DecodedMask`), or as runs, where there are many
    of them (`everything.found.FoundMask`).
    """

    predicted_iou: float

    @property
    @abstractmethod
    def array(self) -> NDArray[np.bool_]:
        """bool (H, W) in the caller's pixels. Read-only."""

    @property
    @abstractmethod
    def rle(self) -> Rle:
        """Run-length encoding, from which `to_json` and `to_coco` make what JSON holds."""

    @property
    def area_px(self) -> int:
        """Pixels of the mask."""
        return self.rle.area_px

    @cached_property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1, px of the caller's picture, ends exclusive; zeros where the mask is empty."""
        return self.rle.box

    def polygons(self) -> tuple[Polygon, ...]:
        """Outlines of its connected pieces, with the gaps inside them."""
        return polygons_of(self.array)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the mask as COCO's run-length encoding."""
        return {
            "predicted_iou": self.predicted_iou, "area_px": self.area_px, "box": list(self.box),
            "rle": self.rle.to_coco(),
        }  # fmt: skip

    def annotation(self, *, image_id: int, number: int) -> dict[str, Any]:
        """As COCO writes it: `segmentation` is its compressed runs, `bbox` x, y, width and height in px."""
        x0, y0, x1, y1 = self.box
        return {
            "id": number, "image_id": image_id, "segmentation": self.rle.to_coco(), "area": self.area_px,
            "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0, "predicted_iou": self.predicted_iou,
        }  # fmt: skip

    def as_prompt(self, frame: Frame, cells: int) -> NDArray[np.float32]:
        """float32 (cells, cells), logits over the whole frame: the mask as a mask prompt on a picture that lies in
        `frame`. Raises BadInput for a picture of another size."""
        pixels = self.array
        height, width = pixels.shape
        if (width, height) != (frame.width, frame.height):
            raise BadInput(
                f"the mask is of a picture of {width} x {height} px, this one has {frame.width} x {frame.height}",
                hint="Give masks of pictures of that size",
            )
        return frame.prompt_of(pixels, cells)


M = TypeVar("M", bound=Mask)


@dataclass(frozen=True, kw_only=True, eq=False)
class MasksOfPicture(PictureResult, Generic[M]):
    """Masks of one picture. width, height: of the picture, px."""

    masks: tuple[M, ...]
    width: int
    height: int

    def __repr__(self) -> str:
        found = counted(len(self), "mask")
        return f"<{type(self).__name__} {found}, {self.source or 'picture'}, {self.width} x {self.height} px>"

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> M:
        return self.masks[index]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture, px."""
        return self.width, self.height

    @abstractmethod
    def line(self) -> str:
        """The result in one line of text."""

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """What was asked, as plain values of the JSON."""

    def to_json(self) -> str:
        """One JSON object; masks as COCO's run-length encodings (`rle.decode` makes arrays of them)."""
        out = {
            "source": self.source, "picture": {"width": self.width, "height": self.height}, **self.about(),
            "masks": [mask.to_json() for mask in self.masks], "notes": list(self.notes), "ran": self.ran.to_json(),
        }  # fmt: skip
        return json.dumps(out, ensure_ascii=False, allow_nan=False)

    def annotations(self, *, image_id: int = 0, first_id: int = 1) -> list[dict[str, Any]]:
        """One COCO annotation a mask (`Mask.annotation`)."""
        return [one.annotation(image_id=image_id, number=first_id + at) for at, one in enumerate(self.masks)]

    @cached_property
    def _labels(self) -> NDArray[np.uint16]:
        out = label_map([one.rle for one in self.masks], width=self.width, height=self.height)
        out.setflags(write=False)
        return out

    def label_map(self) -> NDArray[np.uint16]:
        """uint16 (H, W), read-only: 0 = no mask, i = mask i - 1; where masks overlap, the smallest, of equal ones the
        first. Raises BadInput for more masks than 16 bits count."""
        return self._labels

    @property
    def covered(self) -> float:
        """Share of the picture that some mask covers, 0..1."""
        return float(np.count_nonzero(self._labels)) / self._labels.size

    def plot(self, picture: Source | None = None) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB: the picture with each mask in a colour of its own and a line at its edge, smaller masks
        in front.

        picture: the one that was asked about, as `predict` takes it, arrays RGB; None = read again from `file`. Raises
        BadInput: None, and the picture did not come from a file; what is no picture; one of another size; more masks
        than 16 bits count.
        """
        return with_labels(self.background(picture), self._labels)

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
