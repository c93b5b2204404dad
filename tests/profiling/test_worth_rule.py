"""From times and an error to "worth it": synthetic pairs through the real rule; what other CPUs are said to gain."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.profiling import elsewhere
from edge_sdk.profiling.paired import Estimate, Pairs, Ruling, decide, pair_ratios
from edge_sdk.profiling.worth_rule import Circumstances, Verdict, percent, reasons, sentence, verdict

ROOT = Path(__file__).resolve().parents[2]


def timed(times_as_fast: float, *, pairs: int = 100, jitter: float = 0.02) -> tuple[Estimate, Ruling]:
    """Speed-up and ruling of an int8 side so many times as fast as 5 ms of fp32; three calls a block."""
    rng = np.random.default_rng(3)
    walls = [5.0 / faster * np.exp(jitter * rng.normal(size=(pairs, 3))) for faster in (1.0, times_as_fast)]
    of = pair_ratios(
        Pairs(wall_a=walls[0], wall_b=walls[1], cpu_a=walls[0], cpu_b=walls[1]), threads=(None, None),
        rng=np.random.default_rng(0),
    )  # fmt: skip
    return of.p.inverse(), decide(of, margin=0.03, noise="quiet", both_ways=True)


@pytest.mark.parametrize(
    ("times_as_fast", "answer"),
    [(1.9, "worth it"), (1.15, "little gain"), (1.0, "no gain"), (0.76, "slower"), (3.5, "worth it")],
)
def test_the_answer_by_how_many_times_as_fast_int8_is(times_as_fast: float, answer: Verdict) -> None:
    speedup, ruling = timed(times_as_fast)
    assert verdict(speedup, ruling, enough_pairs=True) == answer
    assert speedup.low <= times_as_fast * 1.01
    assert speedup.high >= times_as_fast * 0.99


def test_few_pairs_settle_a_plain_difference_alone() -> None:
    assert verdict(*timed(1.9, pairs=10), enough_pairs=False) == "worth it"
    assert verdict(*timed(0.5, pairs=10), enough_pairs=False) == "slower"
    assert verdict(*timed(1.15, pairs=10), enough_pairs=False) == "undecided"
    assert verdict(*timed(1.0, pairs=10), enough_pairs=False) == "undecided"


def test_times_that_scatter_are_undecided_and_ask_for_time() -> None:
    speedup, ruling = timed(1.04, pairs=12, jitter=0.3)
    found = verdict(speedup, ruling, enough_pairs=True)
    assert found == "undecided"
    said = sentence(found, speedup, what="int8", against="fp32", where="on openvino", error=None, margin=0.03)
    assert said.startswith("int8 on openvino: undecided, ")
    assert said.endswith("give more time (--max-time)")


@pytest.mark.parametrize(
    ("found", "speedup", "said"),
    [
        ("worth it", (1.9, 1.85, 1.95),
         "int8 is worth it on openvino: 1.90x (1.85 to 1.95) faster at error 0.8 % of output"),
        ("little gain", (1.2, 1.15, 1.24),
         "int8 gains little on openvino: 1.20x (1.15 to 1.24) faster at error 0.8 % of output"),
        ("no gain", (1.02, 1.0, 1.04),
         "int8 is not worth it on openvino: 1.02x (1.00 to 1.04), within the margin of 3 %"),
        ("slower", (0.76, 0.74, 0.78), "int8 is not worth it on openvino: slower, 0.76x (0.74 to 0.78)"),
    ],
)  # fmt: skip
def test_the_answer_is_one_sentence_with_its_interval(
    found: Verdict, speedup: tuple[float, float, float], said: str
) -> None:
    estimate = Estimate(value=speedup[0], low=speedup[1], high=speedup[2])
    words = sentence(found, estimate, what="int8", against="fp32", where="on openvino", error=0.008, margin=0.03)
    assert words == said


def test_int8_no_faster_than_bf16_is_said_of_bf16() -> None:
    near = Estimate(value=0.97, low=0.95, high=0.99)
    said = sentence("slower", near, what="int8", against="bf16", where="on openvino", error=None, margin=0.03)
    assert said == "int8 is not worth it on openvino over bf16: slower, 0.97x (0.95 to 0.99)"
    (why,) = reasons("slower", Circumstances(call_ms=20.0), against="bf16")
    assert "bf16 as fast, without calibration" in why


def test_what_explains_a_small_gain_is_said_and_nothing_where_int8_pays() -> None:
    tiny = Circumstances(call_ms=0.2, runtime_share=0.4, int8_operators=12, operators=71, error=0.03)
    words = "\n".join(reasons("little gain", tiny))
    for part in ("40 % of the time", "a call takes 0.2 ms", "only 12 of 71", "may cost more than the gain"):
        assert part in words
    assert reasons("worth it", tiny) == reasons("undecided", tiny) == ()
    large = Circumstances(call_ms=20.0, runtime_share=0.95, int8_operators=70, operators=71, error=0.001)
    assert reasons("little gain", large) == reasons("no gain", large) == ()
    assert "the gain" not in "\n".join(reasons("no gain", tiny))


def test_an_error_is_a_percentage_that_keeps_two_digits() -> None:
    assert [percent(share) for share in (0.00834, 0.08, 0.5, 1.2)] == ["0.83 %", "8 %", "50 %", "120 %"]


def test_ruling_a_gain_out_takes_more_than_ruling_a_loss_out() -> None:
    """For "did it become slower?" an interval from 0.80 to 1.03 is enough; for "does int8 pay?" it isn't."""
    of = pair_ratios(
        Pairs(**{name: np.ones((100, 3)) for name in ("wall_a", "wall_b", "cpu_a", "cpu_b")}), threads=(None, None),
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert decide(of, margin=0.03, noise="quiet", both_ways=True).verdict == "same"
    wide = replace(of, p=Estimate(value=0.98, low=0.80, high=1.03))
    assert decide(wide, margin=0.03, noise="quiet").verdict == "same"
    both = decide(wide, margin=0.03, noise="quiet", both_ways=True)
    assert (both.verdict, both.words) == ("inconclusive", "cannot tell apart below 25 %")


def test_every_known_gain_has_a_range_and_a_record_that_is_there() -> None:
    for row in elsewhere.KNOWN:
        assert 1.0 < row.low <= row.high
        assert row.source.startswith("docs/results/")
        speeds = json.loads((ROOT / row.source).read_text())["figures"]["ratios"]
        of_runtime = [
            round(one["speedup"], 2) for one in speeds
            if re.match(rf"PDN-S int8(-w7)? over fp32, {row.runtime}(?! capped)", one["name"])
        ]  # fmt: skip
        assert (row.low, row.high) == (min(of_runtime), max(of_runtime))
    rows = [(row.runtime, row.isa) for row in elsewhere.KNOWN]
    assert len(set(rows)) == len(rows)


def test_other_cpus_are_of_the_same_kind_and_none_can_be_made_stronger() -> None:
    assert elsewhere.others("avx2") == ("amx", "vnni")
    assert elsewhere.others("amx") == ("vnni", "avx2")
    assert elsewhere.others("neon") == ()
    assert "avx2" not in elsewhere.WEAKER
    assert elsewhere.known("openvino", "neon") is None
