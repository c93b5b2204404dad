"""Outlines of masks: pieces, gaps inside them, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from edge_sdk.errors import BadInput
from edge_sdk.tasks.segmentation.polygons import Polygon, mask_of, polygons_of


@given(mask=arrays.arrays(np.bool_, st.tuples(st.integers(1, 24), st.integers(1, 24))))
def test_the_mask_comes_back(mask: NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(mask_of(polygons_of(mask), *mask.shape), mask)


def test_a_ring_has_an_inner_outline() -> None:
    mask = np.zeros((9, 9), bool)
    mask[1:8, 1:8] = True
    mask[3:6, 3:6] = False
    (one,) = polygons_of(mask)
    assert sorted(map(tuple, one.outer.tolist())) == [(1, 1), (1, 7), (7, 1), (7, 7)]
    assert len(one.inner) == 1


def test_a_piece_inside_a_gap_is_a_piece_of_its_own() -> None:
    mask = np.ones((11, 11), bool)
    mask[2:9, 2:9] = False
    mask[5, 5] = True
    assert [len(one.inner) for one in polygons_of(mask)] == [1, 0]


def test_an_empty_mask_has_no_outline() -> None:
    assert polygons_of(np.zeros((3, 3), bool)) == ()
    assert not mask_of((), 3, 3).any()
    with pytest.raises(BadInput, match="a mask of 3 x 0 px"):
        mask_of((), 0, 3)


def test_a_polygon_beyond_the_picture_is_cut() -> None:
    square = Polygon(outer=np.array([[-5.0, -5.0], [3.0, -5.0], [3.0, 2.0], [-5.0, 2.0]]))
    mask = mask_of([square, Polygon(outer=np.array([[50.0, 50.0], [60.0, 50.0], [60.0, 60.0]]))], 6, 8)
    assert np.argwhere(mask).max(axis=0).tolist() == [2, 3]
    assert mask.sum() == 3 * 4
