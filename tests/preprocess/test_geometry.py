"""Where pixels go, and that coordinates and maps come back to them."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.preprocess import Grid

sides = st.integers(1, 97)
modes: Any = st.sampled_from(["stretch", "letterbox", "longest-side"])


def _random(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)


@given(height=sides, width=sides, mode=modes, border=st.integers(0, 9))
def test_points_come_back_to_the_callers_pixels(height: int, width: int, mode: Any, border: int) -> None:
    record = Preprocessing(width=64, height=48, mode=mode, border=border)
    geometry = preprocess.apply(_random(height, width), record).geometry
    corners = np.array([[0.0, 0.0], [width, height], [width / 3, height / 7]])
    np.testing.assert_allclose(geometry.back(geometry.forward(corners)), corners, atol=1e-9)


@given(height=sides, width=sides, mode=modes, border=st.integers(0, 9))
def test_the_picture_lands_inside_the_border(height: int, width: int, mode: Any, border: int) -> None:
    record = Preprocessing(width=64, height=48, mode=mode, border=border)
    prepared = preprocess.apply(_random(height, width), record)
    assert prepared.tensor.shape == (1, 48, 64, 3)
    corners = prepared.geometry.forward(np.array([[0.0, 0.0], [width, height]]))
    assert (corners >= border - 1e-9).all()
    assert (corners <= np.array([64 - border, 48 - border]) + 1e-9).all()


@given(height=st.integers(1, 150), width=st.integers(1, 150), overlap=st.integers(0, 20))
def test_tiles_see_every_pixel_and_overlap_as_asked(height: int, width: int, overlap: int) -> None:
    picture = _random(height, width)
    record = Preprocessing(width=48, height=40, mode="tiles", overlap=overlap, fill=0)
    prepared = preprocess.apply(picture, record)
    seen = np.zeros((height, width), int)
    lefts, tops = set(), set()
    for tile, place in zip(prepared.tensor, prepared.geometry.transforms, strict=True):
        x, y = int(-place.offset_x), int(-place.offset_y)
        part = picture[y : y + 40, x : x + 48]
        np.testing.assert_array_equal(tile[: part.shape[0], : part.shape[1]], part)
        seen[y : y + 40, x : x + 48] += 1
        lefts.add(x)
        tops.add(y)
    assert seen.min() >= 1
    for starts, window in ((sorted(lefts), 48), (sorted(tops), 40)):
        assert all(b - a <= window - overlap for a, b in itertools.pairwise(starts))


@given(height=sides, width=sides, mode=st.sampled_from(["stretch", "letterbox", "longest-side", "tiles"]),
       border=st.integers(0, 9), fill=st.sampled_from(["edge", 0, 114]), colour=st.integers(0, 255))  # fmt: skip
def test_a_picture_of_one_colour_is_known_whatever_surrounds_it(
    height: int, width: int, mode: Any, border: int, fill: Any, colour: int
) -> None:
    record = Preprocessing(width=64, height=48, mode=mode, border=border, fill=fill)
    picture = np.full((height, width, 3), colour, np.uint8)
    assert preprocess.apply(picture, record).is_one_colour
    picture[: (height + 1) // 2, : (width + 1) // 2] ^= 128
    assert preprocess.apply(picture, record).is_one_colour == (height == width == 1)


def test_a_tile_does_not_speak_for_what_its_border_repeats() -> None:
    """Two windows of 64 px side by side, 16 px around each: the left one's right rim ends at column 64."""
    record = Preprocessing(width=96, height=96, mode="tiles", border=16)
    geometry = preprocess.apply(_random(64, 128), record).geometry
    cells = np.zeros((2, 16, 16), np.float32)
    cells[0, :, -1] = 1.0
    hot = np.flatnonzero(geometry.back_map(cells, Grid(offset_px=18.0, stride_px=4.0))[30] > 0.5)
    assert hot.tolist() == [60, 61, 62, 63]


@pytest.mark.parametrize(("mode", "left", "top"), [("letterbox", 1, 0), ("longest-side", 0, 0)])
def test_a_kept_aspect_lies_where_the_format_says_also_with_an_odd_rest(mode: Any, left: int, top: int) -> None:
    picture = np.full((16, 13, 3), 200, np.uint8)
    record = Preprocessing(width=16, height=16, mode=mode, fill=7)
    (tensor,) = preprocess.apply(picture, record).tensor
    rows, columns = np.flatnonzero((tensor == 200).all(axis=(1, 2))), np.flatnonzero((tensor[0] == 200).all(axis=1))
    assert (rows.size, columns.tolist()) == (0, list(range(left, left + 13)))
    assert (tensor[:, columns] == 200).all()
    wide = preprocess.apply(picture.transpose(1, 0, 2), record).tensor[0]
    np.testing.assert_array_equal(wide, tensor.transpose(1, 0, 2))


def test_a_dot_in_the_map_comes_back_where_the_defect_is() -> None:
    record = Preprocessing(width=64, height=64, mode="letterbox")
    geometry = preprocess.apply(_random(100, 200), record).geometry
    grid = Grid(offset_px=2.0, stride_px=4.0)
    cells = np.zeros((1, 16, 16), np.float32)
    cells[0, 7, 5] = 1.0  # centre at network (22, 30) = picture (22 / 0.32, (30 - 16) / 0.32)
    back = geometry.back_map(cells, grid)
    assert back.shape == (100, 200)
    y, x = np.unravel_index(int(back.argmax()), back.shape)
    assert abs(x + 0.5 - 22 / 0.32) <= 1.0
    assert abs(y + 0.5 - 14 / 0.32) <= 1.0


