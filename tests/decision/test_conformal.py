from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.decision.conformal import conformal
from edge_sdk.decision.cost import from_defects
from edge_sdk.decision.parts import THRESHOLD_MARGIN, just_above
from edge_sdk.decision.rates import (
    confident_rank,
    conformal_rank,
    nearest_supportable,
    needed_parts,
    parse_rate,
)
from edge_sdk.decision.threshold import Evidence, Threshold, fixed, verdict
from edge_sdk.errors import BadInput, BadUsage, BoundNotMet

scores = st.lists(st.floats(-1e6, 1e6), min_size=19, max_size=60)
rates = st.sampled_from(["0.5", "0.1", "0.05"])


def test_nothing_supports_no_rate_and_a_confidence_lies_between_0_and_1() -> None:
    with pytest.raises(BadInput, match="no good parts"):
        nearest_supportable(0)
    for wrong in (0.0, 1.0, 1.5):
        with pytest.raises(BadUsage, match="must lie between 0 and 1"):
            conformal([1.0, 2.0, 3.0], rate="50%", confidence=wrong)


def test_minus_zero_is_zero_also_in_words() -> None:
    assert conformal([0.0, *[-0.0] * 18], rate="0.5") == conformal([*[-0.0] * 18, 0.0], rate="0.5")


@given(values=scores, rate=rates, rng=st.randoms(use_true_random=False))
def test_the_order_of_the_pictures_does_not_matter(values: list[float], rate: str, rng: object) -> None:
    shuffled = sorted(values, key=lambda _: rng.random())  # type: ignore[attr-defined]
    assert conformal(shuffled, rate=rate) == conformal(values, rate=rate)


@given(values=scores)
def test_a_lower_rate_never_lowers_the_threshold(values: list[float]) -> None:
    thresholds = [conformal(values, rate=rate).threshold for rate in ("0.5", "0.25", "0.1", "0.05")]
    assert thresholds == sorted(thresholds)


@given(values=scores, rate=rates, index=st.integers(0, 18), more=st.floats(0, 1e6))
def test_a_higher_good_score_never_lowers_the_threshold(
    values: list[float], rate: str, index: int, more: float
) -> None:
    raised = [value + more if number == index else value for number, value in enumerate(values)]
    margin = THRESHOLD_MARGIN * max(map(abs, values))
    assert conformal(raised, rate=rate).threshold >= conformal(values, rate=rate).threshold - margin


@given(values=scores, rate=rates)
def test_no_more_good_parts_are_rejected_than_the_rank_says(values: list[float], rate: str) -> None:
    decision = conformal(values, rate=rate)
    rejected = sum(verdict(value, decision).label == "defect" for value in values)
    assert decision.rank is not None
    assert rejected <= len(values) - decision.rank


@given(values=scores, rate=rates)
def test_the_observed_scores_get_the_verdicts_of_the_score_that_decides(values: list[float], rate: str) -> None:
    decision = conformal(values, rate=rate)
    deciding = sorted(values)[(decision.rank or 0) - 1]
    assert decision.threshold >= deciding
    assert [value > decision.threshold for value in values] == [value > deciding for value in values]


@given(
    values=st.lists(st.integers(-(10**4), 10**4).map(lambda whole: whole / 64), min_size=19, max_size=60, unique=True),
    rate=rates, off=st.floats(-0.5, 0.5),
)  # fmt: skip
def test_rounding_in_another_runtime_does_not_turn_the_verdict_on_the_part_that_decides(
    values: list[float], rate: str, off: float
) -> None:
    """512 steps of float32 off, at the largest of the scores: also where the one that decides is near 0."""
    largest = np.float32(max(map(abs, values)))
    decision, rising = conformal(values, rate=rate), sorted(values)
    scored_again = rising[(decision.rank or 0) - 1] + 2 * off * 512 * float(np.spacing(largest))
    assert verdict(scored_again, decision).label == "good"


