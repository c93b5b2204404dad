"""Run-length encodings: literal examples, the round trip, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from edge_sdk.errors import BadInput
from edge_sdk.tasks.segmentation import rle
from edge_sdk.tasks.segmentation.everything.boxes import box_of
from edge_sdk.tasks.segmentation.label_map import label_map

MASKS = arrays.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)))


def by_pixel(counts: list[int]) -> str:
    """COCO's string, written out a run and a character at a time, as in the reference code in C."""
    out = ""
    for index, count in enumerate(counts):
        left, more = count - (counts[index - 2] if index > 2 else 0), True
        while more:
            low = left & 0x1F
            left >>= 5
            more = left != -1 if low & 0x10 else left != 0
            out += chr(low + 0x20 * more + 48)
    return out


def test_runs_go_down_the_columns_and_begin_with_zeros() -> None:
    mask = np.array([[0, 1, 1], [0, 1, 0]], bool)
    assert rle.encode(mask).to_json() == {"size": [2, 3], "counts": [2, 3, 1]}
    assert rle.encode(~mask).to_json() == {"size": [2, 3], "counts": [0, 2, 3, 1]}
    assert rle.encode(mask).area_px == 3


@pytest.mark.parametrize(("value", "counts"), [(False, [6]), (True, [0, 6])])
def test_a_mask_of_one_value_is_one_run(value: bool, counts: list[int]) -> None:
    assert rle.encode(np.full((3, 2), value)).to_json()["counts"] == counts


@given(mask=MASKS)
def test_both_forms_come_back(mask: NDArray[np.bool_]) -> None:
    found = rle.encode(mask)
    np.testing.assert_array_equal(rle.decode(found), mask)
    np.testing.assert_array_equal(rle.decode(found.to_json()), mask)
    np.testing.assert_array_equal(rle.decode(found.to_coco()), mask)
    assert found.area_px == int(mask.sum())


@given(mask=MASKS)
def test_the_box_of_runs_is_that_of_pixels(mask: NDArray[np.bool_]) -> None:
    assert rle.encode(mask).box == box_of(mask)


def test_runs_of_no_pixel_change_nothing() -> None:
    one = rle.read({"size": [2, 3], "counts": [1, 0, 1, 2, 0, 0, 2]})
    assert (one.box, one.area_px) == ((1, 0, 2, 2), 2)
    np.testing.assert_array_equal(label_map([one], width=3, height=2), [[0, 1, 0], [0, 1, 0]])
    assert rle.read({"size": [2, 3], "counts": [1, 0, 5]}).box == (0, 0, 0, 0)


@given(counts=st.lists(st.integers(0, 2**27), min_size=1, max_size=30))
def test_the_string_is_that_of_the_reference_and_comes_back(counts: list[int]) -> None:
    text = rle.compressed(np.array(counts, np.int64))
    assert text == by_pixel(counts)
    assert rle.expanded(text).tolist() == counts


@pytest.mark.parametrize(
    ("encoded", "words"),
    [
        ({"size": [2, 2], "counts": [3]}, "add up to 3 px, not 4"),
        ({"size": [2, 2], "counts": [5, -1]}, "a run of a mask of 2 x 2 px has 5 px"),
        ({"size": [2, 2], "counts": [4, -1, 1]}, "a run of a mask of 2 x 2 px has -1 px"),
        ({"size": [2, 2], "counts": [2**62, 2**62, 2**62, 2**62, 4]}, "a run of a mask of 2 x 2 px has 4611"),
        ({"size": [2, 2], "counts": [2.5, 1.5]}, "its counts are not only whole numbers"),
        ({"size": ["2", 2], "counts": [4]}, "its size holds '2', which is not a whole number"),
        ({"size": [2, 2]}, 'has no "counts"'),
        ({"size": [2, 2], "counts": ""}, "empty, cut"),
        ({"size": [2, 2], "counts": "T"}, "empty, cut"),
        ({"size": [2, 2], "counts": "é"}, "empty, cut"),
        ({"size": [10**6, 10**6], "counts": [10**12]}, "at most"),
    ],
)
def test_an_encoding_that_is_none_is_refused(encoded: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        rle.decode(encoded)


def test_scores_are_no_mask() -> None:
    with pytest.raises(BadInput, match=r"a mask is bool \(H, W\), not float32 \(2, 2\)"):
        rle.encode(np.zeros((2, 2), np.float32))  # type: ignore[arg-type]
