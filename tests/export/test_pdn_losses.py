"""Loss terms of EfficientAD: top-k equals the quantile form, each picture counts alone, gradients go where due."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.export.efficientad.pdn import losses

torch.set_num_threads(1)


@given(elements=st.integers(1, 6000), seed=st.integers(0, 2**31))
@settings(max_examples=80, deadline=None)
def test_the_hard_loss_is_the_mean_at_and_above_the_999_quantile(elements: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(1, 1, 1, elements, dtype=torch.float64, generator=generator)
    squared = target.square().flatten()
    above = squared[squared >= torch.quantile(squared, 0.999)]
    assert losses.hard_count(elements) == len(above)
    torch.testing.assert_close(losses.hard_loss(target, torch.zeros_like(target)), above.mean())


@pytest.mark.parametrize(("elements", "count"), [(1, 1), (2, 1), (1001, 2), (1002, 2), (2001, 3), (1_204_224, 1205)])
def test_how_many_values_the_hard_loss_keeps(elements: int, count: int) -> None:
    assert losses.hard_count(elements) == count


def test_more_elements_than_torch_quantile_takes_are_no_problem() -> None:
    assert losses.hard_count(2**24 + 1) == 16778
    assert losses.hard_count(100, Fraction(1, 2)) == 50


def test_each_picture_has_its_own_hardest_outputs() -> None:
    target = torch.zeros(2, 1, 10, 10)
    target[0] = 3.0
    target[1, 0, 0, 0] = 1.0
    # Over the batch as a whole the second picture would have no part in the loss.
    assert float(losses.hard_loss(target, torch.zeros_like(target))) == pytest.approx((9.0 + 1.0) / 2)


def test_the_hard_loss_gives_gradient_to_the_worst_outputs_alone() -> None:
    local = torch.zeros(1, 2, 30, 30, requires_grad=True)
    target = torch.rand(1, 2, 30, 30)
    losses.local_loss(target, local, warm=False).backward()  # type: ignore[no-untyped-call]
    assert local.grad is not None
    assert int(torch.count_nonzero(local.grad)) == losses.hard_count(1800) == 2
    worst = target.flatten().topk(2).indices
    assert torch.all(local.grad.flatten()[worst] != 0)


def test_a_warm_start_gives_gradient_to_every_output() -> None:
    local = torch.zeros(1, 2, 8, 8, requires_grad=True)
    losses.local_loss(torch.ones(1, 2, 8, 8), local, warm=True).backward()  # type: ignore[no-untyped-call]
    assert local.grad is not None
    assert int(torch.count_nonzero(local.grad)) == 128


def test_the_student_pulls_the_autoencoder_too() -> None:
    decoded, learned = torch.ones(1, 2, 4, 4, requires_grad=True), torch.zeros(1, 2, 4, 4, requires_grad=True)
    losses.student_autoencoder_loss(decoded, learned).backward()  # type: ignore[no-untyped-call]
    assert decoded.grad is not None
    assert learned.grad is not None
    assert torch.equal(decoded.grad, -learned.grad)
    assert float(decoded.grad.abs().sum()) > 0


def test_the_penalty_is_the_mean_square_on_foreign_pictures() -> None:
    assert float(losses.penalty_loss(torch.full((2, 3, 4, 4), 2.0))) == 4.0
    assert float(losses.autoencoder_loss(torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 3.0))) == 4.0