@given(values=scores, rate=rates)
def test_pictures_of_one_part_count_once_by_their_highest_score(values: list[float], rate: str) -> None:
    single = conformal(values, rate=rate, parts=[str(number) for number in range(len(values))])
    doubled = conformal(
        [*values, *(value - 1.0 for value in values)], rate=rate, parts=[str(n) for n in range(len(values))] * 2
    )
    assert (doubled.threshold, doubled.parts, doubled.rank) == (single.threshold, single.parts, single.rank)
    assert doubled.pictures == 2 * single.pictures


@pytest.mark.parametrize(
    ("count", "rate", "rank"),
    [(20, "0.1", 19), (20, "0.05", 20), (50, "0.1", 46), (50, "0.05", 49), (100, "0.1", 91), (100, "0.05", 96),
     (100, "0.01", 100), (160, "0.1", 145), (160, "0.05", 153), (160, "1/160", 160), (600, "0.1", 541),
     (600, "0.05", 571), (600, "0.01", 595), (999, "0.059", 941), (499, "0.172", 414)],
)  # fmt: skip
def test_ranks_are_exact(count: int, rate: str, rank: int) -> None:
    assert conformal_rank(count, parse_rate(rate)) == rank
    decision = conformal(np.arange(count), rate=rate)
    assert decision.rank == rank
    assert rank - 1 < decision.threshold < rank - 1 + 0.001 * count


@given(count=st.integers(1, 5000), thousandths=st.integers(1, 999))
def test_the_rank_is_the_smallest_that_keeps_the_mean_rate(count: int, thousandths: int) -> None:
    rate = Fraction(thousandths, 1000)
    rank = conformal_rank(count, rate)
    assert Fraction(count + 1 - rank, count + 1) <= rate < Fraction(count + 2 - rank, count + 1)


@pytest.mark.parametrize(
    ("count", "rate", "mean", "low", "high"),
    [(20, "0.1", 9.52, 1.81, 21.61), (100, "0.05", 4.95, 1.99, 8.92), (100, "0.01", 0.99, 0.05, 2.95),
     (160, "0.05", 4.97, 2.51, 8.06), (600, "0.01", 1.00, 0.44, 1.74)],
)  # fmt: skip
def test_the_interval_is_what_the_sample_size_allows(
    count: int, rate: str, mean: float, low: float, high: float
) -> None:
    decision = conformal(np.arange(count), rate=rate)
    assert decision.rate_interval is not None
    assert decision.expected_rate == pytest.approx(mean / 100, abs=6e-5)
    assert decision.rate_interval == pytest.approx((low / 100, high / 100), abs=6e-5)


@pytest.mark.parametrize(
    ("confidence", "count", "rate", "rank"),
    [(0.9, 50, "0.1", 49), (0.9, 50, "0.05", 50), (0.9, 50, "0.01", None), (0.9, 100, "0.1", 95),
     (0.9, 100, "0.05", 99), (0.9, 160, "0.1", 150), (0.9, 160, "0.05", 156), (0.9, 600, "0.01", 598),
     (0.9, 1000, "0.05", 960), (0.95, 50, "0.1", 49), (0.95, 50, "0.05", None), (0.95, 100, "0.1", 96),
     (0.95, 160, "0.05", 157), (0.95, 600, "0.1", 553), (0.95, 1000, "0.01", 996), (0.9, 20, "0.05", None)],
)  # fmt: skip
def test_ranks_that_hold_with_confidence(confidence: float, count: int, rate: str, rank: int | None) -> None:
    assert confident_rank(count, parse_rate(rate), confidence) == rank


@pytest.mark.parametrize(
    ("rate", "marginal", "ninety", "ninety_five"),
    [("0.1", 9, 22, 29), ("0.05", 19, 45, 59), ("0.02", 49, 114, 149), ("0.01", 99, 230, 299),
     ("0.005", 199, 460, 598), ("0.001", 999, 2302, 2995), ("0.0001", 9999, 23025, 29956)],
)  # fmt: skip
def test_how_many_parts_a_rate_needs(rate: str, marginal: int, ninety: int, ninety_five: int) -> None:
    asked = parse_rate(rate)
    assert [needed_parts(asked), needed_parts(asked, 0.9), needed_parts(asked, 0.95)] == [marginal, ninety, ninety_five]


