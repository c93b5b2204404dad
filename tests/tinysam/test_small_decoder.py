"""The small size's decoder: which windows it answers in, and what does and does not change an answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nets import SIDE, network
from torch import Tensor

from edge_sdk.export.tinysam.small.decoder import (
    FRAME_MASK,
    MASK,
    Prompts,
    answer,
    area_px,
    onto_frame,
    unit,
    windows_of,
)
from edge_sdk.export.tinysam.small.windows import BOX_SCALES, GUESS_SCALE, LEAST_PX, POINT_SCALES, SPREAD, around

BOX = (2, 3)
WHOLE = torch.tensor([[float(SIDE)] * 2])
"""Extent of a picture that fills its frame."""


@pytest.fixture(scope="module")
def features() -> dict[str, Tensor]:
    image = np.random.default_rng(3).integers(0, 256, (1, SIDE, SIDE, 3)).astype(np.uint8)
    with torch.no_grad():
        return network().encoder(torch.from_numpy(image), torch.tensor([[96.0, SIDE]]))


def prompts(points: list[list[list[float]]], labels: list[list[int]], mask: Tensor | None = None) -> Prompts:
    """Prompts of one picture."""
    return Prompts(torch.tensor([points]), torch.tensor([labels]), mask)


def answered(features: dict[str, Tensor], asked: Prompts) -> tuple[Tensor, Tensor, Tensor]:
    with torch.no_grad():
        return answer(network().decoder, features, asked)


@given(seed=st.integers(0, 999), size=st.sampled_from([0.0, 3e-6, 1e-4, 1e-2]))
def test_a_rounding_step_of_a_short_key_is_not_blown_up(seed: int, size: float) -> None:
    """Runtimes round coordinates otherwise, and so keys on the rim of the frame: by 1e-5."""
    rng = np.random.default_rng(seed)
    key, step = (torch.from_numpy(rng.uniform(-1.0, 1.0, 8)) for _ in range(2))
    assert float((unit(key * size + step * 1e-5) - unit(key * size)).norm()) < 1e-3


@given(seed=st.integers(0, 999), size=st.floats(0.5, 5.0))
def test_a_key_of_a_picture_gets_the_length_1(seed: int, size: float) -> None:
    key = np.random.default_rng(seed).normal(size=8)
    length = float(unit(torch.from_numpy(size * key / np.linalg.norm(key))).norm())
    assert 0.995 < length <= 1.0


def test_what_lies_beside_the_picture_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3)).astype(np.uint8)
    other = image.copy()
    image[:, 96:], other[:, 96:] = 0, 255
    extent = torch.tensor([[96.0, SIDE]])
    with torch.no_grad():
        one, two = (network().encoder(torch.from_numpy(x), extent) for x in (image, other))
    for name in one:
        assert torch.equal(one[name], two[name])


def test_three_answers_lie_in_windows_around_the_box(features: dict[str, Tensor]) -> None:
    masks, iou, windows = answered(features, prompts([[[20, 30], [60, 70]], [[5, 5], [15, 90]]], [list(BOX)] * 2))
    assert (masks.shape, iou.shape, windows.shape) == ((1, 2, 3, MASK, MASK), (1, 2, 3), (1, 2, 3, 4))
    box = torch.tensor([[20.0, 30, 60, 70], [5, 5, 15, 90]])
    torch.testing.assert_close(windows[0], around(box[:, None], torch.tensor(BOX_SCALES)))


GUESS = torch.tensor([[[30.0, 20, 90, 60]]])
"""A box that is guessed for a prompt, in a picture that fills its frame."""


def windowed(asked: Prompts, *, extent: Tensor = WHOLE, guess: Tensor = GUESS) -> Tensor:
    """The three windows of one prompt."""
    return windows_of(asked, float(SIDE), extent, guess)[0, 0]


def test_a_point_is_answered_in_the_window_that_is_guessed_and_in_two_of_the_frames_sides() -> None:
    one = windowed(prompts([[[64, 64]]], [[1]]))
    torch.testing.assert_close(one[0], around(GUESS[0, 0], torch.tensor(GUESS_SCALE)))
    sides = one[1:, 2:] - one[1:, :2]
    torch.testing.assert_close(sides[:, 0], torch.tensor(POINT_SCALES) * SIDE)
    torch.testing.assert_close((one[1, :2] + one[1, 2:]) / 2, torch.tensor([64.5, 64.5]))
    far = windowed(prompts([[[40, 40], [80, 70], [0, 127]]], [[1, 1, 0]]))[1:]
    assert float((far[:, 2:] - far[:, :2]).min()) >= SPREAD * 40 - 1e-3
    assert torch.all(far[:, :2] <= 40.5)
    assert torch.all(far[:, 2:] >= 80.5)


def test_a_guess_holds_its_points_and_stays_in_the_picture(features: dict[str, Tensor]) -> None:
    """What lies under negative and hidden tokens is not asked for."""
    decoder = network().decoder
    with torch.no_grad():
        pair = decoder.guessed(features, prompts([[[30, 40], [100, 90]]], [[1, 1]]))[0, 0]
        alone = [decoder.guessed(features, prompts([[at]], [[1]]))[0, 0] for at in ([30, 40], [100, 90])]
        one = decoder.guessed(features, prompts([[[30, 40], [100, 90], [7, 7]]], [[1, 0, -2]]))[0, 0]
    torch.testing.assert_close(one, alone[0])
    torch.testing.assert_close(pair[:2], torch.minimum(alone[0][:2], alone[1][:2]))
    torch.testing.assert_close(pair[2:], torch.maximum(alone[0][2:], alone[1][2:]))
    assert torch.all(pair >= 0)
    assert torch.all(pair <= torch.tensor([SIDE, 96.0] * 2))  # the extent of the features' picture
    for (x, y), (x0, y0, x1, y1) in zip(((30, 40), (100, 90)), (found.tolist() for found in alone)):
        assert x0 < x + 0.5 < x1
        assert y0 < y + 0.5 < y1


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(0, SIDE - 1, width=32), y=st.floats(0, SIDE - 1, width=32), other=st.floats(0, SIDE - 1, width=32),
    height=st.integers(1, SIDE), width=st.integers(1, SIDE),
)  # fmt: skip
def test_further_windows_around_points_stay_in_the_picture_and_hold_the_point(
    x: float, y: float, other: float, height: int, width: int
) -> None:
    """The widest one is the picture itself."""
    extent = torch.tensor([[float(height), float(width)]])
    x, y, other = min(x, width - 1), min(y, height - 1), min(other, width - 1)
    for points, labels in (([[x, y]], [1]), ([[x, y], [other, y]], [1, 1])):
        found = windowed(prompts([points], [labels]), extent=extent)[1:]
        least = LEAST_PX / 2  # what is smaller than the least window is held by one around it
        for low, high, at, length in ((0, 2, x + 0.5, width), (1, 3, y + 0.5, height)):
            room = max(0.0, least - length / 2) + 1e-3
            assert torch.all(found[:, low] >= min(-room, 0.0))
            assert torch.all(found[:, high] <= length + room)
            assert torch.all(found[:, low] <= at)
            assert torch.all(found[:, high] >= at)
            torch.testing.assert_close(
                found[-1, high] - found[-1, low], torch.tensor(max(float(length), LEAST_PX)), atol=1e-3, rtol=0
            )


def test_a_box_comes_before_a_mask_and_a_mask_before_points() -> None:
    mask = torch.full((1, 1, FRAME_MASK, FRAME_MASK), -6.0)
    mask[..., 30:48, 24:60] = 6.0  # px 40 to 64 down and 32 to 80 across, at a side of 128
    scales = torch.tensor(BOX_SCALES)
    around_mask = around(torch.tensor([[32.0, 40, 80, 64]])[:, None], scales)[0]
    pointed = windowed(prompts([[[50, 50]]], [[1]], mask))
    torch.testing.assert_close(pointed, around_mask, atol=1e-3, rtol=0)
    boxed = windowed(prompts([[[10, 10], [30, 30]]], [list(BOX)], mask))
    torch.testing.assert_close(boxed, around(torch.tensor([[10.0, 10, 30, 30]])[:, None], scales)[0])
    empty = windowed(prompts([[[50, 50]]], [[1]], torch.full_like(mask, -6.0)))
    torch.testing.assert_close(empty, windowed(prompts([[[50, 50]]], [[1]])))


def test_hidden_tokens_change_nothing_and_other_points_do(features: dict[str, Tensor]) -> None:
    for points, labels in (([[40.0, 50.0]], [1]), ([[20.0, 30.0], [60.0, 70.0]], list(BOX))):
        plain = answered(features, prompts([points], [labels]))
        hidden = answered(features, prompts([[*points, [77, 7], [3, 99]]], [[*labels, -2, -1]]))
        for one, two in zip(plain, hidden, strict=True):
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)
        other = answered(features, prompts([[*points, [45, 55]]], [[*labels, 0]]))
        assert float((other[0] - plain[0]).abs().max()) > 1e-3


def test_prompts_together_are_answered_as_alone(features: dict[str, Tensor]) -> None:
    points, labels = [[[40, 50], [0, 0]], [[20, 30], [60, 70]]], [[1, -2], list(BOX)]
    together = answered(features, prompts(points, labels))
    for row in range(2):
        for all_, one in zip(together, answered(features, prompts(points[row : row + 1], labels[row : row + 1]))):
            torch.testing.assert_close(all_[0, row], one[0, 0], atol=1e-4, rtol=1e-4)


def test_an_answer_on_the_frame_is_a_mask_prompt() -> None:
    window = torch.tensor([[[32.0, 32, 96, 96]]])
    grid = onto_frame(torch.full((1, 1, MASK, MASK), 9.0), window, float(SIDE))
    assert grid.shape == (1, 1, FRAME_MASK, FRAME_MASK)
    torch.testing.assert_close(grid[0, 0, 28:68, 28:68], torch.full((40, 40), 9.0), atol=1e-4, rtol=0.0)
    assert float(grid[0, 0, 0, 0]) == -10.0
    assert area_px(window).tolist() == [[1.0]]
