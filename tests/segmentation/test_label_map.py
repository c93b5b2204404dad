"""A label map of overlapping masks: the smallest is seen, of equal ones the first."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge_sdk.tasks.segmentation import rle
from edge_sdk.tasks.segmentation.label_map import label_map


def test_of_equal_masks_the_first_is_seen() -> None:
    one, other = np.zeros((4, 5), bool), np.zeros((4, 5), bool)
    one[1:3, 1:3] = other[1:3, 2:4] = True
    labels = label_map([rle.encode(one), rle.encode(other), rle.encode(one)], width=5, height=4)
    np.testing.assert_array_equal(labels, np.where(one, 1, np.where(other, 2, 0)))


@given(masks=st.lists(arrays.arrays(np.bool_, (3, 4)), max_size=6))
def test_each_pixel_has_the_smallest_mask_that_holds_it_and_of_equal_ones_the_first(masks: list[np.ndarray]) -> None:
    labels = label_map([rle.encode(mask) for mask in masks], width=4, height=3)
    for y, x in np.ndindex(3, 4):
        holding = [(int(mask.sum()), index + 1) for index, mask in enumerate(masks) if mask[y, x]]
        assert labels[y, x] == (min(holding)[1] if holding else 0)