def test_a_rate_that_so_few_parts_cannot_support_is_refused_in_words() -> None:
    with pytest.raises(BoundNotMet) as caught:
        conformal(np.arange(160), rate="0.001")
    assert str(caught.value) == (
        "0.1 % needs at least 999 good pictures; there are 160. With 160 the lowest supportable rate is 0.63 % "
        "(threshold = highest good score); its true rate is below 1.86 % with 95 % confidence. Ask for "
        "0.63 % or more (--rate), add good pictures, or label defects (cost rule)."
    )
    assert caught.value.exit_code == 1


def test_a_confidence_that_so_few_parts_cannot_support_is_refused_in_words() -> None:
    with pytest.raises(
        BoundNotMet, match=r"5 % with 90 % confidence needs at least 45 good parts; there are 20\. With"
    ):
        conformal(np.arange(40), rate="5%", confidence=0.9, parts=[f"p{number // 2}" for number in range(40)])


@given(count=st.integers(1, 20_000), confidence=st.none() | st.sampled_from([0.9, 0.95]))
@settings(max_examples=50)
def test_the_rate_that_is_offered_can_be_asked_for(count: int, confidence: float | None) -> None:
    offered = nearest_supportable(count, confidence=confidence).rate
    if offered < 1:
        assert conformal(np.arange(count), rate=offered, confidence=confidence).rank == count


@given(count=st.integers(1, 3000), thousandths=st.integers(1, 999), confidence=st.none() | st.just(0.9))
def test_a_rate_is_supported_exactly_from_the_number_needed_on(
    count: int, thousandths: int, confidence: float | None
) -> None:
    rate = Fraction(thousandths, 1000)
    rank = conformal_rank(count, rate) if confidence is None else confident_rank(count, rate, confidence)
    assert (rank is not None and rank <= count) == (count >= needed_parts(rate, confidence))


def test_the_stated_rate_holds_on_new_good_parts() -> None:
    """Lognormal scores, 400 calibration sets of 100 parts, 5 %: mean 96/101, sd of the mean of the rates 0.0011."""
    rng = np.random.default_rng(7)
    rates = []
    for _ in range(400):
        threshold = conformal(rng.lognormal(size=100), rate="0.05").threshold
        rates.append(np.mean(rng.lognormal(size=4000) > threshold))
    assert np.mean(rates) == pytest.approx(5 / 101, abs=4 * 0.0011)
    assert np.quantile(rates, 0.95) == pytest.approx(0.0892, abs=0.015)


def test_the_rate_holds_for_parts_whose_pictures_are_alike() -> None:
    """Six pictures a part that share most of their score: by picture the same threshold would not hold for parts."""
    rng = np.random.default_rng(11)

    def parts(count: int) -> np.ndarray:  # type: ignore[type-arg]
        return np.asarray(rng.normal(size=(count, 1)) + 0.5 * rng.normal(size=(count, 6)))

    rates, by_picture = [], []
    for _ in range(300):
        good, new = parts(60), parts(2000)
        names = np.repeat(np.arange(60), 6).astype(str).tolist()
        of_parts = conformal(good.ravel(), rate="0.05", parts=names)
        rates.append(np.mean(new.max(axis=1) > of_parts.threshold))
        by_picture.append(np.mean(new.max(axis=1) > conformal(good.ravel(), rate="0.05").threshold))
    assert np.mean(rates) == pytest.approx(3 / 61, abs=0.008)
    assert np.mean(by_picture) > 0.08


