"""Thresholds of a model come out of its measured samples, or it is said that they don't."""

from __future__ import annotations

import numpy as np
import pytest

from edge_sdk.errors import BadInput
from edge_sdk.tasks.segmentation.everything.thresholds import LogitPrecision, filter_thresholds


def samples(rng: np.random.Generator, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """200,000 pixels whose logits are calibrated, times `scale`."""
    logits = rng.uniform(-12.0, 12.0, 200_000)
    truth = rng.random(200_000) < 1 / (1 + np.exp(-logits))
    return (scale * logits).astype(np.float32), truth


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_the_confident_logit_follows_the_scale_of_the_model(scale: float, rng: np.random.Generator) -> None:
    found = LogitPrecision()
    for _ in range(4):
        found.add(*samples(rng, scale))
    # Precision above t of logits uniform up to 12 is 1 - ln((1 + e^-t)/(1 + e^-12)) / (12 - t): 99.9 % at 4.9.
    logit = found.confident_logit()
    assert logit == pytest.approx(4.9 * scale, abs=0.35 * scale)
    logits, truth = samples(rng, scale)
    assert truth[logits > logit].mean() == pytest.approx(0.999, abs=7e-4)


def test_a_model_that_is_never_sure_has_no_confident_logit(rng: np.random.Generator) -> None:
    found = LogitPrecision()
    logits, truth = samples(rng, 1.0)
    found.add(logits, truth ^ (rng.random(truth.size) < 0.02))
    assert found.confident_logit() is None
    assert found.confident_logit(0.9) is not None
    assert LogitPrecision().confident_logit() is None


def test_a_logit_with_few_pixels_above_it_is_not_known() -> None:
    found = LogitPrecision()
    found.add(np.full(100, 5.0, np.float32), np.ones(100, np.bool_))
    assert found.confident_logit() is None
    assert found.confident_logit(least_px=100) is not None


def test_pixels_at_the_end_of_the_span_count() -> None:
    found = LogitPrecision(span=8.0, bins=16)
    found.add(np.array([900.0, -900.0, 8.0, -8.0], np.float32), np.array([True, False, True, False]))
    assert found.confident_logit(least_px=2) == -7.0


@pytest.mark.parametrize(
    ("logits", "message"), [([1.0, 2.0, 3.0], "shape"), ([1.0, np.nan], "NaN"), ([1.0, np.inf], "NaN or infinity")]
)
def test_what_are_no_logits_of_the_truth_is_refused(logits: list[float], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        LogitPrecision().add(np.array(logits, np.float32), np.ones(2, np.bool_))


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
