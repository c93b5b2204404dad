from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edge_sdk.errors import BadUsage
from edge_sdk.export.tasks.classification.metrics import change_interval, share_interval
from edge_sdk.intervals import (
    at_least,
    at_most,
    beta_cdf,
    beta_quantile,
    binomial_cdf,
    clopper_pearson,
    korn_graubard,
    student_t,
)

shape = st.integers(1, 3000) | st.floats(0.05, 3000)


@given(x=st.floats(0, 1), a=shape, b=shape)
@settings(max_examples=300)
def test_the_beta_distribution_is_scipys(x: float, a: float, b: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), abs=1e-10)


@given(p=st.floats(1e-6, 1 - 1e-6), a=st.integers(1, 2000), b=st.integers(1, 2000))
@settings(max_examples=60)
def test_the_beta_quantile_is_scipys_and_the_distribution_takes_it_back(p: float, a: int, b: int) -> None:
    x = beta_quantile(p, a, b)
    assert x == pytest.approx(stats.beta.ppf(p, a, b), rel=1e-7, abs=1e-12)
    assert beta_cdf(x, a, b) == pytest.approx(p, abs=1e-9)


@given(trials=st.integers(1, 20_000), share=st.floats(0, 1), rate=st.floats(0.001, 0.999))
@settings(max_examples=100)
def test_the_binomial_distribution_is_scipys(trials: int, share: float, rate: float) -> None:
    successes = round(share * trials)
    assert binomial_cdf(successes, trials, rate) == pytest.approx(stats.binom.cdf(successes, trials, rate), abs=1e-9)


@given(trials=st.integers(1, 400), data=st.data())
@settings(max_examples=60)
def test_the_proportion_interval_is_scipys_exact_one(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    reference = stats.binomtest(successes, trials).proportion_ci(confidence_level=0.9, method="exact")
    assert clopper_pearson(successes, trials, level=0.9) == pytest.approx((reference.low, reference.high), abs=1e-9)


@pytest.mark.parametrize(
    ("caught", "of", "lower"),
    [(5, 5, 0.549), (10, 10, 0.741), (20, 20, 0.861), (30, 30, 0.905), (59, 59, 0.950), (100, 100, 0.970),
     (9, 10, 0.606), (19, 20, 0.784), (29, 30, 0.851), (58, 59, 0.922), (99, 100, 0.953)],
)  # fmt: skip
def test_what_so_many_defects_can_show(caught: int, of: int, lower: float) -> None:
    assert clopper_pearson(caught, of, side="lower")[0] == pytest.approx(lower, abs=6e-4)


def test_counts_are_worded_by_what_they_support() -> None:
    assert at_least(10, 10) == "10 of 10, at least 74 %"
    assert at_most(0, 300) == "0 of 300, at most 1.00 %"
    assert at_most(0, 100) == "0 of 100, at most 2.96 %"


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 3), (4, 3), (0, 0)])
def test_an_impossible_count_is_refused(successes: int, trials: int) -> None:
    with pytest.raises(BadUsage, match="no proportion"):
        clopper_pearson(successes, trials)


def test_a_distribution_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BadUsage, match="no distribution"):
        beta_cdf(0.5, 0, 1)
    with pytest.raises(BadUsage, match=r"0\.\.1"):
        beta_quantile(1.5, 1, 1)


@given(level=st.floats(0.5, 0.999), freedom=st.integers(1, 100_000))
@settings(max_examples=60)
def test_students_t_is_scipys(level: float, freedom: int) -> None:
    assert student_t(level, freedom) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=1e-6)


@given(right=st.integers(1, 39), parts=st.integers(2, 39), worse=st.floats(1.0, 20.0))
def test_an_interval_over_parts_is_the_exact_one_where_each_sample_is_worth_itself(
    right: int, parts: int, worse: float
) -> None:
    """And wider with fewer parts, and where parts differ by more."""
    share, exact = right / 40, clopper_pearson(right, 40)
    alone = share * (1 - share) / 40
    assert korn_graubard(share, alone, 40, 40) == pytest.approx(exact)
    assert korn_graubard(share, alone / worse, 40, 40) == pytest.approx(exact), "no sample is worth more than itself"
    low, high = korn_graubard(share, alone * worse, 40, parts)
    assert low <= exact[0] + 1e-9
    assert high >= exact[1] - 1e-9


@pytest.mark.parametrize("within", [0.0, 1.0])
def test_a_change_over_few_parts_lies_in_its_interval_as_often_as_it_says(within: float) -> None:
    """1000 tests of 4 parts with 12 samples each; a tenth gets worse. within: how much a part decides on it."""
    rng, held, wide = np.random.default_rng(3), 0, []
    for _ in range(1000):
        rates = 0.1 if not within else rng.beta(0.5, 4.5, 4)[:, None]
        worse = (rng.random((4, 12)) < rates).ravel()
        low, high = change_interval(np.ones(48, np.bool_), ~worse, [f"part {k // 12}" for k in range(48)])
        held += low <= -0.1 <= high
        wide.append(high - low)
        assert -1.0 <= low <= high <= 1.0
    assert held >= (940 if not within else 880), held  # of skewed shares 4 parts show little
    assert float(np.median(wide)) < (0.35 if not within else 0.6), "what says nothing always holds"


@pytest.mark.parametrize(("share", "parts"), [(0.0, 3), (1.0, 3), (0.5, 1), (0.5, 41), (float("nan"), 3)])
def test_an_interval_over_parts_says_what_it_has_none_of(share: float, parts: int) -> None:
    with pytest.raises(BadUsage, match="has no such interval"):
        korn_graubard(share, 0.01, 40, parts)


@pytest.mark.parametrize("within", [0.0, 1.0])
def test_an_interval_over_few_parts_holds_the_true_share_as_often_as_it_says(within: float) -> None:
    """1000 tests of 4 parts with 12 samples each. within: how much a part decides on its samples."""
    rng, held = np.random.default_rng(2), 0
    for _ in range(1000):
        rates = 0.7 if not within else rng.beta(7, 3, 4)[:, None]
        right = rng.random((4, 12)) < rates
        low, high = share_interval(right.ravel(), [f"part {k // 12}" for k in range(48)])
        held += low <= 0.7 <= high
    assert held >= 940
