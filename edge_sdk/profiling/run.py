"""Single-stream profile: the latency of one call after the other, after a warm-up. Knows callables, no bundle.

A closed loop: the next call starts when the last one has returned. Every call is kept; no slow call is dropped.
"""

from __future__ import annotations

import datetime
import gc
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from edge_sdk.counted import counted
from edge_sdk.errors import BadUsage
from edge_sdk.profiling.clock import ClockCost, Clocks, clock_cost
from edge_sdk.profiling.machine import counters, machine, memory, versions
from edge_sdk.profiling.noise import SpinReference
from edge_sdk.profiling.report import Outliers, Run, Samples, SlowCall
from edge_sdk.profiling.report import ProfileReport as ProfileReport
from edge_sdk.profiling.statistics import Stability, Summary, calls_needed, stability, summarize
from edge_sdk.profiling.warmup import Warmup, WarmupOptions, warm_up
from edge_sdk.progress import Progress, silent

ENOUGH_SOURCES = 8
"""Different inputs that a run needs: fewer may stay in the CPU's caches."""
_REFERENCE_EVERY_NS = 50_000_000  # 50 ms: the reference loop then takes less than 1 % of the run
_ALL = 1000  # progress is in thousandths of the run: neither its calls nor its time alone says when it ends
_NOT_STAGES = ("total", "overhead")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileOptions:
    """The run ends when `min_time_s` has passed AND the highest of `percentiles` has the calls that its bound needs
    (p99: 662), or after `max_time_s`; the report then says which percentiles lack calls.

    gc: "off" collects garbage before the run and not during it; "on" measures with it.
    """

    min_time_s: float = 10.0
    max_time_s: float = 60.0
    percentiles: tuple[float, ...] = (0.9, 0.95, 0.99)
    gc: Literal["off", "on"] = "off"
    warmup: WarmupOptions = field(default_factory=WarmupOptions)


def profile(
    predict: Any,
    sources: Sequence[Any],
    *,
    options: ProfileOptions = ProfileOptions(),
    subject: Mapping[str, Any] | None = None,
    runtime: Mapping[str, Any] | None = None,
    command: Sequence[str] = (),
    progress: Progress = silent,
    clocks: Clocks | None = None,
) -> ProfileReport:
    """Measure the latency of `predict(source)`, one call at a time; the sources are taken in turn.

    predict: a callable, or an object with a method of that name. Where the result has `.ran.stages_ms` (ms by stage),
    the stages are reported too, and `overhead`: the total of the call, as timed here, minus all of them. runtime: what
    ran; None: `predict.explanations`, if it has them: the first role's, and of several each under "roles". sources: at
    least 1; 8 or more different ones, because a single one stays in the CPU's caches and looks too fast. Ctrl-C ends
    the run and keeps what was measured.
    """
    if not sources:
        raise BadUsage(
            "there is no input to profile with", hint=f"Give at least {ENOUGH_SOURCES} different ones (--inputs)"
        )
    if not 0 <= options.min_time_s <= options.max_time_s:
        raise BadUsage(
            f"the shortest time of a run, {options.min_time_s:g} s, is above the longest, {options.max_time_s:g} s",
            hint="Lower the first or raise the second",
        )
    call: Callable[[Any], Any] = getattr(predict, "predict", predict)
    clocks = Clocks() if clocks is None else clocks
    cost = clock_cost(clocks, readings=20_000)
    loop = _Loop(call, sources, options, clocks, cost, progress)
    reference = SpinReference(clocks)
    warmup = warm_up(loop.warm_calls, options.warmup)
    before = counters()
    with _garbage(options.gc) as collections:
        reference.take("before", times=200)
        ended_by = loop.measure(reference)
        reference.take("after", times=200)
    progress(_ALL, _ALL, "measured")
    samples = loop.samples()
    totals = np.asarray(samples.total_ns, np.float64) / 1e6
    steadiness = stability(totals)
    stages, absent = _stages(samples, totals, options, cost, loop.group)
    after = counters()
    run = Run(
        mode="single-stream", batch=1, warmup=warmup, calls=len(totals) * loop.group, calls_per_sample=loop.group,
        seconds=loop.seconds, ended_by=ended_by, gc=options.gc, collections=collections[0],
        ring=len(sources), clock=cost,
    )  # fmt: skip
    return ProfileReport(
        created_utc=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        tool_version=versions(["edge-sdk"]).get("edge-sdk", "unknown"),
        command=tuple(command),
        subject=dict(subject or {}),
        runtime=_runtime(predict, runtime),
        machine=machine(),
        run=run,
        stages=stages,
        calls_per_s=run.calls / loop.seconds,
        stability=steadiness,
        outliers=_outliers(samples, totals),
        noise=reference.noise(),
        before=before,
        after=after,
        memory=memory(),
        samples=samples,
        notes=_notes(run, warmup, steadiness, stages["total"], throttled=(before.throttled, after.throttled)),
        absent=absent,
    )


