"""Statistics of latencies: percentiles with bounds, stability, dependence, significant digits. Pure.

Latencies are in ms and never dropped. A percentile has two numbers: the point (nearest rank, no interpolation between
calls) and the bound (an upper 99 % confidence bound, the early-stopping value of MLPerf's LoadGen).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput
from edge_sdk.intervals import binomial_cdf

Floats: TypeAlias = NDArray[np.float64]
Latencies: TypeAlias = "Sequence[float] | NDArray[np.floating[Any]]"
StabilityWord: TypeAlias = Literal["stable", "fair", "unstable", "too few"]

BLOCKS = 10
CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    """p: 0..1. point: nearest rank. bound: its upper confidence bound. Both None below `need_n` calls.

    optimistic: the bound may be too low, since dependent calls are worth fewer than need_n independent ones.
    words: the sentence to print where there is no point, else "".
    """

    p: float
    point: float | None
    bound: float | None
    need_n: int
    optimistic: bool
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Latencies of one stage, ms. ci95_p50: 95 % interval of the median, by the effective number of calls."""

    n: int
    min: float
    p5: float
    p25: float
    p50: float
    mean: float
    p75: float
    max: float
    sd: float
    percentiles: tuple[Percentile, ...]
    ci95_p50: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """Whether the speed stayed the same during the run. blocks_ms: medians of 10 equal parts of the run, in order.

    cv: sd / mean of them; spread: max / min; drift: relative, over the whole run, by Theil-Sen. n_eff: how many
    independent calls the run is worth.
    """

    verdict: StabilityWord
    cv: float | None
    drift: float | None
    spread: float | None
    blocks_ms: tuple[float, ...]
    n_eff: float

    def __str__(self) -> str:
        return self.verdict

    @property
    def meaning(self) -> str:
        """The verdict, and what it means for the digits that are shown."""
        if self.spread is None:
            return f"fewer than {2 * BLOCKS} calls, so one digit is shown. Measure longer"
        apart = f"medians of its {BLOCKS} parts are up to {100 * (self.spread - 1):.0f} % apart"
        if self.verdict == "stable":
            return f"stable ({apart})"
        if self.verdict == "fair":
            return f"fair ({apart}), so two digits are shown"
        return f"unstable ({apart}), so one digit is shown. Measure longer, or on an idle machine"


def nearest_rank(ordered: Floats, p: float) -> float:
    """Value number ceil(p n), counted from 1, of n ascending values. p in (0, 1]."""
    return float(ordered[max(1, math.ceil(p * len(ordered))) - 1])


def slow_calls_allowed(n: int, p: float, *, confidence: float = CONFIDENCE) -> int:
    """t: the most of n calls that may be slower than the p-quantile, with `confidence`. Below 1: no bound.

    The largest t with BinomCDF(t; n, 1 - p) <= 1 - confidence; -1 where even t = 0 is too likely.
    """
    low, high = -1, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if binomial_cdf(middle, n, 1.0 - p) <= 1.0 - confidence else (low, middle)
    return low


def calls_needed(p: float, *, slow: int = 1, confidence: float = CONFIDENCE) -> int:
    """Fewest calls whose p-quantile has a bound: 11, 64, 130, 662, 6636 for p50, p90, p95, p99, p99.9."""
    high = 1
    while slow_calls_allowed(high, p, confidence=confidence) < slow:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if slow_calls_allowed(middle, p, confidence=confidence) < slow:
            low = middle
        else:
            high = middle
    return high


def percentile(ordered: Floats, p: float, *, n_eff: float) -> Percentile:
    """Point and bound of one percentile, or why there is none. ordered: ascending, ms."""
    n, need = len(ordered), calls_needed(p)
    name = f"p{100 * p:g}"
    if n < need:
        words = f"{name}: needs {need} runs, have {n}; slowest of {n} was {float(ordered[-1]):.3g} ms"
        return Percentile(p=p, point=None, bound=None, need_n=need, optimistic=False, words=words)
    allowed = slow_calls_allowed(n, p)
    return Percentile(
        p=p,
        point=nearest_rank(ordered, p),
        bound=float(ordered[n - allowed]),
        need_n=need,
        optimistic=n_eff < need,
        words="",
    )


