"""Figures of a moved score scale: each is a definition that scipy or a sentence states, on numbers that can be seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import stats

from edge_sdk.calibration.comparison.score_scale import (
    MOST_RANKED,
    median_shift,
    midranks,
    score_scale,
    spearman,
    spread_ratio,
    top1_agreement,
)
from edge_sdk.errors import BadInput, BadUsage

Floats = NDArray[np.float64]
some = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30)
pairs = st.integers(2, 30).flatmap(
    lambda size: st.tuples(*[st.lists(st.integers(-5, 5).map(float), min_size=size, max_size=size)] * 2)
)
tables = hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(2, 7)), elements=st.integers(-9, 9).map(float))


@given(values=some)
def test_midranks_are_scipys(values: list[float]) -> None:
    np.testing.assert_array_equal(midranks(values), stats.rankdata(values))


@given(sides=pairs)
def test_spearman_is_scipys_and_undefined_where_a_side_is_constant(sides: tuple[list[float], list[float]]) -> None:
    if any(len(set(side)) == 1 for side in sides):
        assert spearman(*sides) is None
    else:
        assert spearman(*sides) == pytest.approx(stats.spearmanr(*sides).statistic, abs=1e-12)


def test_spearman_on_the_worked_example() -> None:
    assert spearman([1, 2, 2, 4], [1, 3, 2, 4]) == pytest.approx(0.948683, abs=1e-6)


def test_scores_of_other_pictures_are_refused() -> None:
    for metric in (spearman, median_shift, spread_ratio):
        with pytest.raises(BadUsage, match="2 and 1 scores: not the same pictures"):
            metric([1.0, 2.0], [1.0])
    with pytest.raises(BadInput, match="reference: score 1 is NaN"):
        median_shift([1.0, float("nan")], [1.0, 2.0])


@given(sides=pairs)
def test_shift_and_ratio_are_those_of_numpy(sides: tuple[list[float], list[float]]) -> None:
    old, new = map(np.asarray, sides)
    assert median_shift(old, new) == pytest.approx(float(np.median(new - old)), abs=1e-12)
    if len(set(sides[0])) == 1:
        assert spread_ratio(old, new) is None
    else:
        assert spread_ratio(old, new) == pytest.approx(float(new.std(ddof=1) / old.std(ddof=1)), abs=1e-12)


@given(values=some, gain=st.sampled_from([0.25, 0.5, 2.0]), shift=st.integers(-9, 9))
def test_a_gain_shows_in_the_ratio_and_a_shift_in_the_median_and_neither_in_the_order(
    values: list[float], gain: float, shift: int
) -> None:
    old = np.asarray(values)
    assume(old.min() < old.max())
    assert spread_ratio(old, old * gain + shift) == pytest.approx(gain)
    assert median_shift(old, old + shift) == shift
    assert spearman(old, old * gain + shift) == pytest.approx(1.0)


def test_confidences_that_fell_are_seen_though_their_order_is_whole() -> None:
    """A detector's map: 990 places of background and ten boxes whose score went from about 0.85 to 0.45."""
    boxes = np.linspace(0.8, 0.9, 10)
    wanted = np.concatenate([np.zeros(990), boxes]).astype(np.float32)
    got = np.concatenate([np.zeros(990), boxes - 0.4]).astype(np.float32)
    found = score_scale([wanted], [got])
    assert found is not None
    assert found.rank_correlation == pytest.approx(1.0)
    assert found.spread_ratio == pytest.approx(0.45 / 0.85, abs=0.01)
    assert found.relative_error == pytest.approx(0.4 / 0.85, abs=0.01)
    assert median_shift(boxes, boxes - 0.4) == pytest.approx(-0.4)


@given(wanted=tables, seed=st.integers(0, 99))
def test_top1_agreement_is_the_share_of_equal_argmax(wanted: Floats, seed: int) -> None:
    got = np.random.default_rng(seed).permutation(wanted.ravel()).reshape(wanted.shape)
    expected = np.mean([int(w.argmax()) == int(g.argmax()) for w, g in zip(wanted, got, strict=True)])
    assert top1_agreement([wanted], [got]) == pytest.approx(float(expected))
    rows = [row[None] for row in wanted], [row[None] for row in got]
    assert top1_agreement(*rows) == pytest.approx(float(expected))  # a sample a call, or all in one
    assert top1_agreement([wanted], [wanted]) == 1.0


def test_an_output_has_a_top1_agreement_only_where_it_is_a_classifiers() -> None:
    one = [np.array([[1.0, 2.0]], np.float32)]
    plain, classes = score_scale(one, one), score_scale(one, one, classes=True)
    assert plain is not None
    assert classes is not None
    assert (plain.top1_agreement, classes.top1_agreement) == (None, 1.0)


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ([np.zeros((2, 3), np.float32)], [np.zeros((2, 4), np.float32)]),
        ([np.zeros(3, np.int64)], [np.zeros(3, np.int64)]),
        ([np.full(3, np.nan, np.float32)], [np.zeros(3, np.float32)]),
        ([np.zeros(0, np.float32)], [np.zeros(0, np.float32)]),
        ([], []),
    ],
    ids=["shapes", "integers", "no number", "empty", "no sample"],
)
def test_what_can_not_be_compared_has_no_score_scale(wanted: list[Floats], got: list[Floats]) -> None:
    assert score_scale(wanted, got) is None


def test_places_without_a_number_are_left_out_and_counted() -> None:
    """Attention masks are outputs too: -inf on both sides says nothing about a scale."""
    wanted = [np.array([1.0, -np.inf, 3.0], np.float32), np.array([2.0, 5.0], np.float32)]
    got = [np.array([2.0, -np.inf, 6.0], np.float32), np.array([4.0, np.nan], np.float32)]
    found = score_scale(wanted, got)
    assert found is not None
    assert (found.values, found.left_out, found.median_shift, found.spread_ratio) == (3, 2, 2.0, pytest.approx(2.0))


def test_a_constant_output_has_no_ratio_and_no_order() -> None:
    found = score_scale([np.ones(4, np.float32)], [np.full(4, 3.0, np.float32)])
    assert found is not None
    assert (found.spread, found.spread_ratio, found.rank_correlation, found.median_shift) == (0.0, None, None, 2.0)


def test_of_more_values_than_are_sorted_the_same_ones_are_drawn(rng: np.random.Generator) -> None:
    wanted = [rng.normal(size=(MOST_RANKED // 4 + 5, 5)).astype(np.float32)]
    got = [wanted[0] + rng.normal(0, 0.5, wanted[0].shape).astype(np.float32)]
    first, again = score_scale(wanted, got), score_scale(wanted, got)
    assert first is not None
    assert first == again
    assert first.values == wanted[0].size
    assert first.rank_correlation == pytest.approx(spearman(wanted[0].ravel(), got[0].ravel()), abs=2e-3)
