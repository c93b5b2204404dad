"""The answer to prompts on one picture: masks in the caller's pixels, their encodings and files. Knows no runtime."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edge_sdk.counted import counted
from edge_sdk.errors import BadInput
from edge_sdk.shown import shown
from edge_sdk.tasks.base import RunInfo
from edge_sdk.tasks.images import Source
from edge_sdk.tasks.plots import drawn_on
from edge_sdk.tasks.segmentation import rle
from edge_sdk.tasks.segmentation.drawing import with_masks
from edge_sdk.tasks.segmentation.files import MasksOfPicture
from edge_sdk.tasks.segmentation.frame import Frame, Window
from edge_sdk.tasks.segmentation.label_map import label_map
from edge_sdk.tasks.segmentation.polygons import Polygon, polygons_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Mask:
    """One mask. predicted_iou: the network's own estimate, not clamped. prompt: index of its prompt; index: which of
    the decoder's masks it is.

    logits: float32 (m, m), as the decoder answered them: a mask prompt for the next call. window: x0, y0, x1, y1 in
    frame px that they cover, None = the whole frame. frame: where the picture lies. threshold: logit above which a
    pixel is in the mask. pixels: bool (H, W) where the mask was changed since; None = it is made of the logits when
    first asked for.
    """

    predicted_iou: float
    logits: NDArray[np.float32]
    frame: Frame
    window: Window | None = None
    prompt: int = 0
    index: int = 0
    threshold: float = 0.0
    pixels: NDArray[np.bool_] | None = None

    def __repr__(self) -> str:
        return f"<Mask of prompt {self.prompt}: predicted IoU {self.predicted_iou:.3f}>"

    @cached_property
    def array(self) -> NDArray[np.bool_]:
        """bool (H, W) in the caller's pixels. Read-only."""
        if self.pixels is None:
            out = self.frame.place(self.logits, self.window, threshold=self.threshold)
        else:
            out = self.pixels[:]  # a view: the caller's own array stays writable
        out.setflags(write=False)
        return out

    @cached_property
    def area_px(self) -> int:
        """Pixels of the mask."""
        return int(np.count_nonzero(self.array))

    @cached_property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1, px of the caller's picture, ends exclusive; zeros where the mask is empty."""
        columns, rows = np.flatnonzero(self.array.any(axis=0)), np.flatnonzero(self.array.any(axis=1))
        if not columns.size:
            return 0, 0, 0, 0
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

    def rle(self) -> rle.Rle:
        """Run-length encoding, from which `to_json` and `to_coco` make what JSON holds."""
        return rle.encode(self.array)

    def polygons(self) -> tuple[Polygon, ...]:
        """Outlines of its connected pieces, with the gaps inside them."""
        return polygons_of(self.array)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the mask as COCO's run-length encoding."""
        return {
            "prompt": self.prompt, "index": self.index, "predicted_iou": self.predicted_iou, "area_px": self.area_px,
            "box": list(self.box), "rle": self.rle().to_coco(),
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmentation(MasksOfPicture):
    """The masks of one call, in the order of its prompts; of one prompt in the order of the decoder's masks.

    frame: where the picture lies, with its size. prompts: how many were asked. source: the picture's name in texts;
    file: where it lies, None if pixels or bytes were given. bit_depth: by which 16-bit values are read. notes: what a
    person should look at. suffix: of what `save` writes.
    """

    suffix: ClassVar[str] = ".png"

    masks: tuple[Mask, ...]
    frame: Frame
    prompts: int
    ran: RunInfo
    source: str = ""
    file: Path | None = None
    bit_depth: int | None = 16
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        found = counted(len(self.masks), "mask")
        return f"<Segmentation {found}, {self.source or 'picture'}, {self.frame.width} x {self.frame.height} px>"

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> Mask:
        return self.masks[index]

    def of_prompt(self, prompt: int) -> tuple[Mask, ...]:
        """The masks that answer one prompt."""
        return tuple(mask for mask in self.masks if mask.prompt == prompt)

    @property
    def best(self) -> Mask:
        """The mask with the highest predicted IoU; of equal ones the first. Raises BadInput where there is none."""
        if not self.masks:
            raise BadInput("there is no mask", where=self.source)
        return max(self.masks, key=lambda mask: mask.predicted_iou)

    def to_json(self) -> str:
        """One JSON object; masks as COCO's run-length encodings (`rle.decode` makes arrays of them)."""
        out = {
            "source": self.source, "picture": {"width": self.frame.width, "height": self.frame.height},
            "prompts": self.prompts, "masks": [mask.to_json() for mask in self.masks], "notes": list(self.notes),
            "ran": self.ran.to_json(),
        }  # fmt: skip
        return json.dumps(out, ensure_ascii=False, allow_nan=False)

    def line(self) -> str:
        """The picture, the number of masks, the first few with their size, and notes."""
        total = self.frame.width * self.frame.height
        listed = ", ".join(
            f"{mask.area_px} px ({mask.area_px / total:.1%}), predicted IoU {mask.predicted_iou:.3f}"
            for mask in self.masks[:3]
        )
        more = f" and {len(self.masks) - 3} more" if len(self.masks) > 3 else ""
        notes = "".join(f" [{note}]" for note in self.notes)
        return f"{shown(self.source)}  {counted(len(self.masks), 'mask')}: {listed}{more}{notes}".strip()

    def plot(self, picture: Source | None = None) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB: the picture with the masks in colour and outlined, smaller ones in front.

        picture: the one that was predicted, as `predict` takes it, arrays RGB; None = read again from `file`. Raises
        BadInput: None, and the picture did not come from a file; what is no picture; one of another size.
        """
        pixels = drawn_on(picture, self.file, bit_depth=self.bit_depth, size=(self.frame.width, self.frame.height))
        return with_masks(pixels, [mask.array for mask in self.masks])

    def label_map(self) -> NDArray[np.uint16]:
        """uint16 (H, W): 0 = no mask, i = mask i - 1; where masks overlap, the smallest, of equal ones the
        first. Raises BadInput for more masks than 16 bits count."""
        runs = [mask.rle() for mask in self.masks]
        return label_map(runs, width=self.frame.width, height=self.frame.height)
