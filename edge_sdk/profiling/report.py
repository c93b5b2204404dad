"""The report of a profile as data, JSON (schema edge-sdk.profile/2) and table. Measures nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_sdk import atomic
from edge_sdk.profiling.clock import ClockCost
from edge_sdk.profiling.machine import Counters, Machine, Memory
from edge_sdk.profiling.noise import Noise
from edge_sdk.profiling.statistics import Stability, Summary, shown_ms
from edge_sdk.profiling.warmup import Warmup
from edge_sdk.text_table import TableWriter, text_table

SCHEMA = "edge-sdk.profile/2"
LATER = {
    "seed": "a closed loop draws nothing",
    "like": "no other tool was asked for",
    "cold_start": "needs fresh processes, not part of this run",
    "energy": "no source was asked for",
    "layers": "never in the same run as latencies",
    "samples": "in memory; Samples.write keeps them as CSV",
    "machine.power_mode": "not read on this board",
    "run.k": "one request in flight in this mode",
    "run.fps": "no schedule in this mode",
    "run.pinned": "affinity was left alone",
    "memory.pss_model": "needs a reading before the model was loaded",
    "memory.device_bytes": "not read",
}
"""Fields of the schema that this mode does not fill, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """One entry per call (or group of calls, see Run.calls_per_sample), in order. start_ns: since the first call.

    stages_ns: by stage, as the call reported them. nivcsw, major_faults: during the call; empty where not known.
    """

    start_ns: Sequence[int]
    total_ns: Sequence[int]
    cpu_ns: Sequence[int]
    stages_ns: Mapping[str, Sequence[int]]
    nivcsw: Sequence[int]
    major_faults: Sequence[int]

    def write(self, path: Path) -> None:
        """Write a CSV file with one line per call, for analyses that need calls and not summaries. Raises CantWrite."""
        columns: dict[str, Sequence[int]] = {
            "start_ns": self.start_ns, "total_ns": self.total_ns, "cpu_ns": self.cpu_ns,
            **{f"{name}_ns": values for name, values in self.stages_ns.items()},
            **({"nivcsw": self.nivcsw, "major_faults": self.major_faults} if self.nivcsw else {}),
        }  # fmt: skip
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(["index", *columns])
        writer.writerows([index, *row] for index, row in enumerate(zip(*columns.values())))
        atomic.write(path, text.getvalue())


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How it was measured. ended_by: "enough", "max_time" or "user". ring: different sources, called in turn.

    collections: of garbage during the run. calls_per_sample: above 1 where one call is too short for the clock.
    """

    mode: str
    batch: int
    warmup: Warmup
    calls: int
    calls_per_sample: int
    seconds: float
    ended_by: str
    gc: str
    collections: int
    ring: int
    clock: ClockCost


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowCall:
    """One of the slowest calls and its circumstances. descheduled: less CPU time per wall time than usual."""

    at_s: float
    ms: float
    cpu_over_wall: float
    descheduled: bool
    nivcsw: int | None
    major_faults: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outliers:
    """Calls above twice the median; counted, never dropped. time_share: of the whole time, 0..1. worst: slowest 5."""

    count: int
    time_share: float
    worst: tuple[SlowCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileReport:
    """Result of one profile. Times in ms. stages: "total" always, and the stages that the call reported.

    runtime, subject: what the caller knows about what ran. absent: field -> why it has no value.
    """

    created_utc: str
    tool_version: str
    command: tuple[str, ...]
    subject: Mapping[str, Any]
    runtime: Mapping[str, Any]
    machine: Machine
    run: Run
    stages: Mapping[str, Summary]
    calls_per_s: float
    stability: Stability
    outliers: Outliers
    noise: Noise
    before: Counters
    after: Counters
    memory: Memory
    samples: Samples
    notes: tuple[str, ...]
    absent: Mapping[str, str]

    @property
    def total(self) -> Summary:
        """Latency of the whole call."""
        return self.stages["total"]

    def words(self, name: str, *, stage: str = "total") -> str:
        """Text of "p50", "p90", ... in ms: with the digits that the run supports and the bound, or why it is absent."""
        summary = self.stages[stage]
        word = self.stability.verdict
        if name in ("min", "p5", "p25", "p50", "mean", "p75", "max"):
            return shown_ms(float(getattr(summary, name)), word)
        for one in summary.percentiles:
            if name == f"p{100 * one.p:g}":
                if one.point is None or one.bound is None:
                    return one.words
                mark = ", may be too low" if one.optimistic else ""
                return f"{shown_ms(one.point, word)} (<= {shown_ms(one.bound, word)}{mark})"
        return f"{name}: not asked for"

    def to_json(self) -> dict[str, Any]:
        """Plain values by the schema: unknown is null, with its reason in `absent` under the field's path."""
        return {
            "schema": SCHEMA,
            "created_utc": self.created_utc,
            "tool_version": self.tool_version,
            "command": list(self.command),
            "seed": None,
            "like": None,
            "notes": list(self.notes),
            "subject": dict(self.subject),
            "machine": _machine(self.machine, _grown(self.before.throttled, self.after.throttled)),
            "runtime": dict(self.runtime),
            "run": _run(self.run),
            "stages": {name: _stage(summary) for name, summary in self.stages.items()},
            "throughput": {"calls_per_s": self.calls_per_s, "wall_s": self.run.seconds},
            "stability": {
                "verdict": self.stability.verdict,
                "cv": self.stability.cv,
                "drift": self.stability.drift,
                "spread": self.stability.spread,
                "blocks": list(self.stability.blocks_ms),
                "n_eff": self.stability.n_eff,
                "outliers": asdict(self.outliers),
            },
            "noise": _noise(self.noise, self.before, self.after),
            "cold_start": None,
            "memory": {
                "rss_peak": self.memory.rss_peak_bytes,
                "pss_now": self.memory.pss_bytes,
                "pss_model": None,
                "device_bytes": None,
                "source": "getrusage, smaps_rollup",
            },
            "energy": None,
            "layers": [],
            "samples": None,
            "absent": {**LATER, **self._absent()},
        }

    def _absent(self) -> dict[str, str]:
        absent = {
            **self.absent,
            **{_MACHINE.get(f"machine.{k}", f"machine.{k}"): v for k, v in self.machine.absent.items()},
        }
        few = "fewer than 20 calls" if self.stability.verdict == "too few" else "not available on this system"
        for path, value in {
            "machine.container.nr_throttled_delta": _grown(self.before.throttled, self.after.throttled),
            "noise.psi_some_avg10": self.after.pressure_percent,
            "noise.loadavg": self.after.load,
            "noise.steal_ms": _grown(self.before.steal_ms, self.after.steal_ms),
            "noise.nivcsw": _grown(self.before.nivcsw, self.after.nivcsw),
            "memory.rss_peak": self.memory.rss_peak_bytes,
            "memory.pss_now": self.memory.pss_bytes,
            "stability.cv": self.stability.cv,
            "stability.drift": self.stability.drift,
            "stability.spread": self.stability.spread,
        }.items():
            if value is None:
                absent[path] = few
        if self.noise.during is None:
            absent["noise.ref.during"] = "the run was shorter than 50 ms"
        for stage, summary in self.stages.items():
            if summary.ci95_p50 is None:
                absent[f"stages.{stage}.ci95_p50"] = "fewer than 6 independent calls"
        return absent

    def text(self, table: TableWriter = text_table) -> str:
        """A table for people: one line per stage, then how far they can be trusted."""
        asked = [f"p{100 * one.p:g}" for one in self.total.percentiles]
        header = ("stage, ms", "min", "p50", "mean", *(name for name in asked), "max", "n")
        rows = []
        for stage, summary in self.stages.items():
            points = ["-" if one.point is None else self.words(f"p{100 * one.p:g}", stage=stage)
                      for one in summary.percentiles]  # fmt: skip
            few = [self.words(name, stage=stage) for name in ("min", "p50", "mean")]
            rows.append((stage, *few, *points, self.words("max", stage=stage), str(summary.n)))
        lines = [table(header, rows)]
        lines += [one.words for one in self.total.percentiles if one.words]
        lines.append(
            f"{self.calls_per_s:.3g} calls/s; {self.outliers.count} calls took more than twice the median, "
            f"{100 * self.outliers.time_share:.0f} % of the time"
        )
        lines += [f"run: {self.stability.meaning}", f"machine: {self.noise.meaning}"]
        warm = self.run.warmup
        lines.append(
            f"warm-up: {warm.calls} calls, {warm.seconds:.1f} s, first {warm.first_ms:.3g} ms"
            + ("" if warm.converged else "; still changing")
        )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _stage(summary: Summary) -> dict[str, Any]:
    plain = asdict(summary)
    bounds = {f"p{100 * one.p:g}": one for one in summary.percentiles}
    del plain["percentiles"]
    return {
        **plain,
        **{name: one.point for name, one in bounds.items()},
        "bound": {
            name: {"value": one.bound, "need_n": one.need_n, "optimistic": one.optimistic, "words": one.words}
            for name, one in bounds.items()
        },
    }


