from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.errors import BadUsage
from edge_sdk.profiling.noise import NoiseWord
from edge_sdk.profiling.paired import Estimate, PairRatios, Pairs, decide, needs_confirming, pair_ratios


def simulated(seed: int, *, slower: float = 1.0, pairs: int = 100, hostile: bool = True, sleeps: float = 0.0) -> Pairs:
    """5 ms calls, 3 % jitter; hostile: a neighbour in bursts of 300 ms, spikes on 2 % of the calls, 20 % drift.

    Three calls a block. CPU time carries the neighbour's cache misses only (2 %). sleeps: ms that B waits in each call.
    """
    rng = np.random.default_rng(seed)
    now = 0.0
    walls: dict[str, list[list[float]]] = {"a": [], "b": []}
    cpus: dict[str, list[list[float]]] = {"a": [], "b": []}
    busy_until, busy = 0.0, False
    for pair in range(pairs):
        for side in rng.permutation(["a", "b"]):
            wall, cpu = [], []
            for _ in range(3):
                if now >= busy_until:
                    busy, busy_until = bool(rng.random() < 0.4), now + rng.exponential(300.0)
                work = 5.0 * (slower if side == "b" else 1.0) * np.exp(0.03 * rng.normal())
                elapsed = work
                if hostile:
                    elapsed *= (1.8 if busy else 1.0) * (1 + 0.2 * pair / pairs)
                    elapsed += rng.exponential(15.0) if rng.random() < 0.02 else 0.0
                elapsed += sleeps if side == "b" else 0.0
                now += elapsed
                wall.append(elapsed)
                cpu.append(work * np.exp(0.02 * rng.normal()))
            walls[str(side)].append(wall)
            cpus[str(side)].append(cpu)
    return Pairs(
        wall_a=np.array(walls["a"]), wall_b=np.array(walls["b"]), cpu_a=np.array(cpus["a"]), cpu_b=np.array(cpus["b"])
    )


def verdict(pairs: Pairs, *, cpu: bool = True, noise: NoiseWord = "hostile") -> str:
    of = pair_ratios(pairs, threads=(1, 1) if cpu else (None, None), rng=np.random.default_rng(0))
    return decide(of, margin=0.03, noise=noise).verdict


@pytest.mark.parametrize("cpu", [True, False])
def test_ten_percent_more_work_is_found_on_a_hostile_machine_and_nothing_is_found_in_nothing(cpu: bool) -> None:
    null = [verdict(simulated(seed), cpu=cpu) for seed in range(20)]
    slow = [verdict(simulated(seed, slower=1.1), cpu=cpu) for seed in range(20)]
    assert null.count("slower") + null.count("faster") == 0
    assert slow.count("slower") >= 19


def test_medians_of_the_pooled_calls_would_not_have_done() -> None:
    """The reason for pairs: the same data, pooled, spread over more than the 10 % to be found."""
    ratios = [np.median(p.wall_b) / np.median(p.wall_a) for p in (simulated(seed, pairs=25) for seed in range(40))]
    paired = [
        pair_ratios(simulated(seed, pairs=25), threads=(None, None), rng=np.random.default_rng(0)).p.value
        for seed in range(10)
    ]
    assert max(ratios) > 1.1
    assert max(paired) < 1.05


def test_the_other_way_round_it_is_faster() -> None:
    pairs = simulated(3, slower=1.1)
    swapped = Pairs(wall_a=pairs.wall_b, wall_b=pairs.wall_a, cpu_a=pairs.cpu_b, cpu_b=pairs.cpu_a)
    assert (verdict(pairs), verdict(swapped)) == ("slower", "faster")


@given(seed=st.integers(0, 50), factor=st.floats(0.1, 10))
@settings(max_examples=10, deadline=None)
def test_the_ratio_inverts_with_the_sides_and_ignores_the_unit(seed: int, factor: float) -> None:
    pairs = simulated(seed, pairs=30)
    swapped = Pairs(wall_a=pairs.wall_b, wall_b=pairs.wall_a, cpu_a=pairs.cpu_b, cpu_b=pairs.cpu_a)
    scaled = Pairs(
        wall_a=pairs.wall_a * factor,
        wall_b=pairs.wall_b * factor,
        cpu_a=pairs.cpu_a * factor,
        cpu_b=pairs.cpu_b * factor,
    )
    one, other, unit = (
        pair_ratios(each, threads=(1, 1), rng=np.random.default_rng(0)) for each in (pairs, swapped, scaled)
    )
    assert other.p.value == pytest.approx(1 / one.p.value)
    assert unit.p.value == pytest.approx(one.p.value)
    assert one.p.low <= one.p.value <= one.p.high


def test_a_side_that_waits_more_is_distinguished_from_one_that_computes_more() -> None:
    of = pair_ratios(simulated(1, sleeps=0.8, hostile=False), threads=(1, 1), rng=np.random.default_rng(0))
    ruling = decide(of, margin=0.03, noise="quiet")
    assert (ruling.verdict, ruling.clause) == ("slower", "ii")
    assert "waits longer, computes the same" in ruling.words


