"""What everything mode asks is what a caller would ask with the same points or boxes."""

from __future__ import annotations

import numpy as np
import pytest
from disks import frame_of
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_sdk.tasks.segmentation.everything.search_prompts import SearchPrompts
from edge_sdk.tasks.segmentation.prompts import checked, tokens_of


@given(
    width=st.integers(1, 400), height=st.integers(1, 400), count=st.integers(1, 9), seed=st.integers(0, 99),
    tokens=st.sampled_from([None, 2, 5]), by_boxes=st.booleans(),
)  # fmt: skip
def test_the_tokens_are_those_of_the_same_prompts_one_by_one(
    width: int, height: int, count: int, seed: int, tokens: int | None, by_boxes: bool
) -> None:
    rng, frame = np.random.default_rng(seed), frame_of(width, height)
    points = rng.random((count, 2)) * (width - 1, height - 1)
    low, high = rng.random((count, 2)) * 0.5, 0.5 + rng.random((count, 2)) * 0.5
    boxes = np.concatenate([low, high], axis=1) * (width, height, width, height)
    asked = SearchPrompts(points, boxes if by_boxes else None)
    prompts = checked(frame, boxes=boxes) if by_boxes else checked(frame, points=points[:, None])
    for found, wanted in zip(asked.tokens(frame, tokens), tokens_of(prompts, frame, tokens=tokens), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("boxes", [None, np.arange(12.0).reshape(3, 4)])
def test_a_part_is_of_points_and_boxes_alike(boxes: NDArray[np.float64] | None) -> None:
    asked = SearchPrompts(np.arange(6.0).reshape(3, 2), boxes)
    part = asked[1:]
    assert (len(asked), len(part)) == (3, 2)
    np.testing.assert_array_equal(part.points, [[2, 3], [4, 5]])
    assert part.boxes is None if boxes is None else part.boxes is not None and part.boxes.tolist() == boxes[1:].tolist()
