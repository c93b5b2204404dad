"""Each form of picture file gives the pixels of the plain one, or is refused by name with the way to convert it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from picture_forms import BITS, GREY16, by_hand, decoded_exactly, decoded_nearly, pnm, refused, tif

from edge_sdk import encoded, preprocess
from edge_sdk.errors import BadInput

EXACT, NEAR, REFUSED = decoded_exactly(), decoded_nearly(), refused()


def _rgb(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels


@pytest.mark.parametrize("form", EXACT)
def test_a_form_gives_exactly_the_pixels_of_the_plain_file(form: str) -> None:
    data, pixels = EXACT[form]
    out = preprocess.decode(data)
    assert out.dtype == pixels.dtype
    np.testing.assert_array_equal(out, _rgb(pixels))


@pytest.mark.parametrize("form", NEAR)
def test_a_coding_that_loses_something_loses_no_more_than_that(form: str) -> None:
    data, pixels, most = NEAR[form]
    out = preprocess.decode(data)
    assert (out.dtype, out.shape) == (pixels.dtype, _rgb(pixels).shape)
    assert np.abs(out.astype(int) - _rgb(pixels)).max() <= most


@pytest.mark.parametrize("form", REFUSED)
def test_a_form_that_would_be_misread_is_refused_by_name_with_the_way_to_convert_it(form: str) -> None:
    data, what, hint = REFUSED[form]
    with pytest.raises(BadInput, match=what) as caught:
        preprocess.decode(data, where="part 7")
    assert str(caught.value).startswith("part 7: this is a ")
    assert hint in caught.value.hint
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(("top", "depth"), [(1023, 10), (4095, 12), (65535, 16)])
def test_a_pgm_whose_white_is_not_that_of_the_bundle_is_refused(top: int, depth: int) -> None:
    """The same values would be another picture: a tenth as bright, or cut."""
    data = pnm(5, (GREY16.astype(np.uint32) * top // 65535).astype(np.uint16), top)
    assert int(preprocess.decode(data, bit_depth=depth).max()) <= top
    for other in {10, 12, 16} - {depth}:
        with pytest.raises(BadInput, match=f"white is {top}, the bundle's 16-bit pictures have {other} bits") as caught:
            preprocess.decode(data, where="cam.pgm", bit_depth=other)
        assert f"--bit-depth {depth}" in caught.value.hint
    plain = pnm(5, (GREY16 >> 8), 255)
    assert preprocess.decode(plain, bit_depth=depth).dtype == np.uint8


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ((258, 8, 1, 8), "its tag 258 can't be read"),  # a signed number
        ((339, 3, 900, 8), "its tag 339 can't be read"),  # 900 channels
        ((258, 3, 4, 10**6), "the values of its tag 258 are missing"),  # they would lie behind the end
    ],
)
def test_a_tiff_whose_form_can_not_be_read_is_refused(tag: tuple[int, int, int, int], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        preprocess.decode(by_hand(8, BITS.astype(np.uint16), tag))


def test_a_directory_that_is_named_but_not_there_is_no_second_page() -> None:
    """Some writers leave anything behind the last directory, and some nothing at all."""
    data = by_hand(8, BITS.astype(np.uint16))
    for ending in (b"\xff\xff\xff\xff", b""):
        assert encoded.size(data[:-4] + ending, where="x") == (96, 64)
        encoded.check_form(data[:-4] + ending, where="x")


@given(at=st.integers(0, 400), value=st.integers(0, 255), form=st.sampled_from(["<", ">"]), big=st.booleans())
def test_no_change_of_a_byte_raises_anything_but_bad_input(at: int, value: int, form: str, big: bool) -> None:
    data = bytearray(tif(BITS.astype(np.uint8), byteorder=form, bigtiff=big))
    data[at] = value
    try:
        out = preprocess.decode(bytes(data))
    except BadInput:
        return
    assert out.dtype in (np.uint8, np.uint16)
