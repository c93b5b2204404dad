"""Codes of good cells: what they stand for, and the distance to the nearest one."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.export.efficientad.xs.codebook import distance, fit, smoothed


def cells(*, count: int, channels: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(count, channels)).astype(np.float32))


@given(seed=st.integers(0, 1000), codes=st.integers(1, 9), channels=st.integers(1, 12))
def test_the_distance_is_that_to_the_nearest_code(seed: int, codes: int, channels: int) -> None:
    book = cells(count=codes, channels=channels, seed=seed)
    features = cells(count=6, channels=channels, seed=seed + 1)
    got = distance(features.T.reshape(1, channels, 2, 3), book).flatten()
    want = (features[:, None] - book[None]).square().mean(dim=2).amin(dim=1)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_two_heaps_get_a_code_each() -> None:
    heaps = torch.cat([cells(count=50, channels=3, seed=k) * 0.01 + 5.0 * k for k in (0, 1)])
    found = fit(heaps, 2, np.random.default_rng(0)).mean(dim=1).sort().values
    torch.testing.assert_close(found, torch.tensor([0.0, 5.0]), rtol=0, atol=0.01)


def test_fewer_cells_than_codes_are_codes_themselves() -> None:
    few = cells(count=3, channels=4, seed=1)
    torch.testing.assert_close(fit(few, 10, np.random.default_rng(0)), few)


def test_smoothing_does_not_count_what_lies_outside() -> None:
    torch.testing.assert_close(smoothed(torch.ones(1, 2, 4, 4)), torch.ones(1, 2, 4, 4))
