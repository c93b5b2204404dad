"""Compares the speed of two callables in two fresh processes, which make a few calls each in turn. Knows no model.

Two runs one after the other can't be compared on a shared machine: it changes more between them than the models differ
(of 20 models with 10 % more work, medians of two runs showed 12, this rule 20). Each pair of blocks is a comparison of
its own, a second apart at most.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from edge_sdk.errors import BadUsage
from edge_sdk.profiling.clock import Clocks
from edge_sdk.profiling.noise import Noise, SpinReference
from edge_sdk.profiling.paired import PairRatios, Pairs, Ruling, decide, needs_confirming, pair_ratios
from edge_sdk.profiling.processes import Side, SubjectProcess
from edge_sdk.profiling.warmup import Warmup, WarmupOptions, warm_up
from edge_sdk.progress import Progress, silent

SCHEMA = "edge-sdk.compare/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """margin: what counts as slower, 0.03 = 3 %. pairs: numbers of pairs after which the rule is applied, until it
    decides.

    quiet_pairs: enough on a quiet machine. max_time_s: of measuring; the report notes if that leaves too few pairs.
    restarts: how often both processes are started; the pairs are spread over them (one process has one memory layout:
    use 3 for differences below 5 %). affinity: logical CPUs of both. seed: of the order inside the pairs and of the
    intervals. both_ways: as of `paired.decide`.
    """

    margin: float = 0.03
    pairs: tuple[int, ...] = (100, 200, 400)
    quiet_pairs: int = 25
    max_time_s: float = 60.0
    restarts: int = 1
    affinity: tuple[int, ...] | None = None
    seed: int = 0
    both_ways: bool = False
    reply_timeout_s: float = 600.0
    warmup: WarmupOptions = field(default_factory=WarmupOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class SideReport:
    """One side of a comparison. median_ms: of its interleaved calls; only the ratio to the other side is a result.

    memory: of its process after the last call, interpreter and runtime included: `rss_bytes`, and `rss_peak_bytes` with
    loading and compiling; empty where the system does not report it.
    """

    name: str
    factory: str
    arguments: Mapping[str, Any]
    environment: Mapping[str, str]
    python: str
    facts: Mapping[str, Any]
    threads: int | None
    warmup: Warmup
    median_ms: float
    memory: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """B against A. ratios are B / A: below 1, B takes less time. ended_by: "decided", "all pairs" or "max time".

    enough_pairs: as many as a sure verdict takes on a machine as quiet as this one.
    """

    schema: str
    a: SideReport
    b: SideReport
    ratios: PairRatios
    ruling: Ruling
    margin: float
    seconds: float
    block_calls: int
    ended_by: str
    enough_pairs: bool
    noise: Noise
    seed: int
    restarts: int
    notes: tuple[str, ...]

    @property
    def speedup(self) -> float:
        """How many times faster B is: 1 / P."""
        return 1.0 / self.ratios.p.value

    def exit_code(self, *, strict: bool = False) -> int:
        """1 if B or its tail is slower; with `strict` also if the verdict is "inconclusive"."""
        if self.ruling.verdict == "slower" or self.ruling.tail_slower:
            return 1
        return 1 if strict and self.ruling.verdict == "inconclusive" else 0

    def to_json(self) -> dict[str, Any]:
        """Plain values for json.dumps."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def text(self) -> str:
        """The result in a few lines."""
        of = self.ratios
        lines = [
            f"A {self.a.name}: median {self.a.median_ms:.3g} ms    B {self.b.name}: median {self.b.median_ms:.3g} ms",
            f"wall time B / A (P): {of.p}   speed-up of B: {self.speedup:.2f}x",
            f"CPU time B / A (C):  {of.c if of.c is not None else 'not used: ' + of.c_absent}",
            f"mean B / A: {of.means}   p99 B / A: {of.p99 if of.p99 is not None else 'needs 662 calls a side'}",
            f"{of.pairs} pairs of {self.block_calls} calls, {self.seconds:.0f} s, {self.restarts} start(s), "
            f"seed {self.seed}, ended by {self.ended_by}",
            f"machine: the same fixed work took up to {self.noise.ratio:.2f} times its shortest time",
            f"verdict: {self.ruling.verdict} ({self.ruling.words}{_CLAUSES[self.ruling.clause]})",
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


_CLAUSES = {"": "", "i": ", by CPU time", "ii": ", by wall time", "i and ii": ", by CPU and wall time"}


def compare(a: Side, b: Side, *, options: CompareOptions = CompareOptions(), progress: Progress = silent) -> Comparison:
    """Start and warm up both sides, then call them in turn until the rule decides. Neither may spin between its calls:
    it would take the CPU from the other.

    Raises BadUsage (options, two sides of one name), NotThere (no such Python), BadInput (a side fails or is silent).
    """
    if options.restarts < 1 or not options.pairs or min(options.pairs) < 4 or options.margin <= 0:
        raise BadUsage("compare needs a margin above 0, at least 4 pairs and 1 start")
    if a.name == b.name:
        raise BadUsage(f"both sides are called {a.name}", hint="Give them two names")
    run = _Run(a, b, options, progress)
    try:
        run.measure()
    finally:
        run.close()
    return run.comparison()


class _Run:
    """State of one comparison: open processes, and the blocks measured so far."""

    def __init__(self, a: Side, b: Side, options: CompareOptions, progress: Progress) -> None:
        self._sides, self._options, self._progress = (a, b), options, progress
        self._order = np.random.default_rng(options.seed)
        self._clocks = Clocks()
        self._reference = SpinReference(self._clocks)
        self._open = ExitStack()
        self._processes: tuple[SubjectProcess, ...] = ()
        self._warm: list[Warmup] = []
        self._pythons: list[str] = []
        self._facts: list[tuple[dict[str, Any], dict[str, int]]] = []
        self._calls = 0
        self._blocks: tuple[list[list[tuple[int, int]]], ...] = ([], [])
        self._seconds, self._ended_by = 0.0, "all pairs"
        self._verdict = "inconclusive"

    def measure(self) -> None:
        enough, quiet = self._options.pairs[0], self._options.quiet_pairs
        self._reference.take("before", times=200)
        for target in (*((quiet,) if quiet < enough else ()), *self._options.pairs):
            if not self._collect(target):
                self._ended_by = "max time"
                break
            if target < enough and self._noise().verdict != "quiet":
                continue
            if self._settled():
                self._ended_by = "decided"
                break
        self._reference.take("after", times=200)
        self._facts = [process.facts() for process in self._processes]

    def close(self) -> None:
        self._open.close()

    def comparison(self) -> Comparison:
        of, ruling = self._rule()
        reports = tuple(self._report(index) for index in (0, 1))
        return Comparison(
            schema=SCHEMA,
            a=reports[0],
            b=reports[1],
            ratios=of,
            ruling=ruling,
            margin=self._options.margin,
            seconds=self._seconds,
            block_calls=self._calls,
            ended_by=self._ended_by,
            enough_pairs=of.pairs >= self._enough(),
            noise=self._noise(),
            seed=self._options.seed,
            restarts=self._options.restarts,
            notes=self._notes(of),
        )

    def _collect(self, target: int) -> bool:
        """Measure until there are `target` pairs. False if the time ended before (with at least 8, for an interval)."""
        have = len(self._blocks[0])
        for start in range(1, self._options.restarts + 1):
            until = have + -(-(target - have) * start // self._options.restarts)
            if not self._processes or self._options.restarts > 1:
                self._start()
            while len(self._blocks[0]) < until:
                if self._seconds >= self._options.max_time_s and len(self._blocks[0]) >= 8:
                    return False
                self._pair()
                self._progress(len(self._blocks[0]), target, "pairs")
        return True

    def _start(self) -> None:
        self._open.close()
        self._progress(0, 0, "starting and warming both sides")
        self._processes = tuple(
            self._open.enter_context(
                SubjectProcess(side, affinity=self._options.affinity, reply_timeout_s=self._options.reply_timeout_s)
            )
            for side in self._sides
        )
        self._pythons = [process.made["python"] for process in self._processes]
        self._warm = [self._warmed(process) for process in self._processes]
        if not self._calls:
            medians = [np.median(process.block(3)[0]) / 1e6 for process in self._processes]
            self._calls = 4 if max(medians) < 25.0 else 2
        for process in self._processes:
            process.freeze()

    def _warmed(self, process: SubjectProcess) -> Warmup:
        return warm_up(lambda calls: [ns / 1e6 for ns in process.block(calls)[0]], self._options.warmup)

    def _pair(self) -> None:
        began = time.perf_counter()
        order = (0, 1) if self._order.random() < 0.5 else (1, 0)
        for index in order:
            wall, cpu = self._processes[index].block(self._calls)
            self._blocks[index].append(list(zip(wall, cpu)))
        self._reference.take("during")
        self._seconds += time.perf_counter() - began

    def _rule(self) -> tuple[PairRatios, Ruling]:
        # The first call of a block is dropped: the caches hold what the other process used.
        times = [np.array(blocks, np.float64)[:, 1:] / 1e6 for blocks in self._blocks]
        of = pair_ratios(
            Pairs(
                wall_a=np.maximum(times[0][..., 0], 1e-6),
                wall_b=np.maximum(times[1][..., 0], 1e-6),
                cpu_a=times[0][..., 1],
                cpu_b=times[1][..., 1],
            ),
            threads=(self._sides[0].threads, self._sides[1].threads),
            cpu_absent=next((f"{side.name}: {side.cpu_absent}" for side in self._sides if side.cpu_absent), ""),
            rng=np.random.default_rng(self._options.seed),
        )
        options = self._options
        return of, decide(of, margin=options.margin, noise=self._noise().verdict, both_ways=options.both_ways)

    def _settled(self) -> bool:
        of, ruling = self._rule()
        before, self._verdict = self._verdict, ruling.verdict
        if needs_confirming(of, ruling, noise=self._noise().verdict):
            return before == ruling.verdict
        return ruling.verdict != "inconclusive"

    def _enough(self) -> int:
        return self._options.quiet_pairs if self._noise().verdict == "quiet" else self._options.pairs[0]

    def _noise(self) -> Noise:
        return self._reference.noise()

    def _report(self, index: int) -> SideReport:
        side, (facts, memory) = self._sides[index], self._facts[index]
        wall = [ns for block in self._blocks[index] for ns, _ in block[1:]]
        return SideReport(
            name=side.name,
            factory=side.factory,
            arguments=side.arguments,
            environment=side.environment,
            python=self._pythons[index],
            facts=facts,
            threads=side.threads,
            warmup=self._warm[index],
            median_ms=float(np.median(wall)) / 1e6,
            memory=memory,
        )

    def _notes(self, of: PairRatios) -> tuple[str, ...]:
        enough, notes = self._enough(), []
        if changing := [side.name for side, warm in zip(self._sides, self._warm) if not warm.converged]:
            notes.append(
                f"latency of {' and '.join(changing)} was still changing after the warm-up: compare for longer"
            )
        if of.pairs < enough:
            notes.append(
                f"only {of.pairs} pairs in the time given, {enough} are needed for a sure verdict: give more time"
            )
        return tuple(notes)
