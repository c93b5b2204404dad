"""The answer to prompts on one picture: masks made of the decoder's logits. Knows no runtime."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_sdk.counted import counted, percent
from edge_sdk.errors import BadInput
from edge_sdk.shown import shown
from edge_sdk.tasks.segmentation.everything.boxes import box_of
from edge_sdk.tasks.segmentation.frame import Frame, Window
from edge_sdk.tasks.segmentation.masks import Mask, MasksOfPicture
from edge_sdk.tasks.segmentation.rle import Rle, encode


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedMask(Mask):
    """One mask that answers a prompt. prompt: index of its prompt; index: which of the decoder's masks it is.

    logits: float32 (m, m), as the decoder answered them: a mask prompt for the next call. window: x0, y0, x1, y1 in
    frame px that they cover, None = the whole frame. frame: where the picture lies. threshold: logit above which a
    pixel is in the mask. pixels: bool (H, W) where the mask was changed since; None = it is made of the logits when
    first asked for.
    """

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
    def rle(self) -> Rle:
        """Run-length encoding, from which `to_json` and `to_coco` make what JSON holds."""
        return encode(self.array)

    # Of pixels that are there, both are found many times faster than the runs are made.
    @cached_property
    def area_px(self) -> int:
        """Pixels of the mask."""
        return int(np.count_nonzero(self.array))

    @cached_property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1, px of the caller's picture, ends exclusive; zeros where the mask is empty."""
        return box_of(self.array)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the mask as COCO's run-length encoding."""
        return {"prompt": self.prompt, "index": self.index, **super().to_json()}

    def as_prompt(self, frame: Frame, cells: int) -> NDArray[np.float32]:
        """As of every mask; the decoder's own logits, where it answered them of such a picture."""
        if self.pixels is None and frame == self.frame:
            return frame.whole_frame_grid(self.logits, self.window, cells)
        return super().as_prompt(frame, cells)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Segmentation(MasksOfPicture[DecodedMask]):
    """The masks of one call, in the order of its prompts; of one prompt in the order of the decoder's masks.

    prompts: how many were asked.
    """

    prompts: int

    def of_prompt(self, prompt: int) -> tuple[DecodedMask, ...]:
        """The masks that answer one prompt."""
        return tuple(mask for mask in self.masks if mask.prompt == prompt)

    @property
    def best(self) -> DecodedMask:
        """The mask with the highest predicted IoU; of equal ones the first. Raises BadInput where there is none."""
        if not self.masks:
            raise BadInput("there is no mask", where=self.source)
        return max(self.masks, key=lambda mask: mask.predicted_iou)

    def about(self) -> dict[str, Any]:
        """How many prompts were asked."""
        return {"prompts": self.prompts}

    def line(self) -> str:
        """The picture, the number of masks, the first few with their size, and notes."""
        total = self.width * self.height
        listed = ", ".join(
            f"{mask.area_px} px ({percent(mask.area_px / total)}), predicted IoU {mask.predicted_iou:.3f}"
            for mask in self.masks[:3]
        )
        more = f" and {len(self.masks) - 3} more" if len(self.masks) > 3 else ""
        notes = "".join(f" [{note}]" for note in self.notes)
        return f"{shown(self.source)}  {counted(len(self.masks), 'mask')}: {listed}{more}{notes}".strip()
