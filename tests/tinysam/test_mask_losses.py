"""Losses of masks: small cases by hand, and what holds for all masks."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.export.tinysam.mask_losses import actual_iou, cross_entropy, dice, focal

SURE = 40.0
"""A logit whose sigmoid is 0 or 1 in float32."""


def masks(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 3, 4, generator=torch.Generator().manual_seed(seed))


def test_cross_entropy_of_a_logit_of_zero_is_log_two_whatever_is_true() -> None:
    truth = torch.tensor([[0.0, 1.0], [0.25, 0.5]])
    torch.testing.assert_close(cross_entropy(torch.zeros(2, 2), truth), torch.tensor(math.log(2)))


def test_focal_loss_by_hand() -> None:
    """One true and one false cell, both at probability 0.5: 0.25 or 0.75 times 0.5^2 times log 2."""
    loss = focal(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(loss, torch.tensor((0.25 + 0.75) / 2 * 0.25 * math.log(2)))


def test_dice_by_hand() -> None:
    """Two cells answered, one of them true, one more missed: 1 - (2 * 1 + 1) / (2 + 2 + 1)."""
    logits = torch.tensor([[SURE, SURE, -SURE, -SURE]])
    torch.testing.assert_close(dice(logits, torch.tensor([[1.0, 0.0, 1.0, 0.0]])), torch.tensor(0.4))


def test_iou_by_hand_counts_shares_of_cells() -> None:
    """Two cells answered, true are 1 and 0.5 of them and one more: 1.5 / (2 + 2.5 - 1.5)."""
    logits = torch.tensor([[1.0, 0.1, -0.1, -1.0]])
    torch.testing.assert_close(actual_iou(logits, torch.tensor([[1.0, 0.5, 1.0, 0.0]])), torch.tensor(0.5))
    assert actual_iou(torch.full((1, 4), -1.0), torch.zeros(1, 4)) == 0.0


@given(seed=st.integers(0, 10_000))
def test_the_right_mask_is_best_and_every_loss_is_of_each_mask_alone(seed: int) -> None:
    logits, truth = masks(3, seed), (masks(3, seed + 1) > 0).float()
    right = SURE * (2 * truth - 1)
    for loss in (cross_entropy, focal, dice):
        values = loss(logits, truth)
        assert values.shape == (3,)
        torch.testing.assert_close(values[1], loss(logits[1], truth[1]))
        assert bool((loss(right, truth) <= values).all())
    assert bool((actual_iou(right, truth) == 1.0).all())


def test_a_truth_is_compared_with_several_masks() -> None:
    logits, truth = masks(6, 1).view(2, 3, 3, 4), (masks(2, 2) > 0).float()
    for loss in (cross_entropy, focal, dice, actual_iou):
        values = loss(logits, truth[:, None])
        assert values.shape == (2, 3)
        torch.testing.assert_close(values[1, 2], loss(logits[1, 2], truth[1]))


@pytest.mark.parametrize("loss", [cross_entropy, focal, dice])
def test_the_gradient_pushes_a_wrong_cell_the_right_way(loss: object) -> None:
    logits = torch.zeros(2, 2, requires_grad=True)
    loss(logits, torch.tensor([[1.0, 0.0], [0.0, 0.0]])).backward()  # type: ignore[operator]
    assert logits.grad is not None
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]
