from __future__ import annotations

import csv
import gc
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_sdk.errors import BadUsage
from edge_sdk.profiling.clock import Clocks
from edge_sdk.profiling.run import ProfileOptions, ProfileReport, profile

PICTURES = list(range(8))


class Simulated:
    """A machine whose time passes only on request: reading the clock costs 50 ns, a reference loop 2 ms."""

    def __init__(self) -> None:
        self.now = 0

    def read(self) -> int:
        self.now += 50
        return self.now

    def clocks(self) -> Clocks:
        return Clocks(wall=self.read, cpu=lambda: self.now, thread=self.read_slowly)

    def read_slowly(self) -> int:
        """Read in the reference loops alone: 1 ms, which must not count as the model's time."""
        self.now += 1_000_000
        return self.now


class Model:
    """Takes `times_ms` in turn; tells stages if asked. Keeps the pictures that it got."""

    def __init__(self, machine: Simulated, times_ms: Sequence[float], *, stages: bool = False) -> None:
        self.machine, self.times_ms, self.stages = machine, times_ms, stages
        self.seen: list[Any] = []

    def predict(self, picture: Any) -> Any:
        took = self.times_ms[len(self.seen) % len(self.times_ms)]
        self.seen.append(picture)
        self.machine.now += round(took * 1e6)
        if not self.stages:
            return None
        stages = {"resize": 0.2 * took, "infer": 0.7 * took, "copy_in": 0.0, "overhead": 0.0, "total": took}
        return SimpleNamespace(ran=SimpleNamespace(stages_ms=stages))


def measured(times_ms: Sequence[float], *, stages: bool = False, **options: Any) -> ProfileReport:
    machine = Simulated()
    return profile(
        Model(machine, times_ms, stages=stages), PICTURES, options=ProfileOptions(**options), clocks=machine.clocks()
    )


def test_a_steady_model_is_measured_until_time_and_calls_are_enough() -> None:
    report = measured([5.0])
    assert report.run.ended_by == "enough"
    assert report.run.seconds == pytest.approx(10.0, abs=0.1)
    assert report.total.p50 == pytest.approx(5.0, abs=1e-3)
    assert report.stability.verdict == "stable"
    assert report.calls_per_s == pytest.approx(200.0, rel=1e-2)
    assert report.words("p50") == "5.00"
    assert report.words("p99") == "5.00 (<= 5.00)"


def test_a_fast_run_goes_on_until_p99_has_its_calls() -> None:
    report = measured([20.0], min_time_s=1.0)
    assert report.run.calls == 662
    assert measured([20.0], min_time_s=1.0, percentiles=(0.9,)).run.calls == 64


def test_a_slow_model_ends_at_the_cap_and_says_what_its_calls_support() -> None:
    report = measured([400.0], max_time_s=30.0)
    assert report.run.ended_by == "max_time"
    assert report.run.calls == 75
    assert report.words("p90").startswith("400 (<=")
    assert report.words("p99") == "p99: needs 662 runs, have 75; slowest of 75 was 400 ms"
    assert report.to_json()["stages"]["total"]["p99"] is None
    assert "p99: needs 662 runs, have 75" in report.text()


def test_pictures_are_taken_in_turn() -> None:
    machine = Simulated()
    model = Model(machine, [50.0])
    profile(model, PICTURES, options=ProfileOptions(min_time_s=1.0, max_time_s=2.0), clocks=machine.clocks())
    assert set(model.seen) == set(PICTURES)
    assert all(one != other for one, other in zip(model.seen, model.seen[1:]))


def test_stages_are_reported_and_what_is_left_is_the_overhead() -> None:
    report = measured([10.0], stages=True, min_time_s=1.0, max_time_s=5.0)
    assert list(report.stages) == ["resize", "infer", "overhead", "total"]
    assert report.stages["infer"].p50 == pytest.approx(7.0)
    assert report.stages["overhead"].p50 == pytest.approx(1.0, abs=1e-3)
    assert "cannot be told apart from 0" in report.absent["stages.copy_in"]


def test_a_call_that_tells_no_stages_has_a_total_and_a_reason() -> None:
    report = measured([10.0], min_time_s=1.0, max_time_s=2.0)
    assert list(report.stages) == ["total"]
    assert report.absent["stages"] == "the call reports no stage times"


def test_a_stage_below_20_times_the_cost_of_the_clock_is_not_distinguished_from_0() -> None:
    class Reads(Model):
        def predict(self, picture: Any) -> Any:
            result = super().predict(picture)
            result.ran.stages_ms |= {"read": 0.0009, "write": 0.0011}  # a reading of the clock costs 50 ns
            return result

    machine = Simulated()
    options = ProfileOptions(min_time_s=1.0, max_time_s=2.0)
    report = profile(Reads(machine, [10.0], stages=True), PICTURES, options=options, clocks=machine.clocks())
    assert "cannot be told apart from 0" in report.absent["stages.read"]
    assert report.stages["write"].p50 == pytest.approx(0.0011)


