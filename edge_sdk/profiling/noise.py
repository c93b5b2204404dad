"""Noise of the machine: a fixed loop of pure Python, timed before, between and after the calls. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from edge_sdk.profiling.clock import Clocks

NoiseWord: TypeAlias = Literal["quiet", "busy", "hostile"]
Phase: TypeAlias = Literal["before", "during", "after"]

_STEPS = 6_000  # a few tenths of a ms on today's machines: long against the clock, short against a call


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Times of the fixed loop in one phase, ms."""

    n: int
    min: float
    p50: float
    p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """ratio: p95 / min of all reference loops. verdict: quiet up to a ratio of 1.10, busy up to 1.5, hostile above.

    floor_shift: fastest loop after / fastest before; above 1.05 the CPU itself became slower.
    cpu_share: median CPU time / wall time of a loop; below 1 the thread was taken off the CPU.
    """

    verdict: NoiseWord
    ratio: float
    before: Reference | None
    during: Reference | None
    after: Reference | None
    floor_shift: float | None
    cpu_share: float

    def __str__(self) -> str:
        return self.verdict

    @property
    def word(self) -> str:
        """The verdict for people; `meaning` says it in full."""
        return "very busy" if self.verdict == "hostile" else self.verdict

    @property
    def short(self) -> str:
        """The verdict and what it rests on."""
        took = f" (the same fixed work took up to {self.ratio:.2f} times its shortest time)"
        return self.word + ("" if self.verdict == "quiet" else took)

    @property
    def meaning(self) -> str:
        """The verdict, what it means for the latencies, and what to do."""
        if self.verdict == "quiet":
            return self.word
        if self.verdict == "busy":
            return f"{self.short}: p90 and above may be too high. End other programs"
        return (
            f"{self.short}: p90 and above show the load of the machine rather than the model, and "
            "another run may give another p50. End other programs and measure again"
        )


class SpinReference:
    """Collects reference loops by phase. Not thread-safe: it belongs to the loop that measures."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._wall_ns: dict[Phase, list[int]] = {"before": [], "during": [], "after": []}
        self._share: list[float] = []

    def take(self, phase: Phase, *, times: int = 1) -> int:
        """Run the loop `times` times. Returns the ns that they took together."""
        wall, thread = self._clocks.wall, self._clocks.thread
        began = wall()
        for _ in range(times):
            cpu, start = thread(), wall()
            _spin(_STEPS)
            elapsed, used = wall() - start, thread() - cpu
            self._wall_ns[phase].append(elapsed)
            self._share.append(used / max(elapsed, 1))
        return wall() - began

    def noise(self) -> Noise:
        """The verdict over all loops so far; `take` must have been called."""
        everything = [ns for phase in self._wall_ns.values() for ns in phase]
        whole = _reference(everything)
        assert whole is not None, "no reference loop was taken"
        before, during, after = (_reference(self._wall_ns[phase]) for phase in ("before", "during", "after"))
        ratio = whole.p95 / whole.min
        return Noise(
            verdict="quiet" if ratio <= 1.10 else "busy" if ratio <= 1.5 else "hostile",
            ratio=ratio,
            before=before,
            during=during,
            after=after,
            floor_shift=after.min / before.min if before is not None and after is not None else None,
            cpu_share=float(np.median(self._share)),
        )


def _spin(steps: int) -> int:
    total = 0
    for step in range(steps):
        total += step & 7
    return total


def _reference(wall_ns: list[int]) -> Reference | None:
    if not wall_ns:
        return None
    ms = np.sort(np.asarray(wall_ns, np.float64)) / 1e6
    p50, p95 = (float(ms[int(np.ceil(p * len(ms))) - 1]) for p in (0.5, 0.95))
    return Reference(n=len(ms), min=max(float(ms[0]), 1e-6), p50=p50, p95=p95)
