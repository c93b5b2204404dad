from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.tasks.anomaly.detection import (
    at_threshold,
    auroc,
    auroc_by_class,
    auroc_difference,
    auroc_with_interval,
    bootstrap_auroc,
    by_part,
    kept_score,
    verdict_flips,
)

GOOD, BAD = [1.0, 2.0, 2.0, 3.0], [2.0, 3.0, 5.0]
some = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30)
pairs = st.integers(2, 30).flatmap(
    lambda size: st.tuples(*[st.lists(st.integers(-5, 5).map(float), min_size=size, max_size=size)] * 2)
)


def test_ties_count_half() -> None:
    assert auroc(GOOD, BAD) == pytest.approx(9.5 / 12, abs=1e-12)
    assert auroc([1.0] * 5, [1.0] * 7) == 0.5


@given(good=some, bad=some)
def test_auroc_is_scikit_learns(good: list[float], bad: list[float]) -> None:
    labels = [0] * len(good) + [1] * len(bad)
    assert auroc(good, bad) == pytest.approx(roc_auc_score(labels, good + bad), abs=1e-12)


@given(good=some, bad=some)
def test_swapping_sides_and_rising_maps_leave_the_order_alone(good: list[float], bad: list[float]) -> None:
    assert auroc(bad, good) == pytest.approx(1 - auroc(good, bad), abs=1e-12)
    assert auroc([math.exp(v) for v in good], [math.exp(v) for v in bad]) == pytest.approx(auroc(good, bad), abs=1e-12)
    assert auroc(good[::-1], bad[::-1]) == auroc(good, bad)


def test_delong_on_the_small_example() -> None:
    figure = auroc_with_interval(GOOD, BAD)
    assert figure.se == pytest.approx(0.18321, abs=5e-6)
    logit, width = math.log(figure.value / (1 - figure.value)), 1.959964 * 0.18321 / (figure.value * (1 - figure.value))
    assert figure.low == pytest.approx(1 / (1 + math.exp(width - logit)), abs=1e-4)
    assert figure.high == pytest.approx(1 / (1 + math.exp(-width - logit)), abs=1e-4)


@given(good=some, bad=some)
def test_an_interval_holds_its_value_and_stays_a_probability(good: list[float], bad: list[float]) -> None:
    figure = auroc_with_interval(good, bad)
    assert 0 <= figure.low <= figure.value <= figure.high <= 1
    assert figure.low < figure.high


def test_a_perfect_detector_gets_the_bound_that_its_size_supports() -> None:
    figure = auroc_with_interval(np.arange(20), np.arange(100, 150))
    assert (figure.value, figure.high) == (1.0, 1.0)
    assert figure.low == pytest.approx(0.05 ** (1 / 20))


def test_the_interval_covers_about_as_often_as_it_says() -> None:
    """True AUROC .9214 (shift 2 of normals), 100 good and 40 bad: 97 % of 400 draws within 4 sd (0.9 % each)."""
    rng = np.random.default_rng(5)
    truth = float(stats.norm.cdf(2 / math.sqrt(2)))
    inside = [
        figure.low <= truth <= figure.high
        for figure in (auroc_with_interval(rng.normal(size=100), rng.normal(2, size=40)) for _ in range(400))
    ]
    assert np.mean(inside) == pytest.approx(0.97, abs=0.035)


def test_classes_stand_against_all_good_pictures_and_the_mean_is_not_the_pool() -> None:
    found = auroc_by_class(GOOD, {"easy": [9.0] * 8, "hard": [2.0]})
    assert found.classes["easy"].value == 1.0
    assert found.classes["hard"].value == auroc(GOOD, [2.0]) == 0.5
    assert found.mean == 0.75
    assert found.pooled.value == pytest.approx(auroc(GOOD, [9.0] * 8 + [2.0]))
    assert found.worst == "hard"
    assert found.classes["hard"].bad == 1


