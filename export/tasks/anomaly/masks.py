"""Maps held against the masks of defects while pictures are scored, one at a time. Knows maps and masks, no runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.errors import BadInput
from edge_sdk.export.anomaly.data import Picture
from edge_sdk.export.tasks.anomaly.pixel import PixelQuality, PixelTally, Sample
from edge_sdk.preprocess import Geometry, Grid

MEGAPIXELS = 100.0
"""Above so many in all test pictures only the first variant's maps are looked at: a megapixel costs about 0.1 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Masks:
    """The pictures that maps are compared on, by position, and where their cells lie. left_out: defects without a mask,
    which would count as background."""

    pictures: tuple[Picture, ...]
    grid: Grid
    left_out: int

    @classmethod
    def of(cls, pictures: Sequence[Picture], grid: Grid) -> Masks | None:
        """None where no picture has a mask."""
        if not any(p.mask for p in pictures):
            return None
        left_out = sum(p.label != "good" and p.mask is None for p in pictures)
        return cls(pictures=tuple(pictures), grid=grid, left_out=left_out)


class MapTally:
    """Pixel metrics of one variant on one runtime. A mask that can't be used gives a reason and no metrics."""

    def __init__(self, masks: Masks) -> None:
        self._masks, self._tally, self._problem = masks, PixelTally(), ""

    def add(self, number: int, cells: NDArray[np.float32], geometry: Geometry) -> None:
        """The map of picture `number`: float32 (tiles, h, w) cells, brought to the picture's own size."""
        picture = self._masks.pictures[number]
        if self._problem or (picture.label != "good" and picture.mask is None):
            return
        try:
            mask = None if picture.mask is None else preprocess.decode(picture.mask)[..., 0]
            placed = geometry.back_map(cells, self._masks.grid)
            self._tally.add(Sample(map=placed, mask=mask, name=str(picture.mask or picture.path)))
        except BadInput as exc:
            self._problem = str(exc)

    def summary(self) -> tuple[PixelQuality | None, tuple[str, ...]]:
        """The metrics, and notes on them."""
        left_out = self._masks.left_out
        notes = (f"defective pictures without a mask, left out of pixel metrics: {left_out}",) if left_out else ()
        if not self._problem:
            try:
                return self._tally.quality(), notes
            except BadInput as exc:  # masks without a defect pixel
                self._problem = str(exc)
        return None, (f"no pixel metrics: {self._problem}",)
