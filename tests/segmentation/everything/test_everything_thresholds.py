"""Thresholds of a model come out of its measured samples, or it is said that they don't."""

from __future__ import annotations

import numpy as np
import pytest

from edge_sdk.errors import BadInput
from edge_sdk.tasks.segmentation.everything.thresholds import filter_thresholds


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
