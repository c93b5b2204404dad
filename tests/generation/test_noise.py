"""Noise from a seed: known answers of each step, and laws over any seed."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from edge_sdk.errors import BadUsage
from edge_sdk.tasks.generation.noise import MOST_SEED, noise, normal, normals, philox, uniforms

# Random123's vectors: counter, key, answer.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]  # fmt: skip
FIRST = {
    (0, 0): (-0.25581594941531977, 0.6301836750417386, 1.9148032246329798, 0.5070237123530047,
             -2.0652554631689624, -1.0760761484609342, 0.7973212786306024, 0.26535154589927695),
    (42, 0): (0.28704190682856945, -1.4521371864518995, 2.2482114998251737, 0.034864592976084643,
              0.9379573210962865, 0.26045597564284595, 0.6116014548157523, 0.21829496301461682),
    (42, 1): (-2.3241459305787355, -0.7320593719862112, -1.1316079475237588, -1.2500758001731045,
              -0.7967860644937154, -0.1513124467395516, -1.1782378152371837, -0.7918037036595919),
    (2**32 + 7, 3): (1.3098613917135513, -0.6947491484173342, 0.1527656776089335, 1.5710194891796503,
                     -0.4519676124663856, -0.15160399746124145, 0.4554638565011767, -1.4358506037596477),
}  # fmt: skip


@pytest.mark.parametrize(("counter", "key", "wanted"), KNOWN)
def test_philox_answers_what_random123_does(
    counter: tuple[int, ...], key: tuple[int, int], wanted: tuple[int, ...]
) -> None:
    a, b, c, d = (np.array([word], np.uint64) for word in counter)
    assert tuple(int(word[0]) for word in philox((a, b, c, d), key)) == wanted


@pytest.mark.parametrize(("seed", "index"), list(FIRST))
def test_a_seed_and_an_index_give_known_numbers(seed: int, index: int) -> None:
    np.testing.assert_allclose(normals(seed, index, 8), FIRST[seed, index], rtol=4e-16, atol=0)


def test_a_picture_of_seed_0_has_a_known_digest() -> None:
    values = noise(0, [0], (3, 32, 32))
    assert values.dtype == np.float32
    assert hashlib.sha256(values.astype("<f4").tobytes()).hexdigest().startswith("26bb636850621608")


@given(seed=st.integers(0, MOST_SEED), index=st.integers(0, MOST_SEED), count=st.integers(1, 40))
def test_a_picture_depends_on_seed_and_index_alone(seed: int, index: int, count: int) -> None:
    alone = noise(seed, [index], (count,))[0]
    among = noise(seed, [0, index, 5], (count + 3,))[1]
    np.testing.assert_array_equal(alone, among[:count])


def test_uniforms_never_reach_0_or_1_and_are_symmetric_at_their_ends() -> None:
    found = uniforms(1, 0, 200_000)
    assert 0.0 < found.min() < found.max() < 1.0
    ends = np.array([0.5, 2.0**52 - 0.5]) / 2.0**52
    np.testing.assert_allclose(normal(ends), [-8.2095, 8.2095], rtol=1e-4)
    assert normal(ends).sum() == 0.0


@given(st.floats(2.0**-53, 1 - 2.0**-53))
def test_normal_is_the_inverse_of_the_distribution(uniform: float) -> None:
    found = normal(np.array([uniform]))[0]
    assert found == pytest.approx(special.ndtri(uniform), rel=4e-15, abs=1e-15)


def test_many_numbers_are_normal() -> None:
    found = np.concatenate([normals(1, index, 10_000) for index in range(20)])
    assert stats.kstest(found, "norm").pvalue > 0.01
    assert abs(np.corrcoef(normals(1, 0, 10_000), normals(2, 0, 10_000))[0, 1]) < 0.04


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, "7", None])
def test_what_is_no_seed_is_refused(seed: object) -> None:
    with pytest.raises(BadUsage, match="a seed is a whole number"):
        noise(seed, [0], (4,))  # type: ignore[arg-type]
    with pytest.raises(BadUsage, match="index"):
        noise(0, [seed], (4,))  # type: ignore[list-item]
