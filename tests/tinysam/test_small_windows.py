"""Windows and the resampling between them and the frame, against references that go cell by cell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from edge_sdk.export.tinysam.small.windows import (
    BOX_SCALES,
    LEAST_ASPECT,
    LEAST_PX,
    MARGIN,
    around,
    centred,
    place,
    sample,
    weights,
)

QUICK = settings(max_examples=40, deadline=None)
PX = st.floats(-60.0, 180.0, width=32)
LENGTH = st.floats(1.0, 150.0, width=32)


def triangle(at: float, length: int, width: float) -> np.ndarray:
    """Weights of a row of cells for a place in cells: fall to 0 within `width` cells on both sides; those of a row
    without ends sum to 1."""
    every = [max(0.0, 1.0 - abs(i - at) / width) for i in range(-50, length + 50)]
    return np.array(every[50:-50]) / max(sum(every), 1e-3)


def slow(low: float, high: float, cells: int, length: int, stride: float) -> np.ndarray:
    step = (high - low) / cells
    places = [(low + (i + 0.5) * step) / stride - 0.5 for i in range(cells)]
    return np.stack([triangle(at, length, max(1.0, step / stride)) for at in places])


def boxes(*rows: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor([rows])


@QUICK
@given(low=PX, length=LENGTH, cells=st.integers(1, 9), row=st.integers(1, 40), stride=st.sampled_from([1.0, 2.0, 4.0]))
def test_weights_are_those_of_a_triangle(low: float, length: float, cells: int, row: int, stride: float) -> None:
    assume(2.0 * length / cells / stride < MARGIN)  # no window of the network is wider
    ends = torch.tensor(low), torch.tensor(low) + torch.tensor(length)
    got = weights(*ends, cells, row, stride)
    want = slow(float(ends[0]), float(ends[1]), cells, row, stride)
    np.testing.assert_allclose(got, want, atol=2e-4)


@QUICK
@given(low=st.floats(16.0, 40.0, width=32), length=st.floats(4.0, 64.0, width=32), cells=st.integers(2, 16))
def test_rows_sum_to_one_inside_the_frame(low: float, length: float, cells: int) -> None:
    assume(2.0 * length / cells < MARGIN)
    sums = weights(torch.tensor(low), torch.tensor(low + length), cells, 256, 1.0).sum(-1)
    assert float((sums - 1.0).abs().max()) <= 1e-4
    whole = weights(torch.tensor(low), torch.tensor(low + 3.0 * cells), cells, 256, 1.0).sum(-1)
    torch.testing.assert_close(whole, torch.ones(cells), atol=1e-4, rtol=0)


def test_sampling_is_separable_and_zero_beyond_the_frame() -> None:
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(2, 3, 10, 12)).astype(np.float32))
    window = torch.tensor([[[3.0, 5.0, 29.0, 33.0], [-40.0, 2.0, 8.0, 90.0]]]).expand(2, -1, -1)
    got = sample(features, window, 6, 4.0)
    assert got.shape == (2, 2, 3, 6, 6)
    for q in range(2):
        x0, y0, x1, y1 = window[0, q].tolist()
        down, across = slow(y0, y1, 6, 10, 4.0), slow(x0, x1, 6, 12, 4.0)
        want = np.einsum("ir,bcrs,js->bcij", down, features.numpy(), across)
        np.testing.assert_allclose(got[:, q], want, atol=1e-5)
    outside = sample(features, boxes((200.0, 200.0, 260.0, 260.0)).expand(2, -1, -1), 6, 4.0)
    assert not outside.any()


def test_a_window_that_is_the_frame_is_the_features_themselves() -> None:
    features = torch.arange(36.0).reshape(1, 1, 6, 6)
    torch.testing.assert_close(sample(features, boxes((0.0, 0.0, 24.0, 24.0)), 6, 4.0)[0, 0], features[0])


def test_a_window_larger_than_its_grid_is_averaged() -> None:
    """Stripes of one cell are grey in a window that holds 8 of them in each of its cells, wherever it begins."""
    stripes = (torch.arange(64) % 2).to(torch.float32).expand(1, 1, 64, 64)
    for shift in (0.0, 0.5, 1.0):
        got = sample(stripes, boxes((shift, 0.0, 64.0 + shift, 64.0)), 8, 1.0)
        inner = got[0, 0, 0, 2:6, 2:6]
        assert float((inner - 0.5).abs().max()) < 0.02, shift
        picked = stripes[0, 0, 4::8, 4::8]  # what taking every eighth cell would give
        assert float((picked - 0.5).abs().min()) == 0.5


@QUICK
@given(x=st.floats(20.0, 70.0), y=st.floats(20.0, 70.0), width=st.floats(24.0, 50.0), height=st.floats(24.0, 50.0))
def test_a_mask_placed_on_the_frame_lies_where_its_window_does(x: float, y: float, width: float, height: float) -> None:
    window = boxes((x, y, x + width, y + height))
    on_frame = place(torch.ones(1, 1, 16, 16), window, 128, 128.0)[0, 0]
    centres = torch.arange(128) + 0.5
    inner = [(centres > a + 2) & (centres < b - 2) for a, b in ((x, x + width), (y, y + height))]
    outer = [(centres < a - 4) | (centres > b + 4) for a, b in ((x, x + width), (y, y + height))]
    torch.testing.assert_close(on_frame[inner[1]][:, inner[0]], torch.ones(int(inner[1].sum()), int(inner[0].sum())))
    assert not on_frame[outer[1]].any()
    assert not on_frame[:, outer[0]].any()


def test_placing_undoes_sampling_of_what_is_smooth() -> None:
    at = torch.arange(128.0) + 0.5
    smooth = torch.sin(at / 17.0)[None, :] + torch.cos(at / 23.0)[:, None]
    window = boxes((30.3, 24.7, 94.3, 88.7))
    cut = sample(smooth[None, None], window, 64, 1.0)[:, :, 0]
    back = place(cut, window, 128, 128.0)[0, 0]
    torch.testing.assert_close(back[32:80, 40:84], smooth[32:80, 40:84], atol=5e-3, rtol=0)


def test_a_mask_on_a_coarse_frame_is_averaged() -> None:
    half = torch.zeros(1, 1, 32, 32)
    half[..., 16:] = 1.0
    on_frame = place(half, boxes((0.0, 0.0, 32.0, 32.0)), 4, 32.0)[0, 0]
    assert torch.allclose(on_frame[1:3].sum(1), torch.full((2,), 2.0), atol=0.2)
    assert torch.all(on_frame[:, 0] < 0.1)
    assert torch.all(on_frame[1:3, 3] > 0.7)


@QUICK
@given(x=PX, y=PX, width=LENGTH, height=LENGTH, scale=st.sampled_from(BOX_SCALES))
def test_a_window_holds_its_box_and_is_neither_tiny_nor_thin(
    x: float, y: float, width: float, height: float, scale: float
) -> None:
    box = torch.tensor([x, y, x + width, y + height])
    window = around(box, torch.tensor(scale))
    sides = window[2:] - window[:2]
    assert torch.all(window[:2] <= box[:2] + 1e-3)
    assert torch.all(window[2:] >= box[2:] - 1e-3)
    assert float(sides.min()) >= LEAST_PX - 1e-3
    assert float(sides.min()) >= LEAST_ASPECT * float(sides.max()) - 1e-2
    torch.testing.assert_close((window[:2] + window[2:]) / 2, (box[:2] + box[2:]) / 2, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("sides", "want"), [((40.0, 20.0), (40.0, 20.0)), ((4.0, 20.0), (LEAST_PX, 20.0))])
def test_a_window_around_a_centre(sides: tuple[float, float], want: tuple[float, float]) -> None:
    window = centred(torch.tensor([50.0, 60.0]), torch.tensor(sides))
    assert (window[2:] - window[:2]).tolist() == list(want)
    assert ((window[:2] + window[2:]) / 2).tolist() == [50.0, 60.0]
