"""Decides when a model is warm, by windows of call times. Knows times only.

The rule compares lower quartiles, not means: other programs inflate the mean, while warm-up (compilation, page faults,
CPU frequency) shifts the fastest calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupOptions:
    """At least `min_calls` and `min_s`; at most `max_s`, or `max_calls` once twice `min_s` has passed: 500 calls of a
    fast model are over before there are three windows. A window has at least `window_calls` and `window_s`.
    """

    min_calls: int = 5
    min_s: float = 0.5
    max_calls: int = 500
    max_s: float = 10.0
    window_calls: int = 5
    window_s: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """What the warm-up took. converged: False if it ended at a cap, with latency still changing."""

    calls: int
    seconds: float
    converged: bool
    first_ms: float
    first_over_steady: float


def settled(quartiles_ms: Sequence[float]) -> bool:
    """The last three windows' lower quartiles lie within 5 %, and the last is not still getting faster by 3 %."""
    if len(quartiles_ms) < 3:
        return False
    last = quartiles_ms[-3:]
    return max(last) / min(last) <= 1.05 and last[-1] >= 0.97 * last[-2]


def warm_up(calls: Callable[[int], Sequence[float]], options: WarmupOptions) -> Warmup:
    """Call until settled. calls(k) makes k calls, one after the other, and returns their times in ms."""
    times: list[float] = []
    quartiles: list[float] = []
    window: list[float] = []
    while True:
        # The first call alone: its length decides how many the first window needs.
        wanted = 1 if not times else _lacking(window, times, options)
        new = [max(ms, 1e-6) for ms in calls(max(1, wanted))]
        times += new
        window += new
        if len(window) >= options.window_calls and sum(window) >= 1e3 * options.window_s:
            quartiles.append(float(np.quantile(window, 0.25, method="inverted_cdf")))
            window = []
        seconds = sum(times) / 1e3
        long_enough = len(times) >= options.min_calls and seconds >= options.min_s
        converged = long_enough and settled(quartiles)
        many = len(times) >= options.max_calls and seconds >= 2 * options.min_s
        if converged or many or seconds >= options.max_s:
            steady = quartiles[-1] if quartiles else float(np.quantile(times, 0.25, method="inverted_cdf"))
            return Warmup(
                calls=len(times),
                seconds=seconds,
                converged=converged,
                first_ms=times[0],
                first_over_steady=times[0] / steady,
            )


def _lacking(window: list[float], times: list[float], options: WarmupOptions) -> int:
    """Calls that complete the window, within what is left of `max_s`."""
    recent_ms = times[-1]
    by_time = (1e3 * options.window_s - sum(window)) / recent_ms
    room = math.ceil((1e3 * options.max_s - sum(times)) / recent_ms)
    return min(room, max(options.window_calls - len(window), min(int(by_time), 1000)))