def summarize(latencies: Latencies, *, percentiles: Sequence[float] = (0.9, 0.95, 0.99)) -> Summary:
    """Summary of one stage. latencies: ms, in the order of the calls."""
    values = _checked(latencies)
    ordered = np.sort(values)
    n_eff = effective_calls(values)
    return Summary(
        n=len(values),
        min=float(ordered[0]),
        p5=nearest_rank(ordered, 0.05),
        p25=nearest_rank(ordered, 0.25),
        p50=nearest_rank(ordered, 0.5),
        mean=float(values.mean()),
        p75=nearest_rank(ordered, 0.75),
        max=float(ordered[-1]),
        sd=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        percentiles=tuple(percentile(ordered, p, n_eff=n_eff) for p in percentiles),
        ci95_p50=_median_interval(ordered, n_eff),
    )


def stability(latencies: Latencies) -> Stability:
    """The verdict over 10 blocks. Fewer than 20 calls: "too few", which is treated as unstable."""
    values = _checked(latencies)
    if len(values) < 2 * BLOCKS:
        return Stability(
            verdict="too few", cv=None, drift=None, spread=None, blocks_ms=(), n_eff=effective_calls(values)
        )
    medians = np.array([np.median(block) for block in np.array_split(values, BLOCKS)])
    cv = float(medians.std(ddof=1) / medians.mean())
    drift = theil_sen(medians) * (BLOCKS - 1) / float(np.median(medians))
    spread = float(medians.max() / medians.min())
    verdict: StabilityWord = "unstable"
    if cv <= 0.03 and abs(drift) <= 0.03 and spread <= 1.10:
        verdict = "stable"
    elif cv <= 0.10 and abs(drift) <= 0.10:
        verdict = "fair"
    return Stability(
        verdict=verdict,
        cv=cv,
        drift=drift,
        spread=spread,
        blocks_ms=tuple(float(median) for median in medians),
        n_eff=effective_calls(values),
    )


def effective_calls(latencies: Latencies) -> float:
    """How many independent calls these are worth, by batch means of ln latency over 10 blocks; at most n.

    Block means see slow regimes of the machine, which the correlation of neighbouring calls misses.
    """
    values = _checked(latencies)
    if len(values) < 2 * BLOCKS:
        return float(len(values))
    logs = np.log(values)
    between = float(np.var([block.mean() for block in np.array_split(logs, BLOCKS)], ddof=1))
    if between == 0.0:
        return float(len(values))
    return min(float(len(values)), float(logs.var(ddof=1)) * BLOCKS / between)


def theil_sen(values: Latencies) -> float:
    """Median of the slopes of all pairs, per step of the index."""
    y = np.asarray(values, np.float64)
    first, second = np.triu_indices(len(y), k=1)
    return float(np.median((y[second] - y[first]) / (second - first)))


def shown_ms(value: float, verdict: StabilityWord = "stable") -> str:
    """ms with the digits that the run supports: 3 significant if stable, 2 if fair, else 1 and a "~"."""
    digits = {"stable": 3, "fair": 2}.get(verdict, 1)
    return ("" if digits > 1 else "~") + significant(value, digits)


def significant(value: float, digits: int) -> str:
    """`value` with so many significant digits, never in exponent form: 1234 with 2 is "1200"."""
    if value == 0.0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    if rounded != 0.0:  # 9.99 with 2 digits is 10, not 10.0
        places = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:.{max(0, places)}f}"


def _median_interval(ordered: Floats, n_eff: float) -> tuple[float, float] | None:
    """Order statistics around the median, their distance set by the effective number of calls."""
    worth = int(n_eff)
    ranks = [rank for rank in range(1, worth // 2 + 1) if binomial_cdf(rank - 1, worth, 0.5) <= 0.025]
    if not ranks:
        return None  # fewer than 6 independent calls: even their range is no 95 % interval
    n = len(ordered)
    below = max(1, math.floor(ranks[-1] * n / worth))
    return float(ordered[below - 1]), float(ordered[n - below])


def _checked(latencies: Latencies) -> Floats:
    values = np.asarray(latencies, np.float64)
    if values.ndim != 1 or values.size == 0 or not (np.isfinite(values) & (values > 0)).all():
        raise BadInput("latencies must be a list of times above 0 ms", hint="Measure at least one call")
    return values
