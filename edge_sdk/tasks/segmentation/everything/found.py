"""What everything mode answers: masks as runs, and their clean-up at full size. Knows no network, no low resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_sdk.tasks.segmentation.everything.boxes import suppress
from edge_sdk.tasks.segmentation.everything.clean_up import without_small_regions
from edge_sdk.tasks.segmentation.masks import Mask
from edge_sdk.tasks.segmentation.rle import Rle, decode, encode


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundMask(Mask):
    """One mask of everything mode. runs: of the whole picture; pixels are made of them when they are asked for, so that
    hundreds of masks fit into memory.

    stability: at full size, 0..1; of the mask before its clean-up. point: (x, y) px of the picture that was prompted,
    an integer being the centre of a pixel. prompt_box: x0, y0, x1, y1, px of the picture, the box that was prompted
    instead; then `point` is where the encoder guessed it, and may lie beside the mask. crop: as `box`, what was
    looked at. cleaned: whether small regions were filled or removed.
    """

    runs: Rle
    stability: float
    point: tuple[float, float]
    crop: tuple[int, int, int, int]
    prompt_box: tuple[float, float, float, float] | None = None
    cleaned: bool = False

    def __repr__(self) -> str:
        return f"<Mask at ({self.point[0]:g}, {self.point[1]:g}): predicted IoU {self.predicted_iou:.3f}>"

    @property
    def array(self) -> NDArray[np.bool_]:
        """bool (H, W) of the picture, read-only; made anew at each call."""
        out = decode(self.runs)
        out.setflags(write=False)
        return out

    @property
    def rle(self) -> Rle:
        """The runs."""
        return self.runs

    def to_json(self) -> dict[str, Any]:
        """Plain values; the mask as COCO's run-length encoding."""
        return {
            **super().to_json(), "stability": self.stability, "point": list(self.point),
            "prompt_box": None if self.prompt_box is None else list(self.prompt_box), "crop": list(self.crop),
            "cleaned": self.cleaned,
        }  # fmt: skip

    def annotation(self, *, image_id: int, number: int) -> dict[str, Any]:
        """As of every mask, with segment-anything's extra keys; its own `bbox` and `crop_box` are 1 px less wide and
        high. A mask of a box has `prompt_box` instead of `point_coords`."""
        left, top, right, bottom = self.crop
        box = self.prompt_box
        prompt = {"point_coords": [list(self.point)]} if box is None else {"prompt_box": list(box)}
        return {
            **super().annotation(image_id=image_id, number=number), "stability_score": self.stability,
            **prompt, "crop_box": [left, top, right - left, bottom - top],
            "cleaned": self.cleaned,
        }  # fmt: skip


def cleaned(found: Sequence[FoundMask], *, area_px: int, overlap: float) -> list[FoundMask]:
    """The masks with gaps filled and islands removed that have less than `area_px` pixels, and without those that have
    become copies: of two whose boxes overlap by more than `overlap` an unchanged one stays, then the first.

    As `postprocess_small_regions` of segment-anything, in whose order they come: unchanged ones first.
    """
    masks = [_cleaned(one, area_px) for one in found]
    scores = np.array([not one.cleaned for one in masks], np.float64)
    boxes = np.array([one.box for one in masks]).reshape(-1, 4)
    return [masks[index] for index in suppress(boxes, scores, overlap)]


def _cleaned(one: FoundMask, area_px: int) -> FoundMask:
    mask, changed = without_small_regions(one.array, area_px)
    return replace(one, runs=encode(mask), cleaned=True) if changed else one