def test_an_empty_class_or_a_nan_is_named_and_never_half() -> None:
    with pytest.raises(BadInput, match="scratch: no pictures"):
        auroc_by_class(GOOD, {"scratch": []})
    with pytest.raises(BadInput, match="scratch: score 1 is NaN"):
        auroc_by_class(GOOD, {"scratch": [1.0, math.nan]})
    with pytest.raises(BadInput, match="good: no scores"):
        auroc([], BAD)


def test_the_bootstrap_by_picture_agrees_with_delong() -> None:
    rng = np.random.default_rng(2)
    good, bad = rng.normal(size=100), rng.normal(1.5, size=60)
    figure = bootstrap_auroc(good, bad, rng=np.random.default_rng(0), draws=800)
    by_formula = auroc_with_interval(good, bad)
    assert figure.value == by_formula.value
    assert figure.se == pytest.approx(by_formula.se, rel=0.12)
    assert (figure.low, figure.high) == pytest.approx((by_formula.low, by_formula.high), abs=0.015)


def test_copies_of_a_part_do_not_narrow_the_interval_by_part() -> None:
    rng = np.random.default_rng(2)
    good, bad = rng.normal(size=30), rng.normal(1, size=30)
    units = [str(number) for number in range(30)] * 6
    single = bootstrap_auroc(good, bad, rng=np.random.default_rng(0), draws=400)
    copies = bootstrap_auroc(
        np.tile(good, 6), np.tile(bad, 6), good_units=units, bad_units=units, rng=np.random.default_rng(0), draws=400
    )
    careless = bootstrap_auroc(np.tile(good, 6), np.tile(bad, 6), rng=np.random.default_rng(0), draws=400)
    assert copies.high - copies.low == pytest.approx(single.high - single.low, rel=0.25)
    assert careless.high - careless.low < 0.6 * (copies.high - copies.low)
    assert "30 good and 30 bad units" in copies.method


