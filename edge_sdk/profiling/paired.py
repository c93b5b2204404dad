"""Decides which of two interleaved runs is slower, on a machine that others use. Pure: knows times only.

Pair k is one block of calls of each side, one right after the other. P compares the fastest calls of the two blocks of
a pair (wall time): what disturbs the machine for longer than a pair hits both. C compares their CPU times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadUsage
from edge_sdk.profiling.noise import NoiseWord
from edge_sdk.profiling.statistics import calls_needed

Floats: TypeAlias = NDArray[np.float64]
VerdictWord: TypeAlias = Literal["slower", "faster", "same", "inconclusive"]

_BLOCK_PAIRS = 5  # resampled together: regimes of a machine last longer than a pair
_DRAWS = 2000
LARGE = 1.3
"""With a ratio's whole interval beyond it, nothing that a machine does to both sides of a pair explains it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Times in ms, float64 (pairs, calls of a block), in order; the first call of each block already dropped."""

    wall_a: Floats
    wall_b: Floats
    cpu_a: Floats
    cpu_b: Floats

    def __len__(self) -> int:
        return len(self.wall_a)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A ratio B / A with its 95 % interval."""

    value: float
    low: float
    high: float

    def inverse(self) -> Estimate:
        """The same, as A / B."""
        return Estimate(value=1 / self.value, low=1 / self.high, high=1 / self.low)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRatios:
    """p: wall time, by the pairs' fastest calls. c: CPU time, by the pairs' medians; None where `c_absent` says why.

    quarters: P of the four quarters of the run. means, p99: of all calls, pooled (p99 None below 662 calls a side).
    """

    p: Estimate
    c: Estimate | None
    c_absent: str
    quarters: tuple[float, ...]
    means: Estimate
    p99: Estimate | None
    pairs: int
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """verdict: of B against A. clause: what decided ("i": CPU time, "ii": wall time). tail_slower: by p99 alone."""

    verdict: VerdictWord
    clause: str
    tail_slower: bool
    words: str


def pair_ratios(
    pairs: Pairs, *, threads: tuple[int | None, int | None], cpu_absent: str = "", rng: np.random.Generator
) -> PairRatios:
    """All ratios with intervals (circular block bootstrap over pairs). threads: of A and B; None: CPU time not used.

    cpu_absent: why CPU time can't be compared (one side spins, or computes on a GPU); "" if it can.
    """
    if len(pairs) < 4:
        raise BadUsage(f"{len(pairs)} pairs are too few for any interval", hint="Measure at least 25")
    resamples = _resamples(len(pairs), rng)
    log_wall = np.log(pairs.wall_b.min(axis=1) / pairs.wall_a.min(axis=1))
    absent = cpu_absent or _cpu_absent(pairs, threads)
    c = None
    if not absent:
        c = _median_ratio(np.log(np.median(pairs.cpu_b, axis=1) / np.median(pairs.cpu_a, axis=1)), resamples)
    calls = pairs.wall_a.size
    return PairRatios(
        p=_median_ratio(log_wall, resamples),
        c=c,
        c_absent=absent,
        quarters=tuple(float(np.exp(np.median(quarter))) for quarter in np.array_split(log_wall, 4)),
        means=_pooled(pairs, resamples, None),
        p99=_pooled(pairs, resamples, 0.99) if calls >= calls_needed(0.99) else None,
        pairs=len(pairs),
        calls=calls,
    )


def decide(of: PairRatios, *, margin: float, noise: NoiseWord, both_ways: bool = False) -> Ruling:
    """Is B slower than A by more than `margin` (0.03 = 3 %)? Every clause must hold; else same, or inconclusive.

    both_ways: "same" also takes that B is not faster. Without it "same" is "B is not slower", which is enough to let a
    change pass, and says nothing of a gain that was not proven yet.
    """
    tail = of.p99 is not None and of.p99.low > 1.25 and noise != "hostile"
    also = "; its slowest calls are slower (p99)" if tail else ""
    slower = _slower(of.p, of.c, of.quarters, margin)
    if slower:
        waits = slower == "ii" and of.c is not None and of.c.high < 1 + margin
        words = "B is slower" + (": it waits longer, computes the same" if waits else "")
        return Ruling(verdict="slower", clause=slower, tail_slower=tail, words=words + also)
    inverse_c = None if of.c is None else of.c.inverse()
    faster = _slower(of.p.inverse(), inverse_c, tuple(1 / quarter for quarter in of.quarters), margin)
    if faster:
        return Ruling(verdict="faster", clause=faster, tail_slower=tail, words="B is faster" + also)
    not_slower = _not_slower(of.p, of.c, margin)
    not_faster = _not_slower(of.p.inverse(), inverse_c, margin) if both_ways else not_slower
    if not_slower and not_faster:
        words = "neither is faster" if both_ways else "B is not slower"
        return Ruling(verdict="same", clause=not_slower, tail_slower=tail, words=words + also)
    most = max(of.p.high, 1 / of.p.low) if both_ways else of.p.high
    words = f"cannot tell apart below {100 * (most - 1):.0f} %"
    return Ruling(verdict="inconclusive", clause="", tail_slower=tail, words=words + also)


def needs_confirming(of: PairRatios, ruling: Ruling, *, noise: NoiseWord) -> bool:
    """Whether the same verdict must come a second time, with more pairs, before it counts.

    On a very noisy machine a small difference that only wall time shows may be due to chance in one process.
    """
    if noise != "hostile" or ruling.verdict not in ("slower", "faster") or ruling.clause != "ii":
        return False
    return of.p.high > 1 / LARGE and of.p.low < LARGE


def _slower(p: Estimate, c: Estimate | None, quarters: tuple[float, ...], margin: float) -> str:
    """The clauses that say so: "i", "ii", "i and ii", or ""."""
    by_cpu = c is not None and c.low > 1 + margin and p.value > 1
    # a neighbour can favour one process for seconds: three quarters of the run must agree
    agreeing = sum(quarter >= 1 + margin / 2 for quarter in quarters)
    by_wall = p.value >= 1 + margin and p.low > 1 + 2 * margin / 3 and agreeing >= 3
    return " and ".join(name for name, holds in (("i", by_cpu), ("ii", by_wall)) if holds)


def _not_slower(p: Estimate, c: Estimate | None, margin: float) -> str:
    """The clause by which a slow-down beyond the margin is ruled out, or ""."""
    if p.high < 1 + 2 * margin:
        return "ii"
    return "i" if c is not None and c.high < 1 + margin else ""


def _cpu_absent(pairs: Pairs, threads: tuple[int | None, int | None]) -> str:
    for name, wall, cpu, count in zip("AB", (pairs.wall_a, pairs.wall_b), (pairs.cpu_a, pairs.cpu_b), threads):
        if count is None:
            return f"the thread count of {name} is not known"
        if not (cpu > 0).all():
            return f"the CPU clock is too coarse for the calls of {name}"
        fastest = np.argsort(wall, axis=None)[: max(1, wall.size // 4)]
        share = float(np.median(cpu.ravel()[fastest] / (wall.ravel()[fastest] * count)))
        if share < 0.7:
            used = f"{name} uses {100 * share:.0f} % of its {count} threads even in its fastest calls"
            return f"{used}: it sleeps, or others have the CPU"
    return ""


def _resamples(pairs: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Indices of pairs, (draws, pairs): circular blocks of neighbouring pairs."""
    blocks = -(-pairs // _BLOCK_PAIRS)
    starts = rng.integers(0, pairs, size=(_DRAWS, blocks))
    return ((starts[:, :, None] + np.arange(_BLOCK_PAIRS)) % pairs).reshape(_DRAWS, -1)[:, :pairs].astype(np.intp)


def _median_ratio(logs: Floats, resamples: NDArray[np.intp]) -> Estimate:
    return _estimate(float(np.exp(np.median(logs))), np.exp(np.median(logs[resamples], axis=1)))


def _pooled(pairs: Pairs, resamples: NDArray[np.intp], p: float | None) -> Estimate:
    def figure(wall: Floats) -> Floats:
        """Mean or p-quantile over the last two axes."""
        flat = wall.reshape(*wall.shape[:-2], -1)
        if p is None:
            return np.asarray(flat.mean(axis=-1))
        return np.asarray(np.quantile(flat, p, axis=-1, method="inverted_cdf"))

    # a few hundred draws at a time: 400 pairs of 3 calls, 2000 times, would be 20 MB a side at once
    drawn = [figure(pairs.wall_b[part]) / figure(pairs.wall_a[part]) for part in np.array_split(resamples, 8)]
    return _estimate(float(figure(pairs.wall_b) / figure(pairs.wall_a)), np.concatenate(drawn))


def _estimate(value: float, drawn: Floats) -> Estimate:
    low, high = np.quantile(drawn, (0.025, 0.975))
    # the interval of a skewed resample may miss the value itself by a rounding error
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value))
