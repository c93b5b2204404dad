"""What the search does in one crop: where points lie, which masks cover others, how much is held in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import official_steps
import pytest
from disks import Disk, Disks, encode
from hypothesis import example, given
from hypothesis import strategies as st

from edge_sdk.tasks.segmentation.decoding import Decoded, EncodedImage
from edge_sdk.tasks.segmentation.everything.full_size import part_above
from edge_sdk.tasks.segmentation.everything.options import EverythingOptions, resolved
from edge_sdk.tasks.segmentation.everything.partial_logits import partial_logits
from edge_sdk.tasks.segmentation.everything.search import Search
from edge_sdk.tasks.segmentation.frame import Frame
from edge_sdk.tasks.segmentation.settings import EverythingSettings

SCENE: list[Disk] = [(60.0, 50.0, 20.0), (150.0, 100.0, 40.0), (225.0, 30.0, 17.0), (40.0, 150.0, 25.0)]
WIDTH, HEIGHT = 256, 192
OPTIONS = EverythingOptions(points_per_side=16, stability=0.9, stability_slack=1.0, predicted_iou=0.8)
ONE_MASK = (0.95, 0.1, 0.1)


def search(decoder: Disks, options: EverythingOptions, **more: Any) -> Search:
    return Search(
        encode,
        decoder,
        resolved(EverythingSettings(), options),
        width=WIDTH,
        height=HEIGHT,
        masks=official_steps.MASKS,
        **more,
    )


def test_the_point_of_a_mask_lies_in_the_mask_and_in_its_crop_whatever_the_crop() -> None:
    decoder = Disks(SCENE, steep=3.0, iou=ONE_MASK)
    found = list(search(decoder, OPTIONS.changed(crop_layers=2, crop_nms_iou=1.0)))
    offsets = {one.crop[:2] for one in found}
    assert any(left > top for left, top in offsets)
    assert any(left < top for left, top in offsets)
    for one in found:
        x, y = one.point
        left, top, right, bottom = one.crop
        assert one.array[round(y), round(x)]
        assert left <= x < right
        assert top <= y < bottom


def test_a_mask_that_is_not_stable_covers_no_finer_point() -> None:
    """So flat that the mask shrinks to a third from one offset to the other; its middle is confident all the same."""
    options = OPTIONS.changed(hierarchical=True, confident_logit=2.0, stability_offset=1.0)
    left_out = []
    for stability in (0.9, 0.1):
        found = search(Disks(SCENE, steep=0.1, iou=ONE_MASK), options.changed(stability=stability))
        list(found)
        assert found.counts.candidates > 0
        left_out.append(found.counts.left_out)
    assert left_out[0] == 0
    assert left_out[1] > 0


@dataclass
class Watching(Disks):
    """Notes the bytes of logits that a search holds, whenever it decodes."""

    searches: list[Search] = field(default_factory=list)
    again: list[int] = field(default_factory=list)

    def decode(self, encoded: EncodedImage, tokens: Any, labels: Any, /) -> Decoded:
        self.again += [one.counts.again for one in self.searches]
        return Disks.decode(self, encoded, tokens, labels)


@pytest.mark.parametrize("held_bytes", [0, 2000, 5000, 10**6])
def test_no_more_is_decoded_again_at_once_than_may_be_held(held_bytes: int) -> None:
    """Of 24 disks apart from each other, all of one size: a mask of 10 x 10 cells and more, one for each."""
    disks = [(20.0 + 40 * x, 24.0 + 48 * y, 12.0) for x in range(6) for y in range(4)]
    decoder = Watching(disks, steep=30.0, iou=ONE_MASK)
    running = search(decoder, OPTIONS.changed(points_per_side=32, points_per_batch=1000), held_bytes=held_bytes)
    decoder.searches.append(running)
    assert len(list(running)) == len(disks)
    at_once = np.diff([*decoder.again, running.counts.again])
    least_bytes = 4 * 10 * 10
    assert at_once.max() <= max(1, held_bytes // least_bytes)
    assert (running.counts.again == 0) == (held_bytes == 10**6)


@given(
    width=st.integers(1, 150), height=st.integers(1, 150), cells=st.sampled_from([8, 16, 24, 32, 40, 48]),
    x=st.integers(0, 47), y=st.integers(0, 47), window=st.none() | st.just((-3.0, 2.0, 21.0, 35.0)),
)  # fmt: skip
@example(width=64, height=64, cells=48, x=1, y=1, window=None)  # a cell is two thirds of a pixel of the frame
def test_all_that_a_single_cell_reaches_is_in_its_part(
    width: int, height: int, cells: int, x: int, y: int, window: tuple[float, float, float, float] | None
) -> None:
    """Both interpolations reach as far as they can: the level is hardly above what lies around the cell. Cells may be
    as small as a pixel of the frame or smaller, pixels of the picture larger or smaller than those of the frame."""
    scale = 32 / max(width, height)
    extent = (max(1, round(width * scale)), max(1, round(height * scale)))
    there = Frame(width=width, height=height, side=32, extent_width=extent[0], extent_height=extent[1])
    logits, level = np.full((cells, cells), -1.0, np.float32), -0.9
    logits[y % cells, x % cells] = 1000.0
    part = part_above(logits, window, there, level=level)
    whole = np.zeros((height, width), np.bool_)
    rows, columns = part.logits.shape
    whole[part.y : part.y + rows, part.x : part.x + columns] = part.logits > level
    wanted = there.place(logits, window, threshold=level)
    np.testing.assert_array_equal(whole, wanted)
    if window is not None or cells <= there.side:  # as in every network: a cell is a pixel of the frame or more
        kept = partial_logits(logits, there.valid(cells, window), level=level)
        np.testing.assert_array_equal(there.place(kept.grid, window, threshold=level), wanted)
