"""Where masks lie: SAM's sizes, coordinates and two interpolations, windows, boxes and mask prompts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.tasks.segmentation.frame import OUTSIDE_LOGIT, Frame

SHAPES = [
    ((768, 1024), (768, 1024)), ((480, 640), (768, 1024)), ((481, 321), (1024, 683)), ((321, 481), (683, 1024)),
    ((1, 1), (1024, 1024)), ((1, 20000), (0, 1024)), ((20000, 1), (1024, 0)), ((333, 222), (1024, 683)),
    ((3000, 4000), (768, 1024)), ((1023, 1025), (1022, 1024)), ((50, 997), (51, 1024)), ((2, 4097), (0, 1024)),
]  # fmt: skip
"""(height, width) of pictures, and what SAM's code scales them to at 1024; its zeros crash it."""


def frame(height: int, width: int, side: int = 1024) -> Frame:
    """As a picture of that size is prepared."""
    picture = np.zeros((height, width), np.uint8)
    record = Preprocessing(width=side, height=side, mode="longest-side", fill=0)
    return Frame.of(preprocess.apply(picture, record).geometry, side)


@pytest.mark.parametrize(("size", "official"), SHAPES)
def test_the_extent_is_that_of_sam_and_never_zero(size: tuple[int, int], official: tuple[int, int]) -> None:
    found = frame(*size)
    assert found.extent.tolist() == [max(1, side) for side in official]
    assert found.extent.dtype == np.float32


@pytest.mark.parametrize(
    ("size", "point", "official"),
    [
        ((480, 640), (100.0, 50.0), (160.0, 80.0)),
        ((321, 481), (480.0, 320.0), (1021.8711, 680.872274)),
        ((333, 222), (221.5, 0.25), (681.461712, 0.768768769)),
        ((3000, 4000), (3999.0, 2999.0), (1023.744, 767.744)),
    ],
)
def test_coordinates_are_scaled_as_sam_scales_them(
    size: tuple[int, int], point: tuple[float, float], official: tuple[float, float]
) -> None:
    found = frame(*size).forward(np.array([point]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [official], rtol=1e-7)


@pytest.mark.parametrize(
    ("size", "extent"),
    [
        ((768, 1024), (768, 1024)), ((480, 640), (768, 1024)), ((333, 222), (1024, 683)), ((50, 997), (52, 1024)),
        ((1500, 2000), (768, 1024)), ((1, 20000), (1, 1024)), ((384, 512), (768, 1024)),
    ],
)  # fmt: skip
def test_a_whole_frame_mask_is_interpolated_in_the_two_steps_of_sam(
    size: tuple[int, int], extent: tuple[int, int]
) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (256, 256)).astype(np.float32)
    place = Frame(height=size[0], width=size[1], side=1024, extent_height=extent[0], extent_width=extent[1])
    tensor = torch.from_numpy(logits)[None, None]
    full = functional.interpolate(tensor, (1024, 1024), mode="bilinear", align_corners=False)
    cut = full[..., : extent[0], : extent[1]]
    want = functional.interpolate(cut, size, mode="bilinear", align_corners=False)[0, 0].numpy()
    got = place.whole_frame_logits(logits)
    np.testing.assert_allclose(got, want, atol=1e-3)  # both hold coordinates up to 1024 in float32
    assert (place.place(logits) != (want > 0)).mean() < 1e-4


def test_a_grid_that_does_not_divide_the_frame_is_placed_too() -> None:
    logits = np.full((48, 48), -1.0, np.float32)
    logits[:24] = 1.0
    placed = frame(100, 100, side=100).place(logits)
    assert placed[:49].all()
    assert not placed[51:].any()


def test_a_window_is_placed_by_cell_centres_and_nothing_is_outside_it() -> None:
    place = Frame(height=40, width=60, side=60, extent_height=40, extent_width=60)
    logits = np.full((4, 4), 1.0, np.float32)
    logits[:, 2:] = -1.0
    mask = place.place(logits, (10.0, 20.0, 30.0, 28.0))
    ys, xs = np.nonzero(mask)
    # between the centres of columns 1 and 2, at 17.5 and 22.5 px, the logit passes 0 at 20
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (10, 19, 20, 27)
    assert mask.sum() == 10 * 8


def test_a_window_over_the_whole_frame_is_nearly_the_whole_frame_mask() -> None:
    place = frame(333, 222)
    rng = np.random.default_rng(2)

    logits = cv2.GaussianBlur(rng.normal(0, 9, (256, 256)).astype(np.float32), (0, 0), 6)
    one, other = place.place(logits), place.place(logits, place.whole)
    assert (one & other).sum() / (one | other).sum() > 0.99


@pytest.mark.parametrize("window", [(70.0, 0.0, 90.0, 20.0), (5.0, 5.0, 5.0, 9.0), (9.0, 5.0, 3.0, 9.0)])
def test_a_window_beside_the_picture_or_without_area_gives_an_empty_mask(
    window: tuple[float, float, float, float],
) -> None:
    place = Frame(height=40, width=60, side=60, extent_height=40, extent_width=60)
    assert not place.place(np.ones((4, 4), np.float32), window).any()


@pytest.mark.parametrize(
    ("extent", "rows", "columns"), [((768, 1024), 192, 256), ((1024, 683), 256, 171), ((1, 1024), 1, 256)]
)
def test_the_valid_part_of_a_grid_is_where_cell_centres_lie_on_the_picture(
    extent: tuple[int, int], rows: int, columns: int
) -> None:
    place = Frame(height=10, width=10, side=1024, extent_height=extent[0], extent_width=extent[1])
    assert place.valid(256) == (slice(0, rows), slice(0, columns))


def test_the_valid_part_of_a_window_leaves_out_what_is_before_the_picture() -> None:
    place = Frame(height=10, width=10, side=64, extent_height=64, extent_width=32)
    assert place.valid(8, (-8.0, 8.0, 56.0, 40.0)) == (slice(0, 8), slice(1, 5))


def test_a_callers_mask_becomes_logits_of_ten_padded_and_soft_at_its_edge() -> None:
    place = Frame(height=96, width=128, side=64, extent_height=48, extent_width=64)
    mask = np.zeros((96, 128), bool)
    mask[:, :66] = True  # 33 px of the frame: half of cell 16
    grid = place.prompt_of(mask, 32)
    assert grid.dtype == np.float32
    np.testing.assert_allclose(grid[:24, :16], 10.0)
    np.testing.assert_allclose(grid[:24, 16], 0.0, atol=0.1)
    np.testing.assert_allclose(grid[:24, 17:], -10.0)
    np.testing.assert_allclose(grid[24:], -10.0)


def test_an_answer_over_a_window_becomes_a_prompt_over_the_whole_frame() -> None:
    place = Frame(height=64, width=64, side=64, extent_height=64, extent_width=64)
    grid = place.whole_frame_grid(np.full((16, 16), 3.0, np.float32), (16.0, 8.0, 48.0, 24.0), 32)
    inside = np.zeros((32, 32), bool)
    inside[4:12, 8:24] = True
    np.testing.assert_allclose(grid[inside], 3.0)
    np.testing.assert_allclose(grid[~inside], OUTSIDE_LOGIT)
    same = np.random.default_rng(0).random((32, 32), np.float32)
    np.testing.assert_array_equal(place.whole_frame_grid(same, None, 32), same)
