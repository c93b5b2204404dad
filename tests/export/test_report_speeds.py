"""What the report page says of speed: how long was measured, how steady the run was, how busy the machine."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edge_sdk.export import report
from edge_sdk.export.speeds import PAIRED, QUICK, Ratio, Speeds
from edge_sdk.profiling.noise import NoiseWord
from edge_sdk.profiling.run import ProfileOptions, ProfileReport, profile

RATIO = Ratio(value=1.84, low=1.79, high=1.9, pairs=57, seconds=4.96)


@pytest.fixture(scope="module")
def measured() -> ProfileReport:
    options = ProfileOptions(min_time_s=0.05, max_time_s=0.1, percentiles=(0.9, 0.99))
    return profile(lambda picture: sum(range(2000)), list(range(8)), options=options)


@pytest.mark.parametrize(("verdict", "word"), [("quiet", "quiet"), ("busy", "busy"), ("hostile", "very busy")])
def test_the_page_says_what_the_machine_means_for_the_latencies_and_how_long_was_measured(
    measured: ProfileReport, verdict: NoiseWord, word: str
) -> None:
    on = replace(measured, noise=replace(measured.noise, verdict=verdict))
    speeds = Speeds(latency={("int8", "openvino"): on}, ratios={("int8", "openvino"): RATIO})
    first, note = report._speed_notes(speeds)
    assert note.startswith(f"int8 on openvino: {on.run.calls} calls in {on.run.seconds:.1f} s")
    assert ", the ratio from 57 pairs in 5.0 s. " in note
    assert note.endswith(f"Run: {on.stability.meaning}. Machine: {on.noise.meaning}.")
    (card,) = report._fastest(report.Measured(speeds=speeds, verified=None, machine={}))  # type: ignore[arg-type]
    assert card.words.endswith(f"machine {word}")
    assert "hostile" not in f"{first} {note} {card}"


def test_a_ratio_is_shown_with_its_interval_and_is_numbers_in_json() -> None:
    assert str(RATIO) == "1.84x [1.79, 1.90]"
    assert json.loads(json.dumps(RATIO.to_json())) == {
        "value": 1.84, "low": 1.79, "high": 1.9, "pairs": 57, "seconds": 4.96
    }  # fmt: skip


def test_the_speeds_of_a_demo_are_measured_in_a_bounded_time() -> None:
    """Four runs and two comparisons of two processes, with their warm-ups; loading comes on top."""
    runs = 4 * (QUICK.max_time_s + QUICK.warmup.max_s)
    comparisons = 2 * (PAIRED.max_time_s + 2 * PAIRED.warmup.max_s)
    assert runs + comparisons <= 34