class _Loop:
    """The timed calls. References, counters and progress run between them, outside the times."""

    def __init__(
        self,
        call: Callable[[Any], Any],
        sources: Sequence[Any],
        options: ProfileOptions,
        clocks: Clocks,
        cost: ClockCost,
        progress: Progress,
    ) -> None:
        self._call, self._sources, self._options = call, sources, options
        self._clocks, self._cost, self._progress = clocks, cost, progress
        self._next, self.group, self.seconds = 0, 1, 0.0
        self._rows: list[tuple[int, int, int, int, int]] = []
        self._stages: list[Mapping[str, float]] = []
        self._fastest_ms = math.inf
        self._usage = _usage_reader()

    def warm_calls(self, count: int) -> list[float]:
        """Make `count` calls and return their times in ms."""
        times = []
        for _ in range(count):
            start = self._clocks.wall()
            self._call(self._source())
            times.append((self._clocks.wall() - start) / 1e6)
        self._fastest_ms = min(self._fastest_ms, *times)
        self._progress(0, 0, "warming up")
        return times

    def measure(self, reference: SpinReference) -> str:
        """Call until the options are met. Returns why the run ended."""
        # Shorter calls are timed in groups: at 100 times its cost, the clock adds 1 % at most.
        floor_ms = 100 * self._cost.median_ns / 1e6
        self.group = max(1, math.ceil(floor_ms / max(self._fastest_ms, 1e-6)))
        needed = calls_needed(max(self._options.percentiles, default=0.5))
        began = last_reference = self._clocks.wall()
        apart_ns = 0  # spent in reference loops and progress: not the model's time
        try:
            while True:
                end = self._sample()
                self.seconds = (end - began - apart_ns) / 1e9
                if end - last_reference >= _REFERENCE_EVERY_NS:
                    apart = self._clocks.wall()
                    reference.take("during")
                    self._progress(
                        self._thousandths(needed), _ALL, f"{counted(len(self._rows), 'call')}, {self.seconds:.0f} s"
                    )
                    last_reference = self._clocks.wall()
                    apart_ns += last_reference - apart
                if self.seconds >= self._options.min_time_s and len(self._rows) >= needed:
                    return "enough"
                if self.seconds >= self._options.max_time_s:
                    return "max_time"
        except KeyboardInterrupt:
            if not self._rows:
                raise
            return "user"

    def _thousandths(self, needed: int) -> int:
        """How much of the run is done, 1 to 999: it ends with enough time and enough calls, or at the longest time."""
        enough = min(_part(self.seconds, self._options.min_time_s), _part(len(self._rows), needed))
        part = max(enough, _part(self.seconds, self._options.max_time_s))
        return max(1, min(_ALL - 1, int(_ALL * part)))

    def samples(self) -> Samples:
        """The times of all calls, in order."""
        starts, totals, cpu, switches, faults = (list(column) for column in zip(*self._rows))
        names = [name for name in self._stages[0] if name not in _NOT_STAGES] if self._stages else []
        complete = len(self._stages) == len(totals) and all(set(names) <= set(one) for one in self._stages)
        stages = {n: [round(1e6 * one[n]) for one in self._stages] for n in names} if complete else {}
        known = self._usage() is not None
        return Samples(
            start_ns=[start - starts[0] for start in starts],
            total_ns=totals,
            cpu_ns=cpu,
            stages_ns=stages,
            nivcsw=switches if known else [],
            major_faults=faults if known else [],
        )

    def _sample(self) -> int:
        """Make one timed call, or one group of calls. Returns the time at its end, ns."""
        wall, cpu, group = self._clocks.wall, self._clocks.cpu, self.group
        sources = [self._source() for _ in range(group)]
        usage = self._usage() or (0, 0)
        cpu_start, start = cpu(), wall()
        for source in sources:
            result = self._call(source)
        end, cpu_end = wall(), cpu()
        later = self._usage() or (0, 0)
        self._rows.append(
            (
                start,
                max(1, (end - start) // group),
                (cpu_end - cpu_start) // group,
                later[0] - usage[0],
                later[1] - usage[1],
            )
        )
        stages_ms = getattr(getattr(result, "ran", None), "stages_ms", None)
        if group == 1 and isinstance(stages_ms, Mapping):
            self._stages.append(stages_ms)
        return end

    def _source(self) -> Any:
        self._next = (self._next + 1) % len(self._sources)
        return self._sources[self._next]


def _part(done: float, whole: float) -> float:
    return done / whole if whole > 0 else 1.0


@contextmanager
def _garbage(mode: Literal["off", "on"]) -> Iterator[list[int]]:
    """Set garbage collection for the block and restore it afterwards. Yields [collections so far]."""
    count = [0]

    def counted(phase: str, _: dict[str, Any]) -> None:
        count[0] += phase == "stop"

    was_on = gc.isenabled()
    if mode == "off":
        gc.collect()
        gc.freeze()
        gc.disable()
    gc.callbacks.append(counted)
    try:
        yield count
    finally:
        gc.callbacks.remove(counted)
        if mode == "off":
            gc.unfreeze()
            if was_on:
                gc.enable()


def _usage_reader() -> Callable[[], tuple[int, int] | None]:
    """A reader of (involuntary context switches, major page faults) of this process; None where the system has none."""
    try:
        import resource  # not on Windows
    except ImportError:
        return lambda: None

    def read() -> tuple[int, int]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_nivcsw, usage.ru_majflt

    return read


def _stages(
    samples: Samples,
    totals: np.ndarray[Any, np.dtype[np.float64]],
    options: ProfileOptions,
    cost: ClockCost,
    group: int,
) -> tuple[dict[str, Summary], dict[str, str]]:
    """Summaries by stage, "total" last, and the reason for each stage without one."""
    by_stage = {name: np.asarray(values, np.float64) / 1e6 for name, values in samples.stages_ns.items()}
    absent: dict[str, str] = {}
    if by_stage:
        by_stage["overhead"] = totals - np.sum(list(by_stage.values()), axis=0)
    elif group > 1:
        absent["stages"] = f"a call is too short for the clock: timed in groups of {group}"
    else:
        absent["stages"] = "the call reports no stage times"
    stages = {}
    floor_ms = 20 * cost.median_ns / 1e6
    for name, values in by_stage.items():
        if (values < 0).any():
            absent[f"stages.{name}"] = "the stage times add up to more than the call took"
        elif np.median(values) < floor_ms or not values.all():
            absent[f"stages.{name}"] = (
                f"below 20 times the cost of the clock ({floor_ms:.2g} ms): cannot be told apart from 0"
            )
        else:
            stages[name] = summarize(values, percentiles=options.percentiles)
    stages["total"] = summarize(totals, percentiles=options.percentiles)
    return stages, absent


def _outliers(samples: Samples, totals: np.ndarray[Any, np.dtype[np.float64]]) -> Outliers:
    slow = totals > 2 * np.median(totals)
    share = np.asarray(samples.cpu_ns, np.float64) / np.asarray(samples.total_ns, np.float64)
    usual = float(np.median(share))
    worst = np.argsort(-totals, kind="stable")[:5]
    return Outliers(
        count=int(np.count_nonzero(slow)),
        time_share=float(totals[slow].sum() / totals.sum()),
        worst=tuple(
            SlowCall(
                at_s=samples.start_ns[index] / 1e9,
                ms=float(totals[index]),
                cpu_over_wall=float(share[index]),
                descheduled=bool(share[index] < 0.9 * usual),
                nivcsw=samples.nivcsw[index] if samples.nivcsw else None,
                major_faults=samples.major_faults[index] if samples.major_faults else None,
            )
            for index in worst.tolist()
        ),
    )


def _runtime(predict: Any, facts: Mapping[str, Any] | None) -> dict[str, Any]:
    if facts is not None:
        return dict(facts)
    explanations = getattr(predict, "explanations", None)
    if not isinstance(explanations, Mapping):
        return {}
    by_role = {role: asdict(one) for role, one in explanations.items()}
    first = next(iter(by_role.values()), {})
    return {**first, "roles": by_role} if len(by_role) > 1 else first


def _notes(
    run: Run, warmup: Warmup, steadiness: Stability, total: Summary, *, throttled: tuple[int | None, int | None]
) -> tuple[str, ...]:
    """What limits the results of this run: the reason, what it means for them, what to do."""
    notes = []
    if not warmup.converged:
        notes.append(
            f"latency was still changing after {warmup.calls} calls of warm-up, so the first calls may differ from the "
            "later ones: measure longer (--min-time)"
        )
    if run.ended_by == "user":
        notes.append(f"stopped by the user after {run.calls} calls")
    if run.calls_per_sample > 1:
        notes.append(
            f"one call is too short for the clock, so {run.calls_per_sample} calls are timed together: percentiles are "
            "of means over such a group, and a single slow call does not show"
        )
    if run.ring < ENOUGH_SOURCES:
        inputs = "a single input" if run.ring == 1 else f"only {run.ring} different inputs"
        notes.append(
            f"{inputs} may stay in the CPU's caches, so latencies may be lower than in use: give at least "
            f"{ENOUGH_SOURCES} (--inputs)"
        )
    before, after = throttled
    if before is not None and after is not None and after > before:
        notes.append(
            f"the container's CPU limit stopped this process {after - before} times during the run, so slow calls may "
            "be due to the limit: raise it, or use fewer threads (--threads)"
        )
    if any(one.optimistic for one in total.percentiles):
        notes.append(
            f"slow calls came in groups, so {total.n} calls are worth {steadiness.n_eff:.0f} independent ones, and the "
            "bounds (<=) may be too low: measure longer (--min-time)"
        )
    if steadiness.verdict in ("unstable", "too few"):
        notes.append(
            "don't divide these latencies by those of another run: to compare two variants, time them in turn "
            "(edge_sdk.profiling.compare; int8 against fp32: edge-sdk profile --worth)"
        )
    return tuple(notes)
