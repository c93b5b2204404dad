"""Which pixels a frame and a window hold, said once more by their definition, for pictures and windows of any size."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, example, given
from hypothesis import strategies as st

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.tasks.segmentation.frame import OUTSIDE_LOGIT, Frame, Window

PIXELS = st.integers(1, 70)
ENDS = st.floats(-20, 90, allow_nan=False)


def frame(height: int, width: int, side: int) -> Frame:
    """As a picture of that size is prepared."""
    record = Preprocessing(width=side, height=side, mode="longest-side", fill=0)
    return Frame.of(preprocess.apply(np.zeros((height, width), np.uint8), record).geometry, side)


@given(height=st.integers(1, 300), width=st.integers(1, 300), side=st.sampled_from([64, 256, 384, 1024]))
@example(height=49, width=49, side=256)  # 256 / 49 * 49 is 255.99999999999997
@example(height=20, width=49, side=1024)
def test_the_longest_side_fills_the_frame_and_the_other_is_off_by_half_a_pixel_at_most(
    height: int, width: int, side: int
) -> None:
    found, longest = frame(height, width, side), max(height, width)
    for extent, pixels in ((found.extent_height, height), (found.extent_width, width)):
        assert extent == max(1, extent)
        assert abs(extent - pixels * side / longest) <= 0.5 + 1e-9 or extent == 1
    assert max(found.extent) == side


def centres_in(start: float, end: float, scale: float, count: int) -> np.ndarray:
    """bool (count,): pixels whose centre lies between the two, in frame px. No case is taken where rounding decides."""
    centres = (np.arange(count) + 0.5) * scale
    assume(min(np.abs(centres - start).min(), np.abs(centres - end).min()) > 1e-6)
    return np.asarray((centres > start) & (centres < end))


@given(height=PIXELS, width=PIXELS, side=st.sampled_from([16, 64, 96]), window=st.tuples(ENDS, ENDS, ENDS, ENDS))
@example(height=64, width=64, side=64, window=(10.25, 20.25, 30.0, 28.0))
def test_a_window_holds_the_pixels_whose_centres_lie_in_it(height: int, width: int, side: int, window: Window) -> None:
    place = frame(height, width, side)
    x0, y0, x1, y1 = window
    want = np.outer(centres_in(y0, y1, place.scale_y, height), centres_in(x0, x1, place.scale_x, width))
    np.testing.assert_array_equal(place.place(np.ones((4, 4), np.float32), window), want)


@given(side=st.sampled_from([64, 96]), cells=st.sampled_from([8, 32]), window=st.tuples(ENDS, ENDS, ENDS, ENDS))
def test_a_prompt_holds_the_cells_whose_centres_lie_in_the_window(side: int, cells: int, window: Window) -> None:
    place = frame(40, 50, side)
    x0, y0, x1, y1 = window
    want = np.outer(centres_in(y0, y1, side / cells, cells), centres_in(x0, x1, side / cells, cells))
    grid = place.whole_frame_grid(np.full((4, 4), 3.0, np.float32), window, cells)
    np.testing.assert_allclose(grid, np.where(want, 3.0, OUTSIDE_LOGIT), rtol=1e-6)
