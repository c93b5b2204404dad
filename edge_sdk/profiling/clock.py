"""The clocks of a measurement, and what reading them costs. Knows no model and no statistics beyond that."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """wall: monotonic ns. cpu: ns of CPU time of this process, all threads. thread: ns of CPU time of this thread."""

    wall: Callable[[], int] = time.perf_counter_ns
    cpu: Callable[[], int] = time.process_time_ns
    thread: Callable[[], int] = time.thread_time_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockCost:
    """ns between two readings of the wall clock, one right after the other: what a timed stage pays for being timed."""

    resolution_ns: float
    median_ns: int
    p99_ns: int


def clock_cost(clocks: Clocks, *, readings: int = 20_000) -> ClockCost:
    """Read the wall clock `readings` times in a row."""
    wall = clocks.wall
    stamps = [wall() for _ in range(readings + 1)]
    gaps = sorted(after - before for before, after in pairwise(stamps))
    return ClockCost(
        resolution_ns=time.get_clock_info("perf_counter").resolution * 1e9,
        median_ns=gaps[len(gaps) // 2],
        p99_ns=gaps[-(-99 * len(gaps) // 100) - 1],
    )
