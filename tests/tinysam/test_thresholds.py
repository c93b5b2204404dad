"""Thresholds of everything mode for one model: the confident logit costs at most a stated part of the mean best IoU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_sdk.export.tinysam.hierarchical import Searched, Searches, left_out, lowest_level
from edge_sdk.export.tinysam.scenes.annotated import Annotated
from edge_sdk.tasks.segmentation.everything.thresholds import FilterThresholds


def drawn(seed: int, pictures: int = 3) -> list[Searched]:
    rng = np.random.default_rng(seed)
    return [
        Searched(
            rng.random(40) * (rng.random(40) < 0.5), rng.random((30, 40)) ** 2,
            np.where(rng.random(30) < 0.3, -np.inf, rng.normal(1.0, 3.0, 30)),
        )
        for _ in range(pictures)
    ]  # fmt: skip


def mean(searched: list[Searched], confident: float) -> float:
    return float(np.concatenate([one.best(confident) for one in searched]).mean())


@given(seed=st.integers(0, 10_000), lost=st.floats(0.0, 0.2))
def test_it_is_the_lowest_that_costs_no_more(seed: int, lost: float) -> None:
    searched = drawn(seed)
    found = lowest_level(searched, lost=lost)
    assert found is not None
    assert found >= 0.0
    assert mean(searched, np.inf) - mean(searched, found) <= lost + 1e-12
    below = [level for one in searched for level in one.level if 0.0 < level < found - 2e-4]
    if below:
        assert mean(searched, np.inf) - mean(searched, max(below)) > lost


def test_a_point_costs_nothing_where_a_neighbour_shows_as_much() -> None:
    """100 segments, each shown by two points: with one of them left out nothing is lost, with both all is."""
    shown = np.tile(np.array([[0.9], [0.9]]), 100)
    one = Searched(np.zeros(100), shown, np.array([5.0, 2.0]))
    assert lowest_level([one]) == 2.0
    assert left_out([one], 2.0) == 0.5
    assert lowest_level([Searched(np.full(100, 0.9), shown, one.level)]) == 0.0
    assert lowest_level([one], lost=1.0) == 0.0
    assert left_out([one], 0.0) == 1.0


def test_of_few_segments_nothing_is_known() -> None:
    one = Searched(np.zeros(99), np.zeros((2, 99)), np.zeros(2))
    assert lowest_level([one]) is None
    assert lowest_level([]) is None


def test_masks_that_fail_the_filters_show_nothing_and_cover_nothing() -> None:
    """A picture of 64 px, its left half one segment, 16 points a side; answers of one mask for any point."""
    half = np.zeros((64, 64), bool)
    half[:, :32] = True
    speck = np.zeros((64, 64), bool)
    speck[:4, :5] = True  # 20 px: too few to be asked for
    picture = Annotated(np.zeros((64, 64, 3), np.uint8), np.array([half, speck]))

    def search(predicted: float, logit: float) -> Searched:
        def answers(one: Annotated, points: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.float32], ...]]:
            for _ in points:
                yield np.where(half, logit, -logit).astype(np.float32)[None], np.array([predicted], np.float32), None  # type: ignore[misc]

        best = FilterThresholds(predicted_iou=0.5, stability=0.9, precision=1.0, recall=1.0, f_score=1.0)
        return Searches(answers=answers, side=64, points_per_side=16, passing=best).by_grid(picture)  # type: ignore[arg-type]

    good = search(0.6, 4.0)
    assert good.coarse == pytest.approx([1.0])
    assert good.fine.shape == (209, 1)
    assert 0.4 < (good.level > 3.9).mean() < 0.6  # the left half
    for bad in (search(0.5, 4.0), search(0.6, 0.5)):  # a low prediction, logits that leave a mask when moved by 1
        assert not bad.coarse.any()
        assert not bad.fine.any()
        assert np.isneginf(bad.level).all()
