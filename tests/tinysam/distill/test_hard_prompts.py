"""Online hard prompt sampling: the next point is one that the answer misses."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.export.tinysam import BOTTOM_RIGHT, HIDDEN, PADDING, POSITIVE, TOP_LEFT
from edge_sdk.export.tinysam.distill.prompts import Prompts, harder, of_boxes, of_points

PX = 4.0


def prompts() -> Prompts:
    """A box and a point."""
    box, point = of_boxes(torch.tensor([[1.0, 2.0, 9.0, 10.0]])), of_points(torch.tensor([[5.0, 6.0]]))
    return Prompts(torch.cat([box.points, point.points]), torch.cat([box.labels, point.labels]))


def asked(answered: torch.Tensor, truth: torch.Tensor, *, seed: int = 0, keep: bool = False) -> Prompts:
    return harder(np.random.default_rng(seed), prompts(), answered, truth, px=PX, keep=keep)


@given(seed=st.integers(0, 10_000))
def test_the_point_lies_in_a_cell_that_is_true_and_was_not_answered(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, answered = (torch.from_numpy(rng.random((2, 5, 6)) < share) for share in (0.6, 0.5))
    missed = truth & ~answered
    found = asked(answered, truth, seed=seed)
    for k in range(2):
        if missed[k].any():
            x, y = (found.points[k, 0] / PX).floor().int().tolist()
            assert missed[k, y, x]
            assert found.labels[k, 0] == POSITIVE
        else:
            torch.testing.assert_close(found.points[k], prompts().points[k])
            torch.testing.assert_close(found.labels[k], prompts().labels[k])


def test_each_missed_cell_is_as_likely() -> None:
    truth, answered = torch.zeros(2, 2, 3, dtype=torch.bool), torch.zeros(2, 2, 3, dtype=torch.bool)
    truth[:, 0, 1] = truth[:, 1, 0] = truth[:, 1, 2] = answered[:, 1, 2] = True
    xs = [float(asked(answered, truth, seed=seed).points[0, 0, 0]) for seed in range(200)]
    assert set(xs) == {1.5, 5.5}  # the middle of cells 0 and 1, the middle of a pixel being an integer
    assert 70 < xs.count(1.5) < 130


def test_a_box_stays_and_a_point_is_replaced() -> None:
    everything, nothing = torch.ones(2, 4, 4, dtype=torch.bool), torch.zeros(2, 4, 4, dtype=torch.bool)
    found = asked(nothing, everything)
    assert found.labels.tolist() == [[POSITIVE, TOP_LEFT, BOTTOM_RIGHT], [POSITIVE, PADDING, HIDDEN]]
    torch.testing.assert_close(found.points[0, 1:], prompts().points[0, 1:])


def test_points_are_kept_where_the_recipe_says_so() -> None:
    everything = torch.ones(2, 4, 4, dtype=torch.bool)
    found = asked(~everything, everything, keep=True)
    assert found.labels.tolist() == [[POSITIVE, HIDDEN, TOP_LEFT, BOTTOM_RIGHT], [POSITIVE, POSITIVE, PADDING, HIDDEN]]
    found = asked(everything, everything, keep=True)
    assert found.labels[:, 0].tolist() == [HIDDEN, HIDDEN]
