from __future__ import annotations

from collections.abc import Sequence

import pytest

from edge_sdk.profiling.clock import Clocks, clock_cost
from edge_sdk.profiling.noise import SpinReference
from edge_sdk.profiling.warmup import WarmupOptions, settled, warm_up


class Recorded:
    """A model whose call times are known: `calls` hands them out one after the other, the last one for ever."""

    def __init__(self, times_ms: Sequence[float]) -> None:
        self.times_ms, self.made = times_ms, 0

    def __call__(self, count: int) -> list[float]:
        out = [self.times_ms[min(self.made + index, len(self.times_ms) - 1)] for index in range(count)]
        self.made += count
        return out


class Stepping:
    """A clock that moves by known steps, ns."""

    def __init__(self, steps_ns: Sequence[int]) -> None:
        self.steps_ns, self.reads, self.now = steps_ns, 0, 0

    def __call__(self) -> int:
        self.now += self.steps_ns[self.reads % len(self.steps_ns)]
        self.reads += 1
        return self.now


def test_a_steady_model_is_warm_after_half_a_second() -> None:
    model = Recorded([20.0])
    result = warm_up(model, WarmupOptions())
    assert result.converged
    assert result.seconds == pytest.approx(0.5, abs=0.1)
    assert result.calls == model.made
    assert result.first_over_steady == 1.0


def test_a_slow_first_call_is_reported_and_does_not_count_as_steady() -> None:
    result = warm_up(Recorded([300.0, 20.0]), WarmupOptions())
    assert result.converged
    assert (result.first_ms, result.first_over_steady) == (300.0, 15.0)


def test_a_model_that_keeps_getting_faster_is_not_warm_yet() -> None:
    falling = [100.0 * 0.985**index for index in range(150)] + [10.0]
    result = warm_up(Recorded(falling), WarmupOptions())
    assert result.converged
    assert result.calls > 100


def test_a_model_that_never_settles_stops_at_the_cap_and_says_so() -> None:
    swinging = [10.0 if (index // 10) % 2 else 30.0 for index in range(600)]
    result = warm_up(Recorded(swinging), WarmupOptions(max_calls=200))
    assert not result.converged
    assert 200 <= result.calls < 210
    slow = warm_up(Recorded([4000.0]), WarmupOptions())
    assert (slow.calls, slow.converged) == (3, False)


def test_short_calls_are_gathered_into_windows_of_a_tenth_of_a_second() -> None:
    result = warm_up(Recorded([0.5]), WarmupOptions())
    assert result.converged
    assert 1000 <= result.calls <= 1300


def test_settled_needs_three_windows_within_five_percent_and_no_fall() -> None:
    assert not settled([1.0, 1.0])
    assert settled([9.0, 1.0, 1.0, 1.0])
    assert not settled([1.0, 1.0, 1.06])
    assert not settled([1.0, 1.0, 0.96])


def test_equal_reference_loops_are_quiet_and_descheduled_ones_hostile() -> None:
    # `take` reads the wall clock once, then at the start and the end of each loop
    even = SpinReference(Clocks(wall=Stepping([300_000, 100]), thread=Stepping([300_000])))
    even.take("before", times=20)
    assert even.noise().verdict == even.noise().meaning == "quiet"
    torn = SpinReference(Clocks(wall=Stepping([300_000, 100, 300_000, 100, 900_000, 100]), thread=Stepping([300_000])))
    torn.take("during", times=60)
    noise = torn.noise()
    assert noise.verdict == "hostile"
    assert "3.00 times its shortest time" in noise.meaning
    assert "p90 and above" in noise.meaning
    assert noise.meaning.endswith("measure again")
    assert noise.before is None
    assert noise.floor_shift is None


def test_the_loops_percentiles_are_those_of_nearest_rank() -> None:
    """100 loops of 1 to 100 ms, in a mixed order; between them no time passes."""
    steps = [0, *(step for i in range(100) for step in (0, 1_000_000 * (37 * i % 100 + 1))), 0]
    reference = SpinReference(Clocks(wall=Stepping(steps), thread=lambda: 0))
    reference.take("during", times=100)
    found = reference.noise()
    assert found.during is not None
    assert (found.during.n, found.during.min, found.during.p50, found.during.p95) == (100, 1.0, 50.0, 95.0)
    assert found.ratio == 95.0


def test_a_cpu_that_became_slower_shows_in_the_floor() -> None:
    wall = Stepping([300_000])
    reference = SpinReference(Clocks(wall=wall, thread=Stepping([300_000])))
    reference.take("before", times=5)
    wall.steps_ns = [390_000]
    reference.take("after", times=5)
    assert reference.noise().floor_shift == pytest.approx(1.3)


def test_the_clock_of_this_machine_costs_less_than_a_stage() -> None:
    cost = clock_cost(Clocks(), readings=2000)
    assert 0 <= cost.median_ns <= cost.p99_ns
    exact = clock_cost(Clocks(wall=Stepping([40])), readings=100)
    assert (exact.median_ns, exact.p99_ns) == (40, 40)