def test_a_rate_with_confidence_holds_by_that_share_of_calibration_sets() -> None:
    """Uniform scores: the true rate of a threshold t is 1 - t; 90 % of 1000 sets, binomial sd 0.0095."""
    rng = np.random.default_rng(3)
    kept = [conformal(rng.random(160), rate="0.05", confidence=0.9).threshold >= 0.95 for _ in range(1000)]
    assert np.mean(kept) == pytest.approx(0.903, abs=4 * 0.0095)


def test_scores_that_tie_at_the_threshold_are_counted_and_warned_about() -> None:
    coarse = conformal([0.0] * 80 + [1.0] * 20, rate="0.05")
    assert coarse.ties == 20
    assert any("resolution too coarse: 20 of 100" in words for words in coarse.warnings)
    assert not any("coarse" in words for words in conformal(np.arange(20), rate="0.05").warnings)


def test_the_record_says_what_was_assumed() -> None:
    values = np.arange(60)
    assert any("one picture per good part was assumed" in words for words in conformal(values, rate="0.1").warnings)
    even = conformal(values, rate="0.1", parts=[str(number // 2) for number in range(60)])
    assert even.warnings == ()
    uneven = conformal(values, rate="0.1", parts=[str(min(number // 2, 20)) for number in range(60)])
    assert any("2 to 20 pictures" in words for words in uneven.warnings)
    crossed = conformal(values, rate="0.1", evidence=Evidence(cross_fit=True, variant="int8"))
    assert crossed.cross_fit
    assert crossed.variant == "int8"
    assert any("proven bound is 20.00 %" in words for words in crossed.warnings)


def test_the_words_tell_rank_and_interval() -> None:
    words = conformal(np.arange(160), rate="5%", parts=[str(number) for number in range(160)]).words
    assert words == (
        "5 %: just above 152, the score of 160 good parts at rank 153 from the lowest. Expected "
        "false-reject rate 4.97 % (90 % interval 2.51 % to 8.06 %, from 160 parts)"
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_named(bad: float) -> None:
    with pytest.raises(BadInput, match=r"score 1 \(part b\) is"):
        conformal([0.0, bad], rate="0.5", parts=["a", "b"])


@pytest.mark.parametrize("rate", [0.05, "0", "1", "-0.1", "110%", "x", "1/0", None])
def test_a_rate_that_is_no_exact_share_is_refused(rate: object) -> None:
    with pytest.raises(BadUsage, match="rate"):
        conformal([1.0, 2.0], rate=rate)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "write"), [("95", "95% or 0.95"), ("1.5", "1.5% or 0.015"), ("1", "1% or 0.01")])
def test_a_bare_number_that_could_be_a_percentage_is_refused_with_both_spellings(text: str, write: str) -> None:
    with pytest.raises(BadUsage, match=f"the confidence {text} must lie between 0 and 1") as caught:
        parse_rate(text, "confidence")
    assert caught.value.hint == f"Write {write}"


def test_rates_may_be_written_in_three_ways() -> None:
    assert parse_rate("5%") == parse_rate("0.05") == parse_rate("1/20") == parse_rate(Fraction(1, 20))


def test_lists_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadUsage, match="2 scores but 1 names"):
        conformal([0.0, 1.0], rate="0.5", parts=["a"])
    with pytest.raises(BadInput, match="at least one"):
        conformal([], rate="0.5")


def cost(good: list[float], defects: list[float], **parts: list[str]) -> Threshold:
    return from_defects(
        good, defects, cost_miss=100, cost_reject=1, prevalence=0.01, rng=np.random.default_rng(0), draws=50, **parts
    )


@given(
    good=st.lists(st.integers(0, 20).map(float), min_size=3, max_size=30),
    defects=st.lists(st.integers(5, 30).map(float), min_size=2, max_size=20),
)
@settings(max_examples=50, deadline=None)
def test_no_observed_score_costs_less_than_the_threshold_chosen(good: list[float], defects: list[float]) -> None:
    """Equal costs of one miss and one reject, and as many good as defective parts drawn: many scores cost the same."""
    good, defects = good[: len(defects)], defects[: len(good)]

    def cost_at(threshold: float) -> float:
        missed = np.mean(np.array(defects) <= threshold)
        rejected = np.mean(np.array(good) > threshold)
        return float(0.5 * missed + 0.5 * rejected)

    chosen = from_defects(
        good, defects, cost_miss=1, cost_reject=1, prevalence=0.5, rng=np.random.default_rng(0), draws=2
    ).threshold
    costs = {value: cost_at(value) for value in {*good, *defects}}
    assert cost_at(chosen) == pytest.approx(min(costs.values()))
    equal = [value for value, price in costs.items() if math.isclose(price, cost_at(chosen), rel_tol=1e-9)]
    assert chosen == just_above(max(equal), np.array(sorted(costs)))


def test_a_margin_is_at_most_half_the_way_to_the_next_score() -> None:
    assert just_above(1.0, np.array([0.5, 1.0, 3.0])) == 1.0 + 3.0 * THRESHOLD_MARGIN
    assert just_above(1.0, np.array([0.5, 1.0, 1.00002])) == pytest.approx(1.00001, abs=1e-9)
    assert just_above(3.0, np.array([0.5, 1.0, 3.0])) == 3.0 + 3.0 * THRESHOLD_MARGIN


def test_thresholds_that_cost_within_5_percent_of_the_least_are_the_interval() -> None:
    good = [float(value) for value in range(100)]
    defects = [20.5] + [200.0] * 19  # one defect lies among the good parts: 1/20 is lost in any case
    rng = np.random.default_rng(0)
    decision = from_defects(good, defects, cost_miss=1.0, cost_reject=0.1, prevalence=0.5, rng=rng, draws=2)
    # Least: 0.5 * 1/20 = 0.025. One reject more costs 0.05 * 1/100 = 0.0005, 5 % are 0.00125: two more, not three.
    assert decision.threshold_interval is not None
    assert decision.threshold_interval[0] == 97.0


def test_recall_is_counted_without_the_defect_that_is_evaluated() -> None:
    """One weak defect pulls the threshold below itself; judged by the others' threshold it is missed."""
    decision = cost([1.0, 2.0, 3.0, 5.0] * 10, [4.0, 9.0, 9.5, 10.0])
    assert "4 of 4" not in decision.words
    assert "3 of 4, at least 24 %" in decision.words
    assert decision.recall_lower == pytest.approx(0.2486, abs=1e-3)


def test_clear_defects_are_all_caught_and_the_words_do_not_say_100_percent() -> None:
    decision = cost([float(number) for number in range(50)], [100.0 + number for number in range(10)])
    assert decision.threshold == pytest.approx(49.0, abs=THRESHOLD_MARGIN * 110)
    assert "10 of 10, at least 74 %" in decision.words
    assert decision.defects == 10
    assert decision.threshold_interval is not None
    assert decision.threshold_interval[0] <= decision.threshold <= decision.threshold_interval[1]


def test_defective_parts_count_once() -> None:
    decision = cost([0.0, 1.0, 2.0], [5.0, 0.5, 6.0, 0.5], defect_parts=["a", "a", "b", "b"])
    assert decision.defects == 2
    assert decision.threshold == pytest.approx(2.0, abs=THRESHOLD_MARGIN * 7)


def test_costs_and_prevalence_must_make_sense() -> None:
    with pytest.raises(BadUsage, match="prevalence"):
        from_defects([0.0], [1.0], cost_miss=1, cost_reject=1, prevalence=0, rng=np.random.default_rng(0))


def test_a_threshold_set_by_hand_states_nothing_and_says_so() -> None:
    decision = fixed(0.4, evidence=Evidence(author="line 3"))
    assert (decision.rule, decision.threshold, decision.author) == ("fixed", 0.4, "line 3")
    assert "its false-reject rate is not known" in decision.words
    with pytest.raises(BadInput, match="decides nothing"):
        fixed(math.nan)
