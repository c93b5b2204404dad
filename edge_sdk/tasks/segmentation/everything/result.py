"""The result of everything mode for one picture: masks as runs, a label map, COCO annotations. Knows no runtime."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edge_sdk.counted import counted
from edge_sdk.shown import shown
from edge_sdk.tasks.base import RunInfo
from edge_sdk.tasks.images import Source
from edge_sdk.tasks.plots import drawn_on
from edge_sdk.tasks.segmentation.everything.crop_search import Counts
from edge_sdk.tasks.segmentation.everything.found import FoundMask
from edge_sdk.tasks.segmentation.files import MasksOfPicture
from edge_sdk.tasks.segmentation.label_map import coloured, label_map


@dataclass(frozen=True, kw_only=True, eq=False)
class Everything(MasksOfPicture):
    """All masks of one picture, in the order in which they win over each other: of smaller crops first, then by
    predicted IoU. width, height: of the picture, px. ran: what produced it.

    counts: points and candidates. source: name of the picture in texts. file: where it lies, None if pixels or bytes
    were given. bit_depth: by which 16-bit values are read. notes: what a person should look at.
    """

    suffix: ClassVar[str] = ".png"

    masks: tuple[FoundMask, ...]
    width: int
    height: int
    ran: RunInfo
    counts: Counts = field(default_factory=Counts)
    source: str = ""
    file: Path | None = None
    bit_depth: int | None = 16
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Everything {counted(len(self), 'mask')}, {self.source or 'picture'}, {self.width} x {self.height} px>"

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> FoundMask:
        return self.masks[index]

    @cached_property
    def _labels(self) -> NDArray[np.uint16]:
        out = label_map([one.rle for one in self.masks], width=self.width, height=self.height)
        out.setflags(write=False)
        return out

    def label_map(self) -> NDArray[np.uint16]:
        """uint16 (H, W), read-only: 0 = no mask, i = mask i - 1; where masks overlap, the smallest. Raises BadInput for
        more masks than 16 bits count."""
        return self._labels

    @property
    def covered(self) -> float:
        """Share of the picture that some mask covers, 0..1."""
        return float(np.count_nonzero(self._labels)) / self._labels.size

    def annotations(self, *, image_id: int = 0, first_id: int = 1) -> list[dict[str, Any]]:
        """One COCO annotation a mask, with segment-anything's extra keys: `segmentation` is COCO's compressed runs, and
        `bbox` x, y, width and height in px (segment-anything's width and height are 1 less)."""
        return [_annotation(one, image_id, first_id + index) for index, one in enumerate(self.masks)]

    def to_json(self) -> str:
        """One JSON object; its `annotations` are those of COCO."""
        out: dict[str, Any] = {
            "source": self.source, "picture": {"width": self.width, "height": self.height},
            "annotations": self.annotations(), "counts": dataclasses.asdict(self.counts), "notes": list(self.notes),
            "ran": self.ran.to_json(),
        }  # fmt: skip
        return json.dumps(out, ensure_ascii=False, allow_nan=False)

    def line(self) -> str:
        """Number of masks, what they cover, picture, points and notes."""
        points = f"{self.counts.asked} of {counted(self.counts.points, 'point')} asked"
        notes = "".join(f" [{note}]" for note in self.notes)
        what = f"{counted(len(self), 'mask')}, {self.covered:.0%} covered"
        return f"{what}  {shown(self.source)}  {points}{notes}"

    def plot(self, picture: Source | None = None) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB: the picture with each mask in a colour of its own.

        picture: the one that was looked at, as `everything` takes it, arrays RGB; None = read again from `file`. Raises
        BadInput: None, and the picture did not come from a file; what is no picture; one of another size.
        """
        pixels = drawn_on(picture, self.file, bit_depth=self.bit_depth, size=(self.width, self.height))
        return coloured(pixels, self._labels)


def _annotation(one: FoundMask, image_id: int, number: int) -> dict[str, Any]:
    x0, y0, x1, y1 = one.box
    left, top, right, bottom = one.crop
    return {
        "id": number, "image_id": image_id, "segmentation": one.rle.to_coco(), "area": one.area_px,
        "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0, "predicted_iou": one.predicted_iou,
        "stability_score": one.stability, "point_coords": [list(one.point)],
        "crop_box": [left, top, right - left, bottom - top], "cleaned": one.cleaned,
    }  # fmt: skip