_MACHINE = {
    "machine.cpu_max": "machine.container.cpu_max",
    "machine.memory_max_bytes": "machine.container.memory_max",
    "machine.memory_bytes": "machine.mem_total",
    "machine.clocks_khz": "machine.clocks.cpu_khz",
    "machine.gpus": "machine.gpu",
}
"""Where the schema keeps a field of Machine that it names or groups otherwise."""


def _machine(facts: Machine, throttled: float | None) -> dict[str, Any]:
    return {
        "cpu_model": facts.cpu_model,
        "flags": list(facts.flags),
        "isa": facts.isa,
        "isa_cap": facts.isa_cap,
        "cores_visible": facts.cores_visible,
        "cores_physical": facts.physical_cores,
        "affinity": list(facts.affinity),
        "smt": facts.smt,
        "l3_bytes": facts.l3_bytes,
        "hypervisor": facts.hypervisor,
        "mem_total": facts.memory_bytes,
        "os": facts.system,
        "kernel": facts.kernel,
        "python": facts.python,
        "board": facts.board,
        "gpu": list(facts.gpus) or None,
        "container": {
            "cpu_max": facts.cpu_max,
            "nr_throttled_delta": throttled,
            "memory_max": facts.memory_max_bytes,
        },
        "governor": facts.governor,
        "turbo": facts.turbo,
        "power_mode": None,
        "clocks": {"cpu_khz": list(facts.clocks_khz) or None},
    }


def _run(run: Run) -> dict[str, Any]:
    plain = asdict(run)
    del plain["ring"], plain["collections"]
    return {
        **plain,
        "k": None,
        "fps": None,
        "arrivals": "closed loop",
        "pinned": None,
        "gc": {"mode": run.gc, "collections": run.collections},
        "inputs": {"ring": run.ring, "source": "arrays in memory"},
    }


def _noise(noise: Noise, before: Counters, after: Counters) -> dict[str, Any]:
    phases = {"before": noise.before, "during": noise.during, "after": noise.after}
    return {
        "verdict": noise.verdict,
        "ratio": noise.ratio,
        "cpu_share": noise.cpu_share,
        "ref": {name: None if one is None else asdict(one) for name, one in phases.items()},
        "floor_shift": noise.floor_shift,
        "psi_some_avg10": after.pressure_percent,
        "loadavg": None if after.load is None else list(after.load),
        "steal_ms": _grown(before.steal_ms, after.steal_ms),
        "nivcsw": _grown(before.nivcsw, after.nivcsw),
    }


def _grown(first: float | None, last: float | None) -> float | None:
    return None if first is None or last is None else last - first
