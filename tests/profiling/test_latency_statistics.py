from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edge_sdk.errors import BadInput
from edge_sdk.profiling.statistics import (
    calls_needed,
    effective_calls,
    nearest_rank,
    percentile,
    shown_ms,
    significant,
    slow_calls_allowed,
    stability,
    summarize,
    theil_sen,
)

times = st.lists(st.floats(0.01, 1e4), min_size=1, max_size=200)


@pytest.mark.parametrize(
    ("p", "zero", "one", "two", "five", "ten"),
    [(0.5, 7, 11, 14, 22, 35), (0.9, 44, 64, 81, 127, 197), (0.95, 90, 130, 165, 259, 398),
     (0.99, 459, 662, 838, 1307, 2010), (0.999, 4603, 6636, 8403, 13105, 20140)],
)  # fmt: skip
def test_how_many_calls_a_bound_needs(p: float, zero: int, one: int, two: int, five: int, ten: int) -> None:
    assert [calls_needed(p, slow=t) for t in (0, 1, 2, 5, 10)] == [zero, one, two, five, ten]


@pytest.mark.parametrize(("p", "needed"), [(0.5, 8), (0.9, 46), (0.95, 93), (0.99, 473), (0.999, 4742)])
def test_fewer_calls_do_with_less_confidence(p: float, needed: int) -> None:
    assert calls_needed(p, confidence=0.95) == needed


@given(n=st.integers(1, 3000), p=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
@settings(max_examples=80)
def test_the_slow_calls_allowed_are_the_most_that_the_binomial_allows(n: int, p: float) -> None:
    t = slow_calls_allowed(n, p)
    assert t == -1 or stats.binom.cdf(t, n, 1 - p) <= 0.01 + 1e-12
    assert stats.binom.cdf(t + 1, n, 1 - p) > 0.01 - 1e-12


@pytest.mark.parametrize(("n", "p", "slow"), [(200, 0.9, 10), (1000, 0.9, 78), (1000, 0.99, 2), (6000, 0.99, 42)])
def test_which_call_is_reported_as_the_bound(n: int, p: float, slow: int) -> None:
    assert slow_calls_allowed(n, p) == slow
    assert percentile(np.arange(1.0, n + 1), p, n_eff=n).bound == n - slow + 1


@given(values=times, p=st.sampled_from([0.05, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_percentile_is_a_call_that_happened_never_between_two(values: list[float], p: float) -> None:
    ordered = np.sort(values)
    assert nearest_rank(ordered, p) == np.quantile(ordered, p, method="inverted_cdf")
    assert nearest_rank(ordered, p) in values


def test_the_rank_does_not_slip_in_floats() -> None:
    assert nearest_rank(np.arange(1.0, 201), 0.9) == 180.0


def test_a_percentile_of_too_few_calls_is_words_and_no_figure() -> None:
    few = np.sort(np.append(np.full(213, 9.0), 31.2))
    figure = percentile(few, 0.99, n_eff=214)
    assert (figure.point, figure.bound) == (None, None)
    assert figure.words == "p99: needs 662 runs, have 214; slowest of 214 was 31.2 ms"


@given(values=st.lists(st.floats(0.01, 1e4), min_size=64, max_size=300))
def test_a_bound_is_never_below_its_point(values: list[float]) -> None:
    figure = percentile(np.sort(values), 0.9, n_eff=len(values))
    assert figure.point is not None
    assert figure.bound is not None
    assert figure.bound >= figure.point


def test_the_bound_is_above_the_true_quantile_as_often_as_it_says() -> None:
    """Exponential times, 100 calls, p90: 99 % promised; 500 tries, sd 0.45 %."""
    rng = np.random.default_rng(1)
    truth = -np.log(0.1)
    held = [percentile(np.sort(rng.exponential(size=100)), 0.9, n_eff=100).bound >= truth for _ in range(500)]  # type: ignore[operator]
    assert np.mean(held) >= 0.99 - 3 * 0.0045


@given(values=times)
def test_the_summary_is_in_order_and_keeps_every_call(values: list[float]) -> None:
    one = summarize(values)
    assert one.n == len(values)
    assert one.min <= one.p5 <= one.p25 <= one.p50 <= one.p75 <= one.max == max(values)
    if one.ci95_p50 is not None:
        assert one.ci95_p50[0] <= one.p50 <= one.ci95_p50[1]


def test_the_median_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    held = []
    for _ in range(400):
        interval = summarize(rng.exponential(size=150)).ci95_p50
        held.append(interval is not None and interval[0] <= np.log(2) <= interval[1])
    assert np.mean(held) >= 0.95 - 3 * 0.011


def test_an_even_run_is_stable_and_a_jittery_one_fair() -> None:
    rng = np.random.default_rng(0)
    assert stability(5 + 0.05 * rng.random(400)).verdict == "stable"
    waves = 5 * (1 + 0.1 * np.sin(np.repeat(np.arange(10), 40) * 2.4))
    assert stability(waves).verdict == "fair"


def test_a_run_that_drifts_or_jumps_is_unstable() -> None:
    assert stability(np.linspace(5, 7, 400)).verdict == "unstable"
    jump = stability(np.concatenate([np.full(200, 5.0), np.full(200, 9.0)]))
    assert jump.verdict == "unstable"
    assert jump.spread == pytest.approx(1.8)
    assert stability(np.linspace(5, 5.5, 400)).drift == pytest.approx(0.5 * 0.9 / 5.25, rel=1e-2)


def test_few_calls_get_no_verdict() -> None:
    assert stability([5.0] * 19).verdict == "too few"


def test_slow_regimes_make_calls_worth_less_than_they_are() -> None:
    rng = np.random.default_rng(0)
    independent = np.exp(rng.normal(size=400) * 0.1)
    regimes = independent * np.repeat([1.0, 1.8, 1.0, 1.0, 1.8], 80)
    assert effective_calls(independent) > 150
    assert effective_calls(regimes) < 40
    assert percentile(np.sort(regimes), 0.9, n_eff=effective_calls(regimes)).optimistic


@given(slope=st.floats(-5, 5), start=st.floats(10, 20), outlier=st.integers(0, 9))
def test_one_outlier_does_not_turn_the_slope(slope: float, start: float, outlier: int) -> None:
    values = start + slope * np.arange(10)
    values[outlier] += 1000.0
    assert theil_sen(values) == pytest.approx(slope, abs=1e-6)


def test_digits_follow_the_stability_of_the_run() -> None:
    assert [shown_ms(12.3456, word) for word in ("stable", "fair", "unstable", "too few")] == [
        "12.3", "12", "~10", "~10",
    ]  # fmt: skip
    assert significant(1234.0, 2) == "1200"
    assert significant(9.999, 3) == "10.0"
    assert significant(0.012345, 3) == "0.0123"


@pytest.mark.parametrize("bad", [[], [0.0], [-1.0], [float("nan")]])
def test_times_that_cannot_be_are_refused(bad: list[float]) -> None:
    with pytest.raises(BadInput, match="above 0"):
        summarize(bad)


def test_the_interval_of_a_median_of_100_calls_is_that_of_the_textbook() -> None:
    """Ranks 40 and 61: the binomial's share below 40 of 100 is 1.8 %, below 41 it is 2.8 %."""
    shuffled = [float(37 * i % 100 + 1) for i in range(100)]
    assert summarize(shuffled).ci95_p50 == (40.0, 61.0)
