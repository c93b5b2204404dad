"""What the report page says of speed: how long was measured, how steady the run was, how busy the machine."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edge_sdk.counted import points
from edge_sdk.export import report
from edge_sdk.export.sections import Table, filled
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
    first, note, machine = report._speed_notes(speeds)
    assert note.startswith(f"int8 on openvino: {on.run.calls} calls in {on.run.seconds:.1f} s")
    assert note.endswith(f"Run: {on.stability.meaning}. Speed to fp32: {RATIO.measured}.")
    assert RATIO.measured.startswith("57 pairs of blocks")
    assert machine == f"Machine: {on.noise.meaning}."
    (card,) = report._fastest(report.Measured(speeds=speeds, verified=None, machine={}))  # type: ignore[arg-type]
    assert card.words.endswith(f"machine {word}")
    assert card.value == f"{on.words('p50')} ms"
    assert "hostile" not in f"{first} {note} {machine} {card}"


def test_the_machine_is_described_once_as_it_was_in_the_noisiest_run(measured: ProfileReport) -> None:
    quiet, noisy = (replace(measured, noise=replace(measured.noise, ratio=ratio)) for ratio in (1.05, 2.5))
    speeds = Speeds(latency={("fp32", "a"): quiet, ("int8", "a"): noisy, ("fp32", "b"): quiet}, ratios={})
    notes = report._speed_notes(speeds)
    assert [note for note in notes if "Machine: " in note] == [f"Machine: {noisy.noise.meaning}."]


def test_every_latency_of_the_page_has_the_digits_that_its_run_supports(measured: ProfileReport) -> None:
    on = replace(measured, stability=replace(measured.stability, verdict="too few"))
    speeds = Speeds(latency={("fp32", "a"): on}, ratios={})
    (card,) = report._fastest(report.Measured(speeds=speeds, verified=None, machine={}))  # type: ignore[arg-type]
    total = report._stages(speeds.latency).rows[0][-1]
    assert card.value == f"{total} ms"
    assert total == report._speed(on)[0]
    assert total.startswith("~")
    assert report._speed(on)[-1].startswith("~")


def test_a_column_in_which_nothing_stands_is_left_out() -> None:
    table = Table(header=("a", "b", "c", "d"), rows=(("-", "1", "-", ""), ("-", "-", "-", "kept")))
    assert filled(table) == Table(header=("a", "b", "d"), rows=(("-", "1", ""), ("-", "-", "kept")))


def test_times_are_utc_and_facts_that_say_nothing_are_left_out() -> None:
    assert report._utc("2026-11-30T09:36:53+02:00") == "2026-11-30 07:36 UTC"
    assert report._utc("some day") == "some day"
    assert report._stated({"a": "", "b": None, "c": (), "d": {}, "seed": 0, "e": False}) == {"seed": 0, "e": False}


@pytest.mark.parametrize(
    ("change", "interval", "words"),
    [
        (0.0, (0.0, 0.0), "0.0 [0.0, 0.0] pp"),
        (-0.0001, (-0.0002, 0.0004), "0.0 [0.0, 0.0] pp"),
        (-0.018, (-0.03, 0.001), "-1.8 [-3.0, +0.1] pp"),
        (0.018, None, "+1.8 pp"),
    ],
)
def test_a_change_that_rounds_to_nothing_has_no_sign(
    change: float, interval: tuple[float, float] | None, words: str
) -> None:
    assert points(change, interval) == words


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


def test_a_narrow_page_breaks_no_interval_and_no_unit_from_its_value() -> None:
    nbsp = "\u00a0"
    assert report._unbroken("77.9 % [77.7, 78.1]") == f"77.9{nbsp}% [77.7,{nbsp}78.1]"
    assert report._unbroken("-1.8 [-3.0, +0.1] pp") == f"-1.8 [-3.0,{nbsp}+0.1]{nbsp}pp"
    assert report._unbroken("too few calls: 20") == "too few calls: 20"
