"""Measures of drawn pictures: against closed forms, and what they must tell apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_sdk.export.tasks.generation import measures
from edge_sdk.export.tasks.generation.measures import Statistics


def normal(rng: np.random.Generator, count: int, mean: float, std: float, width: int = 8) -> NDArray[np.float32]:
    return rng.normal(mean, std, (count, width)).astype(np.float32)


@given(
    first=st.tuples(st.floats(-3, 3), st.floats(0.1, 3)), second=st.tuples(st.floats(-3, 3), st.floats(0.1, 3)),
    width=st.integers(1, 6),
)  # fmt: skip
def test_the_distance_of_two_isotropic_normals_is_the_closed_form(
    first: tuple[float, float], second: tuple[float, float], width: int
) -> None:
    one, other = (
        Statistics(np.full(width, mean), np.eye(width) * std**2, 100) for mean, std in (first, second)
    )  # fmt: skip
    wanted = width * ((first[0] - second[0]) ** 2 + (first[1] - second[1]) ** 2)
    assert measures.frechet(one, other) == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def test_the_distance_of_two_tilted_normals_is_that_of_the_matrices(rng: np.random.Generator) -> None:
    a, b = (rng.normal(size=(5, 5)) for _ in range(2))
    one, other = (Statistics(np.zeros(5), m @ m.T, 10) for m in (a, b))
    values = np.linalg.eigvals(one.covariance @ other.covariance).real
    wanted = np.trace(one.covariance + other.covariance) - 2 * np.sqrt(np.clip(values, 0, None)).sum()
    assert measures.frechet(one, other) == pytest.approx(float(wanted), rel=1e-6)
    assert measures.frechet(one, one) == pytest.approx(0.0, abs=1e-6)


def test_a_class_mean_is_far_from_the_pictures_and_covers_none(rng: np.random.Generator) -> None:
    real = normal(rng, 400, 0.0, 1.0)
    same, mean = normal(rng, 400, 0.0, 1.0), np.zeros((400, 8), np.float32) + normal(rng, 400, 0.0, 1e-3)
    near = measures.frechet(Statistics.of(real), Statistics.of(same))
    assert measures.frechet(Statistics.of(real), Statistics.of(mean)) > 10 * near
    assert measures.covered(same, real) > 0.8
    assert measures.covered(mean, real) < 0.05
    assert measures.covered(real, mean) > 0.95  # precision alone would praise it


def test_shares_are_in_units_of_a_uniform_share() -> None:
    found = measures.shares(np.array([0, 0, 0, 1]), 4)
    assert found.tolist() == [3.0, 1.0, 0.0, 0.0]


def test_pairs_are_compared_by_their_mean_squared_error(rng: np.random.Generator) -> None:
    one = rng.integers(20, 236, (10, 8, 8, 1)).astype(np.uint8)
    same = measures.paired(one, one)
    assert (same.psnr_db, same.worst_db, same.similarity) == (float("inf"), float("inf"), pytest.approx(1.0))
    other = one.copy()
    other[3] += 8
    found = measures.paired(one, other)
    assert found.psnr_db == pytest.approx(10 * np.log10(255**2 / (64 / 10)))
    assert found.worst_db == pytest.approx(10 * np.log10(255**2 / 64))
    assert found.mean_db > found.psnr_db  # a mean of decibels would hide the one that is off
    assert 0.5 < found.similarity < 1.0


def test_pictures_that_are_all_one_have_no_spread(rng: np.random.Generator) -> None:
    one = rng.integers(0, 256, (1, 8, 8, 3)).astype(np.uint8)
    assert measures.spread_of(np.repeat(one, 5, axis=0)) == 0.0
    assert measures.spread_of(rng.integers(0, 256, (50, 8, 8, 3)).astype(np.uint8)) > 50
