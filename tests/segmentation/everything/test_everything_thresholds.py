"""Thresholds of a model come out of its measured samples, or it is said that they don't."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.errors import BadInput
from edge_sdk.tasks.segmentation.everything.thresholds import confident_logit, cover_level, filter_thresholds


def test_a_segment_is_lost_above_the_least_of_its_points_highest_logits() -> None:
    """Two masks, three points: left out are 3, 5 and 4 below those numbers, so all three below 3."""
    logits = np.array([[3.0, -1.0, 4.0], [-np.inf, 5.0, 2.0]], np.float32)
    assert cover_level(logits) == 3.0
    assert cover_level(logits[:1]) == -1.0
    assert cover_level(np.empty((0, 3), np.float32)) == -np.inf


@given(levels=st.lists(st.floats(-9, 9) | st.just(-np.inf), min_size=1, max_size=300), lost=st.floats(0.0, 0.5))
def test_the_confident_logit_is_the_lowest_that_loses_few_enough(levels: list[float], lost: float) -> None:
    found = confident_logit(levels, lost=lost, least=1)
    assert found is not None
    assert found >= 0
    of = np.array(levels)
    assert (of > found).mean() <= lost
    if found > 0:
        assert (of > found - 2e-4).mean() > lost


def test_of_few_segments_there_is_no_confident_logit() -> None:
    assert confident_logit([1.0] * 99) is None
    assert confident_logit([1.0] * 100) == 1.0
    assert confident_logit([-np.inf] * 100) == 0.0


@pytest.mark.parametrize("logits", [np.zeros((2, 0)), np.zeros(3), np.array([[np.nan]]), np.array([[np.inf]])], ids=str)
def test_what_are_no_logits_of_masks_at_points_is_refused(logits: np.ndarray) -> None:
    with pytest.raises(BadInput, match="are not those of masks at points, or not finite"):
        cover_level(logits.astype(np.float32))


def test_the_filters_keep_good_masks_apart_from_others(rng: np.random.Generator) -> None:
    actual = rng.random(4000)
    predicted = actual + rng.normal(0, 0.05, 4000)
    stable = 0.5 + 0.5 * actual + rng.normal(0, 0.02, 4000)
    found = filter_thresholds(predicted, stable, actual)
    assert found.predicted_iou < 0.8
    assert found.f_score > 0.93
    passed = (predicted > found.predicted_iou) & (stable >= found.stability)
    assert found.precision == pytest.approx((actual[passed] >= 0.75).mean())
    assert found.recall == pytest.approx((passed & (actual >= 0.75)).sum() / (actual >= 0.75).sum())


def test_a_score_that_says_nothing_filters_nothing(rng: np.random.Generator) -> None:
    actual = rng.random(4000)
    found = filter_thresholds(actual, np.full(4000, 0.5), actual)
    assert found.stability <= 0.5
    assert found.predicted_iou == pytest.approx(0.75, abs=0.01)
    assert found.precision > 0.97


def test_more_weight_on_recall_keeps_more(rng: np.random.Generator) -> None:
    actual = rng.random(4000)
    predicted = actual + rng.normal(0, 0.2, 4000)
    ones = np.ones(4000)
    assert filter_thresholds(predicted, ones, actual, beta=2).recall > filter_thresholds(predicted, ones, actual).recall


@pytest.mark.parametrize(
    ("predicted", "actual", "message"),
    [
        ([0.5], [0.1], "none of 1 masks"),
        ([0.5, 0.6], [0.9], "shapes"),
        ([np.nan], [0.9], "not finite"),
        ([], [], "none"),
    ],
)
def test_samples_without_a_good_mask_or_of_other_sizes_are_refused(
    predicted: list[float], actual: list[float], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        filter_thresholds(np.array(predicted), np.array(predicted), np.array(actual))