def test_parts_that_are_all_distinguished_leave_the_bound_that_their_number_supports() -> None:
    """Resampling never finds an inversion that is not there: without the bound, three parts would be certainty."""
    units = [str(number // 10) for number in range(30)]
    figure = bootstrap_auroc(
        np.arange(30), np.arange(50, 80), good_units=units, bad_units=units, rng=np.random.default_rng(0), draws=20
    )
    assert (figure.value, figure.high) == (1.0, 1.0)
    assert figure.low == pytest.approx(0.05 ** (1 / 3))


def test_a_difference_on_the_same_pictures_is_narrower_than_either_interval() -> None:
    rng = np.random.default_rng(2)
    good, bad = rng.normal(size=80), rng.normal(1, size=80)
    moved = good + 0.01 * rng.normal(size=80), bad + 0.01 * rng.normal(size=80)
    difference = auroc_difference((good, bad), moved, rng=np.random.default_rng(1), draws=300)
    assert difference.value == pytest.approx(auroc(*moved) - auroc(good, bad))
    assert difference.low <= difference.value <= difference.high
    assert difference.high - difference.low < 0.02
    same = auroc_difference((good, bad), (good, bad), rng=np.random.default_rng(1), draws=20)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_the_same_seed_gives_the_same_interval() -> None:
    first, second = (bootstrap_auroc(GOOD, BAD, rng=np.random.default_rng(9), draws=50) for _ in range(2))
    assert first == second


def test_pictures_become_parts_by_the_highest_or_by_vote() -> None:
    names, highest = by_part([1.0, 5.0, 2.0, 0.0], ["b", "a", "b", "b"])
    assert names == ("b", "a")
    assert highest.tolist() == [2.0, 5.0]
    assert by_part([1.0, 5.0, 2.0, 0.0], ["b", "a", "b", "b"], how="median")[1].tolist() == [1.0, 5.0]
    with pytest.raises(BadUsage, match="2 scores but 1 names"):
        by_part([1.0, 2.0], ["a"])


def test_at_the_threshold_parts_are_counted_and_equal_is_accepted() -> None:
    _, good = by_part([1.0, 3.0, 0.0, 0.0], ["a", "a", "b", "b"])
    found = at_threshold(good, [4.0, 1.0, 2.0], 2.0)
    assert (found.good, found.false_rejects, found.defects, found.misses) == (2, 1, 3, 2)
    assert found.miss_interval is not None
    assert found.miss_interval[0] < 2 / 3 < found.miss_interval[1]


def test_a_side_without_pictures_has_no_interval() -> None:
    found = at_threshold([1.0, 3.0], [], 2.0)
    assert (found.defects, found.misses, found.miss_interval) == (0, 0, None)
    with pytest.raises(BadInput, match="good: score 1 is NaN"):
        at_threshold([1.0, math.nan], [], 2.0)


def test_flips_are_counted_in_both_directions_with_their_scores() -> None:
    flips = verdict_flips([0.1, 0.9, 0.4, 0.6], [0.2, 0.3, 0.7, 0.6], threshold=0.5, names=["a", "b", "c", "d"])
    assert (flips.count, flips.total, flips.share) == (2, 4, 0.5)
    assert [(f.name, f.reference, f.variant) for f in flips.good_to_defect] == [("c", 0.4, 0.7)]
    assert [f.name for f in flips.defect_to_good] == ["b"]
    assert str(flips) == "2 of 4, at most 90.24 % (1 good to defect, 1 defect to good)"


def test_no_flip_still_has_an_upper_bound() -> None:
    assert verdict_flips([0.0] * 100, [0.1] * 100, threshold=0.5).upper == pytest.approx(0.0295, abs=5e-5)
    assert verdict_flips([0.0] * 299, [0.1] * 299, threshold=0.5).upper <= 0.01
    assert verdict_flips([0.0] * 298, [0.1] * 298, threshold=0.5).upper > 0.01


def test_each_side_may_ship_its_own_threshold() -> None:
    assert verdict_flips([0.4, 0.6], [4.0, 6.0], threshold=0.5, variant_threshold=5.0).count == 0


@given(sides=pairs, threshold=st.integers(-5, 5).map(float))
def test_flips_are_the_verdicts_that_differ(sides: tuple[list[float], list[float]], threshold: float) -> None:
    flips = verdict_flips(*sides, threshold=threshold)
    assert flips.count == sum((a > threshold) != (b > threshold) for a, b in zip(*sides))
    back = verdict_flips(sides[1], sides[0], threshold=threshold)
    assert len(back.good_to_defect) == len(flips.defect_to_good)


def test_a_saturated_score_keeps_little_while_auroc_says_nothing() -> None:
    good, bad = np.linspace(0, 1, 40), np.linspace(2, 10, 40)
    cut = np.minimum(bad, 2.0)
    kept = kept_score(bad, cut)
    assert auroc(good, cut) == auroc(good, bad) == 1.0
    assert kept.count == 20
    assert kept.least == pytest.approx(0.2)
    assert kept.mean == pytest.approx(np.mean(2.0 / np.sort(bad)[-20:]))
    assert kept.ties_at_top == 40


def test_the_kept_score_is_counted_from_its_origin() -> None:
    assert kept_score([2.0, 3.0], [1.5, 2.0], origin=1.0).shares == (0.5, 0.5)


def test_a_defect_that_the_reference_did_not_see_has_nothing_to_keep_and_is_reported() -> None:
    kept = kept_score([2.0, 0.5], [1.5, 2.0], origin=1.0)
    assert (kept.least, kept.count, kept.unseen) == (0.5, 1, 1)
    nothing = kept_score([0.2, 0.5], [1.5, 2.0], origin=1.0)
    assert (nothing.least, nothing.mean, nothing.count, nothing.unseen) == (None, None, 0, 2)


def test_digits_follow_the_size_of_the_set() -> None:
    assert str(auroc_with_interval(GOOD, BAD)).startswith("0.792 [")
    assert str(auroc_with_interval(np.arange(101), np.arange(100) + 50.3)).count("0.") == 3
    assert len(str(auroc_with_interval(np.arange(101), np.arange(100) + 50.3)).split(" ")[0]) == 6


def test_the_bootstrap_counts_ties_half_too() -> None:
    tied = bootstrap_auroc([1.0] * 9, [1.0] * 7, rng=np.random.default_rng(0), draws=20)
    assert (tied.value, tied.low, tied.high) == (0.5, 0.5, 0.5)
