"""Discrete noise schedules as sigma: published values, and laws that hold for every schedule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from edge_sdk.errors import BadInput
from edge_sdk.export.onestep.schedules import MAX_STEPS, Betas, sigmas, step_at

STABLE_DIFFUSION = Betas(schedule="scaled_linear", start=0.00085, end=0.012)
COSINE = Betas(schedule="squaredcos_cap_v2")


@pytest.mark.parametrize(
    ("betas", "at", "wanted"),
    [
        (Betas(), 0, 0.0100), (Betas(), 999, 157.4), (STABLE_DIFFUSION, 0, 0.0292), (STABLE_DIFFUSION, 999, 14.61),
        (COSINE, 0, 0.00643), (COSINE, 998, 641.7), (COSINE, 999, 20291),
    ],
)  # fmt: skip
def test_first_and_last_sigma_of_known_schedules(betas: Betas, at: int, wanted: float) -> None:
    """specs/sim.md, section 6.1."""
    assert sigmas(betas)[at] == pytest.approx(wanted, rel=5e-3)


@pytest.mark.parametrize(("sigma", "wanted"), [(0.5, 144.2), (2.5, 439.8), (24.4, 793.4), (80.0, 929.6)])
def test_steps_of_known_noise(sigma: float, wanted: float) -> None:
    """specs/sim.md, section 6.1: betas from 1e-4 to 0.02 in 1000 steps."""
    assert float(step_at(np.array(sigma), sigmas(Betas()))) == pytest.approx(wanted, abs=0.06)


def test_a_step_that_is_noise_alone_is_left_out() -> None:
    plain, rescaled = sigmas(Betas()), sigmas(Betas(zero_end=True))
    assert (len(plain), len(rescaled)) == (1000, 999)
    assert np.isfinite(rescaled).all()
    assert rescaled[0] == pytest.approx(plain[0])
    assert rescaled[-1] > 50 * plain[-1]


def test_trained_betas_stand_for_themselves() -> None:
    values = tuple(Betas().values())
    np.testing.assert_array_equal(sigmas(Betas(steps=1000, trained=values)), sigmas(Betas()))


SCHEDULES = some.builds(
    Betas, steps=some.integers(2, 300), start=some.floats(1e-5, 1e-2), end=some.floats(1e-2, 0.1),
    schedule=some.sampled_from(["linear", "scaled_linear", "squaredcos_cap_v2"]), zero_end=some.booleans(),
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(betas=SCHEDULES, along=some.floats(0.0, 1.0))
def test_noise_rises_and_each_sigma_leads_back_to_its_step(betas: Betas, along: float) -> None:
    table = sigmas(betas)
    assert len(table) == betas.steps - betas.zero_end
    assert (np.diff(table) > 0).all()
    np.testing.assert_allclose(step_at(table, table), np.arange(len(table)), atol=1e-6)
    wanted = along * (len(table) - 1)
    between = np.exp(np.interp(wanted, np.arange(len(table)), np.log(table)))
    assert float(step_at(between, table)) == pytest.approx(wanted, abs=1e-6)


def test_beyond_the_schedule_its_ends_hold() -> None:
    table = sigmas(STABLE_DIFFUSION)
    np.testing.assert_array_equal(step_at(np.array([1e-3, 80.0]), table), [0.0, 999.0])


@pytest.mark.parametrize(
    ("betas", "said"),
    [
        (Betas(steps=1), "from 2 to"), (Betas(steps=MAX_STEPS + 1), "from 2 to"), (Betas(start=0.0), "between 0 and 1"),
        (Betas(end=1.0), "between 0 and 1"), (Betas(end=float("nan")), "between 0 and 1"),
        (Betas(steps=2, trained=(0.1, -0.1)), "between 0 and 1"), (Betas(start=0.9, end=0.9), "leaves nothing"),
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_refused(betas: Betas, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        sigmas(betas)