@given(height=st.integers(8, 90), width=st.integers(8, 90), mode=modes)
def test_a_constant_map_stays_constant_and_nothing_exceeds_the_cells(height: int, width: int, mode: Any) -> None:
    geometry = preprocess.apply(_random(height, width), Preprocessing(width=64, height=64, mode=mode)).geometry
    grid = Grid(offset_px=2.0, stride_px=4.0)
    np.testing.assert_allclose(geometry.back_map(np.full((1, 16, 16), 3.0, np.float32), grid), 3.0, rtol=1e-6)
    cells = np.random.default_rng(height).normal(size=(1, 16, 16)).astype(np.float32)
    back = geometry.back_map(cells, grid)
    assert back.min() >= cells.min() - 1e-6
    assert back.max() <= cells.max() + 1e-6


def test_where_tiles_overlap_the_larger_value_stands() -> None:
    record = Preprocessing(width=32, height=32, mode="tiles", overlap=16)
    geometry = preprocess.apply(_random(32, 48), record).geometry
    maps = np.stack([np.full((8, 8), 1.0, np.float32), np.full((8, 8), 2.0, np.float32)])
    back = geometry.back_map(maps, Grid(offset_px=2.0, stride_px=4.0))
    assert np.isfinite(back).all()
    np.testing.assert_allclose(back[:, :16], 1.0)
    np.testing.assert_allclose(back[:, 16:], 2.0)


def test_shrinking_is_the_mean_of_the_area_and_growing_is_exact_bilinear() -> None:
    picture = _random(64, 96)
    small = preprocess.resize(picture, 48, 32)
    blocks = picture.reshape(32, 2, 48, 2, 3).astype(np.float64).mean(axis=(1, 3))
    assert np.abs(small - blocks).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(
        preprocess.resize(picture, 192, 128), cv2.resize(picture, (192, 128), interpolation=cv2.INTER_LINEAR_EXACT)
    )


def test_one_axis_may_shrink_while_the_other_grows() -> None:
    picture = _random(20, 300)
    out = preprocess.resize(picture, 100, 40)
    middle = picture.reshape(20, 100, 3, 3).astype(np.float64).mean(axis=2)
    assert out.shape == (40, 100, 3)
    assert np.abs(out[::2][1:-1].astype(float) - 0.75 * middle[1:-1] - 0.25 * middle[:-2]).max() <= 1.5


@pytest.mark.parametrize("overlap", [32, 40, -1])
def test_an_overlap_as_large_as_the_tile_is_refused(overlap: int) -> None:
    with pytest.raises(BadUsage, match="overlap"):
        preprocess.apply(_random(64, 64), Preprocessing(width=32, height=32, mode="tiles", overlap=overlap))


def test_a_border_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(BadUsage, match="leaves nothing"):
        preprocess.apply(_random(8, 8), Preprocessing(width=32, height=32, border=16))


@given(height=sides, width=sides, mode=modes, border=st.integers(0, 9))
def test_a_map_of_coordinates_comes_back_as_coordinates(height: int, width: int, mode: Any, border: int) -> None:
    """Each cell says where its centre lies in the network's input; each pixel must then say where its own centre does,
    in both directions, but for pixels outside all centres, which take the nearest cell."""
    record = Preprocessing(width=64, height=48, mode=mode, border=border)
    grid = Grid(offset_px=1.5, stride_px=4.0)
    columns, rows = (grid.offset_px + grid.stride_px * np.arange(n, dtype=np.float32) for n in (16, 12))
    geometry = preprocess.apply(_random(height, width), record).geometry
    centres = geometry.forward(np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2) + 0.5)
    for axis, cells, ends in ((0, columns[None].repeat(12, 0), columns), (1, rows[:, None].repeat(16, 1), rows)):
        back = geometry.back_map(cells[None], grid)
        want = np.clip(centres[:, axis], ends[0], ends[-1]).reshape(height, width)
        np.testing.assert_allclose(back, want, atol=1e-3)


def test_no_map_at_all_is_refused() -> None:
    geometry = preprocess.Geometry(width=4, height=4, transforms=())
    with pytest.raises(BadInput, match="no map to bring back"):
        geometry.back_map(np.zeros((0, 2, 2), np.float32), Grid(offset_px=1.0, stride_px=2.0))


@given(
    height=st.integers(1, 200), width=st.integers(1, 200), mode=modes, rows=st.integers(1, 20), seed=st.integers(0, 9)
)
def test_a_map_is_bilinear_to_the_last_bits(height: int, width: int, mode: Any, rows: int, seed: int) -> None:
    """Against the definition in float64, written with the matrix products that the product must not use."""
    record, grid = Preprocessing(width=64, height=48, mode=mode), Grid(offset_px=2.0, stride_px=4.0)
    geometry = preprocess.apply(_random(height, width), record).geometry
    cells = np.random.default_rng(seed).normal(2, 1, (rows, 16)).astype(np.float32)

    def weights(count: int, cells_: int, scale: float, offset: float) -> np.ndarray:
        at = np.clip((scale * (np.arange(count) + 0.5) + offset - grid.offset_px) / grid.stride_px, 0, cells_ - 1)
        return np.clip(1 - np.abs(at[:, None] - np.arange(cells_)), 0, 1)

    (p,) = geometry.transforms
    want = weights(height, rows, p.scale_y, p.offset_y) @ cells.astype(np.float64)
    want = want @ weights(width, 16, p.scale_x, p.offset_x).T
    np.testing.assert_allclose(geometry.back_map(cells[None], grid), want, rtol=0, atol=1e-5)
