"""What everything mode answers: masks as runs, and their clean-up at full size. Knows no network, no low resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_sdk.tasks.segmentation.everything.boxes import box_of, suppress
from edge_sdk.tasks.segmentation.everything.clean_up import without_small_regions
from edge_sdk.tasks.segmentation.rle import Rle, decode, encode


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoundMask:
    """One mask of everything mode. box: (x0, y0, x1, y1) px of the picture, ends exclusive.

    predicted_iou: by the network, not clamped. stability: at full size, 0..1; of the mask before its clean-up. point:
    (x, y) px of the picture that was asked for, an integer being the centre of a pixel. crop: as `box`, what was looked
    at. cleaned: whether small regions were filled or removed.
    """

    rle: Rle
    box: tuple[int, int, int, int]
    predicted_iou: float
    stability: float
    point: tuple[float, float]
    crop: tuple[int, int, int, int]
    cleaned: bool = False

    @property
    def area_px(self) -> int:
        """Pixels of the mask."""
        return self.rle.area_px

    @property
    def mask(self) -> NDArray[np.bool_]:
        """bool (H, W) of the picture; made anew at each call."""
        return decode(self.rle)


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
    mask, changed = without_small_regions(one.mask, area_px)
    return replace(one, rle=encode(mask), box=box_of(mask), cleaned=True) if changed else one
