"""Overlapping crops of a picture, layer by layer: where everything mode looks closer. Knows no mask, no network."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a picture. box: (x0, y0, x1, y1) px, ends exclusive. layer: 0 is the whole picture."""

    box: tuple[int, int, int, int]
    layer: int

    @property
    def width(self) -> int:
        """px."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> int:
        """px."""
        return self.box[3] - self.box[1]

    @property
    def area_px(self) -> int:
        """Pixels in it."""
        return self.width * self.height


def crops_of(width: int, height: int, *, layers: int, overlap: float) -> tuple[Crop, ...]:
    """The whole picture, then 2 ** i x 2 ** i crops for each layer i from 1: from left to right, each column downwards.

    overlap: of neighbours, as a share of the picture's shorter side; less in higher layers. As `generate_crop_boxes` of
    segment-anything, without the crops of no pixel that it makes of pictures that are 1 px wide or high.
    """
    found = [Crop((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        count = 2**layer
        shared = int(overlap * min(width, height) * (2 / count))
        across, down = _spans(width, count, shared), _spans(height, count, shared)
        found += [Crop((x0, y0, x1, y1), layer) for x0, x1 in across for y0, y1 in down if x1 > x0 and y1 > y0]
    return tuple(found)


def _spans(size: int, count: int, shared: int) -> list[tuple[int, int]]:
    """First and end of `count` equal parts of `size` px that overlap by `shared` px, cut at the end."""
    length = math.ceil((shared * (count - 1) + size) / count)
    starts = [k * (length - shared) for k in range(count)]
    return [(start, min(start + length, size)) for start in starts]


def smallest_first(crops: tuple[Crop, ...]) -> tuple[Crop, ...]:
    """Crops in the order in which their masks win over those of others: by area, equal ones as they come. A mask of one
    of them is final as soon as it is found: none that comes later suppresses it."""
    return tuple(sorted(crops, key=lambda crop: crop.area_px))
