"""The losses of the paper: small cases by hand, and what holds for all."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.errors import BadUsage
from edge_sdk.export.tinysam.distill import losses
from edge_sdk.export.tinysam.distill.recipe import STAGES, LossWeights, PromptRecipe, ViewRecipe


def test_embedding_and_token_loss_are_mean_absolute_differences() -> None:
    teacher, student = torch.tensor([[1.0, -2.0], [0.0, 4.0]]), torch.tensor([[0.0, 2.0], [0.0, 1.0]])
    assert losses.embedding_loss(teacher, student) == (1 + 4 + 0 + 3) / 4
    assert losses.token_loss(teacher, student) == 2.0


def test_output_loss_is_the_weighted_sum_over_masks_and_the_mean_over_prompts() -> None:
    teacher = torch.zeros(2, 2, 1, 2)
    student = torch.tensor([[[[1.0, 3.0]], [[4.0, 4.0]]], [[[0.0, 0.0]], [[-2.0, 0.0]]]])
    weights = torch.tensor([[0.5, 1.0], [1.0, 0.25]])
    # prompt 1: 0.5 * 2 + 1 * 4 = 5; prompt 2: 0 + 0.25 * 1
    assert losses.output_loss(teacher, student, weights) == (5.0 + 0.25) / 2


def test_hardness_by_hand() -> None:
    teacher, student = torch.tensor([0.8, 0.8, 0.0, 0.9]), torch.tensor([0.8, 0.4, 0.5, 0.0])
    found = losses.hardness(teacher, student)
    sigmoid = [1 / (1 + math.exp(-x)) for x in (0.8 / 0.801 - 1, 0.8 / 0.401 - 1, -1.0, 0.9 / 0.001 - 1)]
    torch.testing.assert_close(found, torch.tensor(sigmoid))
    assert found[2] == pytest.approx(0.2689, abs=1e-4)


@given(teacher=st.floats(0.0, 1.0), student=st.floats(0.02, 1.0))
def test_a_mask_weighs_more_where_the_student_is_worse(teacher: float, student: float) -> None:
    one = float(losses.hardness(torch.tensor(teacher), torch.tensor(student)))
    worse = float(losses.hardness(torch.tensor(teacher), torch.tensor(student / 2)))
    assert 0.268 < one <= worse <= 1.0
    equal = float(losses.hardness(torch.tensor(student), torch.tensor(student)))
    assert equal == pytest.approx(losses.EQUAL, abs=0.02)


def test_no_gradient_passes_through_hardness_or_the_actual_iou() -> None:
    student = torch.tensor([[0.4]], requires_grad=True)
    assert not losses.hardness(torch.tensor([[0.8]]), student).requires_grad
    predicted = torch.tensor([[0.5]], requires_grad=True)
    losses.iou_loss(predicted, student).backward()  # type: ignore[no-untyped-call]
    assert student.grad is None
    assert predicted.grad is not None


def test_the_lowest_loss_alone_is_learned_from_but_for_a_share_of_the_mean() -> None:
    each = torch.tensor([[3.0, 1.0, 2.0], [0.5, 1.5, 4.0]], requires_grad=True)
    assert losses.lowest(each, mean_share=0.0) == 0.75
    assert losses.lowest(each, mean_share=0.1).item() == pytest.approx(0.75 + 0.1 * 2.0)
    losses.lowest(each, mean_share=0.0).backward()  # type: ignore[no-untyped-call]
    assert each.grad is not None
    assert each.grad.nonzero().tolist() == [[0, 1], [1, 0]]


def test_the_stages_are_the_ones_of_the_paper() -> None:
    assert [weights.taught for weights in STAGES.values()] == [False, True, True]
    assert (STAGES["output"].embedding, STAGES["output"].token, STAGES["output"].hard) == (0.0, 0.0, False)
    assert STAGES["output"].output == STAGES["full"].output > 0
    assert STAGES["full"].hard


def test_what_is_wrong_with_a_recipe_is_said() -> None:
    with pytest.raises(BadUsage, match="at least 0"):
        LossWeights(token=-1.0)
    with pytest.raises(BadUsage, match="bce or focal, not 'l2'"):
        LossWeights(kind="l2")  # type: ignore[arg-type]
    with pytest.raises(BadUsage, match="at least one prompt"):
        PromptRecipe(each=0)
    with pytest.raises(BadUsage, match="share of its picture"):
        ViewRecipe(least_side=0.0)