def test_a_slow_call_whose_thread_was_off_the_cpu_is_distinguished_from_one_that_computed() -> None:
    class Shared(Simulated):
        idle = 0

        def clocks(self) -> Clocks:
            return Clocks(wall=self.read, cpu=lambda: self.now - self.idle, thread=self.read_slowly)

    class Waits(Model):
        def predict(self, picture: Any) -> Any:
            result = super().predict(picture)
            if len(self.seen) % 100 == 50:
                machine.now, machine.idle = machine.now + 60_000_000, machine.idle + 30_000_000
            return result

    machine = Shared()
    report = profile(Waits(machine, [5.0] * 99 + [50.0]), PICTURES, clocks=machine.clocks())
    slow = {round(one.ms): one.descheduled for one in report.outliers.worst}
    assert slow == {65: True}
    busy = measured([5.0] * 99 + [50.0]).outliers.worst
    assert {round(one.ms): one.descheduled for one in busy} == {50: False}


def test_garbage_collection_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        measured([5.0], min_time_s=0.1, max_time_s=0.5)
        assert not gc.isenabled()
    finally:
        gc.enable()
    measured([5.0], min_time_s=0.1, max_time_s=0.5)
    assert gc.isenabled()


def test_slow_calls_are_kept_counted_and_listed() -> None:
    report = measured([5.0] * 99 + [50.0])
    assert report.outliers.count == report.run.calls // 100
    assert report.outliers.time_share == pytest.approx(50 / 545, rel=0.05)
    assert [one.ms for one in report.outliers.worst] == pytest.approx([50.0] * 5, abs=1e-3)
    assert report.total.max == pytest.approx(50.0, abs=1e-3)
    assert not any(one.descheduled for one in report.outliers.worst)


def test_a_run_of_two_speeds_gets_no_three_digit_figure_and_no_ratio() -> None:
    report = measured([5.0] * 600 + [9.0] * 600, min_time_s=8.0)
    assert report.stability.verdict == "unstable"
    assert report.words("p50").startswith("~")
    assert any("don't divide these latencies by those of another run" in note for note in report.notes)
    assert any("bounds (<=) may be too low" in note for note in report.notes)
    assert "may be too low" in report.words("p99")


def test_calls_too_short_for_the_clock_are_timed_in_groups() -> None:
    report = measured([0.001], min_time_s=0.1, max_time_s=1.0)
    assert report.run.calls_per_sample == 5
    assert report.total.p50 == pytest.approx(0.001, rel=0.2)
    assert "groups of 5" in report.absent["stages"]


def test_the_first_slow_call_is_warm_up_and_not_latency() -> None:
    machine = Simulated()
    model = Model(machine, [900.0] + [5.0] * 100_000)
    report = profile(model, PICTURES, options=ProfileOptions(), clocks=machine.clocks())
    assert report.run.warmup.first_ms == pytest.approx(900.0, abs=1e-3)
    assert report.total.max == pytest.approx(5.0, abs=1e-3)


def test_ctrl_c_keeps_what_was_measured() -> None:
    machine = Simulated()
    model = Model(machine, [5.0])

    def stops(picture: Any) -> Any:
        if len(model.seen) == 400:
            raise KeyboardInterrupt
        return model.predict(picture)

    report = profile(stops, PICTURES, clocks=machine.clocks())
    assert report.run.ended_by == "user"
    assert report.run.calls == 400 - report.run.warmup.calls
    assert any("stopped by the user" in note for note in report.notes)


@pytest.mark.parametrize("mode", ["off", "on"])
def test_garbage_collection_is_as_asked_for_and_afterwards_as_before(mode: Any) -> None:
    machine = Simulated()
    seen: set[bool] = set()

    def call(picture: Any) -> None:
        seen.add(gc.isenabled())
        machine.now += 5_000_000

    frozen = gc.get_freeze_count()
    options = ProfileOptions(min_time_s=0.1, max_time_s=0.2, gc=mode)
    profile(call, PICTURES, options=options, clocks=machine.clocks())
    assert gc.isenabled()
    assert gc.get_freeze_count() == frozen
    assert (False in seen) == (mode == "off")


def nulls(value: Any, path: str = "") -> list[str]:
    """Paths of all nulls in a JSON value; those of a stage's percentiles carry their own words."""
    if isinstance(value, dict):
        return [found for name, each in value.items() for found in nulls(each, f"{path}.{name}".lstrip("."))]
    return [path] if value is None else []