def test_cpu_time_is_not_used_of_a_side_that_sleeps_or_whose_threads_are_unknown() -> None:
    pairs = simulated(1, hostile=False)
    lazy = Pairs(wall_a=pairs.wall_a, wall_b=pairs.wall_b, cpu_a=pairs.cpu_a, cpu_b=0.5 * pairs.cpu_b)
    of = pair_ratios(lazy, threads=(1, 1), rng=np.random.default_rng(0))
    assert of.c is None
    assert "B uses" in of.c_absent
    assert "sleeps" in of.c_absent
    assert "not known" in pair_ratios(pairs, threads=(1, None), rng=np.random.default_rng(0)).c_absent
    ratios = pair_ratios(pairs, threads=(1, 1), cpu_absent="b: it computes on a GPU", rng=np.random.default_rng(0))
    assert (ratios.c, ratios.c_absent) == (None, "b: it computes on a GPU")


def made(p: tuple[float, float, float], *, c: tuple[float, float, float] | None = None, **more: object) -> PairRatios:
    estimate = {"value": 0.0, "low": 0.0, "high": 0.0}
    keys = tuple(estimate)
    return PairRatios(
        p=Estimate(**dict(zip(keys, p))),
        c=None if c is None else Estimate(**dict(zip(keys, c))),
        c_absent="",
        quarters=more.get("quarters", (p[0],) * 4),  # type: ignore[arg-type]
        means=Estimate(value=1.0, low=0.9, high=1.1),
        p99=more.get("p99"),  # type: ignore[arg-type]
        pairs=100,
        calls=300,
    )


@pytest.mark.parametrize(
    ("of", "word", "clause"),
    [
        (made((1.05, 1.025, 1.08)), "slower", "ii"),
        (made((1.05, 1.019, 1.08)), "inconclusive", ""),
        (made((1.05, 1.025, 1.08), quarters=(1.3, 1.3, 1.0, 1.0)), "inconclusive", ""),
        (made((1.01, 0.95, 1.09), c=(1.05, 1.04, 1.06)), "slower", "i"),
        (made((0.99, 0.95, 1.09), c=(1.05, 1.04, 1.06)), "inconclusive", ""),
        (made((1.05, 1.025, 1.08), c=(1.05, 1.04, 1.06)), "slower", "i and ii"),
        (made((1.0, 0.97, 1.03)), "same", "ii"),
        (made((1.0, 0.9, 1.2), c=(1.0, 0.99, 1.01)), "same", "i"),
        (made((0.95, 0.93, 0.97)), "faster", "ii"),
        (made((1.0, 0.9, 1.2)), "inconclusive", ""),
    ],
)
def test_the_rule_clause_by_clause(of: PairRatios, word: str, clause: str) -> None:
    ruling = decide(of, margin=0.03, noise="hostile")
    assert (ruling.verdict, ruling.clause) == (word, clause)


@pytest.mark.parametrize(
    ("of", "noise", "again"),
    [
        (made((1.10, 1.05, 1.15)), "hostile", True),
        (made((0.90, 0.85, 0.94)), "hostile", True),
        (made((1.10, 1.05, 1.15)), "busy", False),
        (made((1.50, 1.35, 1.70)), "hostile", False),
        (made((0.50, 0.45, 0.60)), "hostile", False),
        (made((1.10, 1.05, 1.15), c=(1.1, 1.09, 1.11)), "hostile", False),
        (made((1.0, 0.97, 1.03)), "hostile", False),
    ],
)
def test_a_small_difference_in_wall_time_alone_is_found_twice_on_a_hostile_machine(
    of: PairRatios, noise: NoiseWord, again: bool
) -> None:
    assert needs_confirming(of, decide(of, margin=0.03, noise=noise), noise=noise) == again


def test_what_cannot_be_decided_is_worded_with_its_limit() -> None:
    assert decide(made((1.0, 0.9, 1.2)), margin=0.03, noise="busy").words == "cannot tell apart below 20 %"


def test_a_slow_tail_counts_unless_the_machine_is_hostile() -> None:
    of = made((1.0, 0.99, 1.01), p99=Estimate(value=1.5, low=1.3, high=1.8))
    assert decide(of, margin=0.03, noise="quiet").tail_slower
    assert not decide(of, margin=0.03, noise="hostile").tail_slower


def test_the_tail_needs_662_calls_a_side() -> None:
    assert pair_ratios(simulated(0, pairs=220), threads=(1, 1), rng=np.random.default_rng(0)).p99 is None
    assert pair_ratios(simulated(0, pairs=221), threads=(1, 1), rng=np.random.default_rng(0)).p99 is not None


def test_three_pairs_are_refused() -> None:
    with pytest.raises(BadUsage, match="too few"):
        pair_ratios(simulated(0, pairs=3), threads=(1, 1), rng=np.random.default_rng(0))