@pytest.mark.parametrize(("times", "longest"), [([10.0], 5.0), ([400.0], 1.0)])
def test_the_report_is_json_by_its_schema_with_a_reason_for_each_null(times: list[float], longest: float) -> None:
    report = measured(times, stages=True, min_time_s=0.5, max_time_s=longest)
    plain = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert plain["schema"] == "edge-sdk.profile/2"
    for path in nulls(plain):
        of_percentile = path.startswith("stages.") and path.rpartition(".")[2] in ("p90", "p95", "p99", "value")
        assert of_percentile or plain["absent"].get(path), path
    total = plain["stages"]["total"]
    assert {"n", "min", "p5", "p25", "p50", "mean", "p75", "p90", "p95", "p99", "max", "sd", "bound"} <= set(total)
    assert total["bound"]["p99"]["need_n"] == 662
    assert (total["p99"] is None) == bool(total["bound"]["p99"]["words"])
    assert {"verdict", "cv", "drift", "spread", "blocks", "n_eff", "outliers"} <= set(plain["stability"])
    assert {"mode", "k", "fps", "arrivals", "batch", "warmup", "calls", "seconds", "ended_by", "gc"} <= set(
        plain["run"]
    )
    assert {"verdict", "ref", "floor_shift", "psi_some_avg10", "loadavg", "steal_ms", "nivcsw"} <= set(plain["noise"])
    assert {"cpu_max", "nr_throttled_delta", "memory_max"} == set(plain["machine"]["container"])


def test_every_call_can_be_kept_as_csv(tmp_path: Path) -> None:
    report = measured([10.0], stages=True, min_time_s=1.0, max_time_s=2.0)
    report.samples.write(tmp_path / "calls.csv")
    with (tmp_path / "calls.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == report.run.calls
    assert float(rows[0]["infer_ns"]) == 7e6
    assert int(rows[1]["start_ns"]) > int(rows[0]["start_ns"])


def test_what_ran_is_taken_from_the_predictor() -> None:
    @dataclass(frozen=True)
    class Explanation:
        runtime: str

    machine = Simulated()
    model = Model(machine, [50.0])
    model.explanations = {"model": Explanation(runtime="numpy")}  # type: ignore[attr-defined]
    options = ProfileOptions(min_time_s=0.1, max_time_s=0.2)
    assert profile(model, PICTURES, options=options, clocks=machine.clocks()).runtime == {"runtime": "numpy"}
    report = profile(model, PICTURES, options=options, clocks=machine.clocks(), runtime={"runtime": "report"})
    assert report.runtime == {"runtime": "report"}
    model.explanations = {"first": Explanation("numpy"), "second": Explanation("other")}  # type: ignore[attr-defined]
    of_two = profile(model, PICTURES, options=options, clocks=machine.clocks()).runtime
    assert of_two["roles"] == {"first": {"runtime": "numpy"}, "second": {"runtime": "other"}}


def test_few_pictures_are_noted_and_none_are_refused() -> None:
    machine = Simulated()
    options = ProfileOptions(min_time_s=0.1, max_time_s=0.2)
    report = profile(Model(machine, [5.0]), [1], options=options, clocks=machine.clocks())
    assert any("a single input may stay in" in note and "--inputs" in note for note in report.notes)
    with pytest.raises(BadUsage, match="no input to profile with"):
        profile(Model(machine, [5.0]), [])
    with pytest.raises(BadUsage, match="above the longest"):
        profile(Model(machine, [5.0]), [1], options=ProfileOptions(min_time_s=9.0, max_time_s=1.0))


@pytest.mark.parametrize(
    ("ms", "options"),
    [
        (5.0, {}),  # has the calls of p99 long before its time is over
        (20.0, {"min_time_s": 1.0}),  # the other way round
        (400.0, {"max_time_s": 30.0}),  # ends at the longest time
        (5.0, {"min_time_s": 0.0, "max_time_s": 0.0}),
        (0.001, {"min_time_s": 0.1, "max_time_s": 1.0}),
    ],
)
def test_progress_grows_to_100_percent_at_the_end_of_the_run_and_never_beyond(
    ms: float, options: dict[str, Any]
) -> None:
    machine = Simulated()
    steps: list[tuple[int, int, str]] = []
    add: Callable[[int, int, str], None] = lambda done, total, note: steps.append((done, total, note))  # noqa: E731
    profile(Model(machine, [ms]), PICTURES, options=ProfileOptions(**options), progress=add, clocks=machine.clocks())
    assert steps[0] == (0, 0, "warming up")
    shares = [done / total for done, total, _ in steps if total]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert all(share < 1.0 for share in shares[:-1])
    assert len(shares) < 10 or shares[len(shares) // 2] == pytest.approx(0.5, abs=0.03)


def test_it_runs_on_the_real_clock() -> None:
    report = profile(
        lambda picture: sum(range(20_000)), PICTURES, options=ProfileOptions(min_time_s=0.2, max_time_s=0.4)
    )
    assert report.run.calls > 10
    assert report.memory.rss_peak_bytes is None or report.memory.rss_peak_bytes > 0
    assert report.text()
