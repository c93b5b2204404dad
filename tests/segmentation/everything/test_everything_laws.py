"""Laws of everything mode's parts, on any input."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_sdk.tasks.segmentation import rle
from edge_sdk.tasks.segmentation.decoding import Decoded
from edge_sdk.tasks.segmentation.everything.boxes import box_of, overlaps, suppress
from edge_sdk.tasks.segmentation.everything.candidates import Candidate, Filter, make_room
from edge_sdk.tasks.segmentation.everything.clean_up import fill_gaps, remove_islands
from edge_sdk.tasks.segmentation.everything.crops import crops_of, smallest_first
from edge_sdk.tasks.segmentation.everything.full_size import encode_part, part_above, values_at
from edge_sdk.tasks.segmentation.everything.options import resolved
from edge_sdk.tasks.segmentation.everything.partial_logits import PartialLogits, partial_logits
from edge_sdk.tasks.segmentation.everything.points import STEPS, coarse_points, fine_points, hierarchical_count
from edge_sdk.tasks.segmentation.everything.search_prompts import SearchPrompts
from edge_sdk.tasks.segmentation.frame import Frame
from edge_sdk.tasks.segmentation.label_map import label_map
from edge_sdk.tasks.segmentation.settings import EverythingSettings

SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(1, 40)


def boxes(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """int64 (count, 4): many overlap, some are equal, some have no area."""
    corners = rng.integers(0, 12, (count, 2))
    return np.concatenate([corners, corners + rng.integers(0, 6, (count, 2))], axis=1)


def mask(rng: np.random.Generator, height: int, width: int) -> NDArray[np.bool_]:
    return np.asarray(rng.random((height, width)) < rng.choice([0.0, 0.1, 0.5, 0.9, 1.0]), np.bool_)


def frame(width: int, height: int, side: int = 32) -> Frame:
    scale = side / max(width, height)
    extent = (max(1, round(width * scale)), max(1, round(height * scale)))
    return Frame(width=width, height=height, side=side, extent_width=extent[0], extent_height=extent[1])


@given(seed=SEEDS, count=st.integers(0, 30), threshold=st.floats(0, 1))
def test_what_stays_does_not_overlap_and_what_goes_overlaps_a_better_one(
    seed: int, count: int, threshold: float
) -> None:
    rng = np.random.default_rng(seed)
    given_boxes, scores = boxes(rng, count), rng.integers(0, 5, count) / 4
    stay = suppress(given_boxes, scores, threshold)
    assert (np.diff(scores[stay]) <= 0).all()
    for place, index in enumerate(stay):
        others = np.delete(given_boxes[stay], place, axis=0)
        assert not (overlaps(given_boxes[index], others) > threshold).any()
    for gone in set(range(count)) - set(stay.tolist()):
        better = [i for i in stay if (-scores[i], i) < (-scores[gone], gone)]
        assert (overlaps(given_boxes[gone], given_boxes[better]) > threshold).any()


@given(seed=SEEDS, count=st.integers(0, 20))
def test_the_order_in_which_boxes_come_is_of_no_account(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    given_boxes, scores = boxes(rng, count), rng.permutation(count) / 20
    order = rng.permutation(count)
    assert (
        order[suppress(given_boxes[order], scores[order], 0.5)].tolist() == suppress(given_boxes, scores, 0.5).tolist()
    )


@given(seed=SEEDS)
def test_the_overlap_of_boxes_is_that_of_their_pixels(seed: int) -> None:
    one, other = boxes(np.random.default_rng(seed), 2)
    drawn = np.zeros((2, 20, 20), np.bool_)
    for canvas, (x0, y0, x1, y1) in zip(drawn, (one, other), strict=True):
        canvas[y0:y1, x0:x1] = True
    union = int((drawn[0] | drawn[1]).sum())
    expected = int((drawn[0] & drawn[1]).sum()) / union if union else 0.0
    assert abs(float(overlaps(one, other[None])[0]) - expected) < 1e-12


@given(seed=SEEDS, height=SIDES, width=SIDES)
def test_a_box_holds_its_mask_and_touches_it_on_each_side(seed: int, height: int, width: int) -> None:
    one = mask(np.random.default_rng(seed), height, width)
    x0, y0, x1, y1 = box_of(one)
    inside = one[y0:y1, x0:x1]
    assert inside.sum() == one.sum()
    if one.any():
        assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()  # noqa: PT018


@given(seed=SEEDS, height=SIDES, width=SIDES)
def test_the_runs_of_a_part_are_those_of_the_whole(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
    part = mask(rng, int(rng.integers(1, height - y + 1)), int(rng.integers(1, width - x + 1)))
    whole = np.zeros((height, width), np.bool_)
    whole[y : y + part.shape[0], x : x + part.shape[1]] = part
    found = encode_part(part, x, y, width=width, height=height)
    assert found.counts.tolist() == rle.encode(whole).counts.tolist()
    np.testing.assert_array_equal(rle.decode(found), whole)


@given(seed=SEEDS, width=st.integers(1, 90), height=st.integers(1, 90), in_window=st.booleans())
def test_a_part_at_full_size_holds_all_that_the_whole_does(seed: int, width: int, height: int, in_window: bool) -> None:
    rng = np.random.default_rng(seed)
    there, level = frame(width, height), float(rng.choice([-1.0, 0.0, 2.0]))
    logits = rng.normal(0, 2, (8, 8)).astype(np.float32)
    window = (*rng.uniform(-10, 16, 2).tolist(), *rng.uniform(18, 40, 2).tolist()) if in_window else None
    part = part_above(logits, window, there, level=level)
    whole = np.zeros((height, width), np.bool_)
    rows, columns = part.logits.shape
    whole[part.y : part.y + rows, part.x : part.x + columns] = part.logits > level
    np.testing.assert_array_equal(whole, there.place(logits, window, threshold=level))


@given(seed=SEEDS, in_window=st.booleans())
def test_a_single_value_is_that_of_the_mask_where_the_picture_has_the_size_of_its_extent(
    seed: int, in_window: bool
) -> None:
    rng = np.random.default_rng(seed)
    there = frame(32, 20)
    logits = rng.normal(0, 2, (8, 8)).astype(np.float32)
    window = (*rng.uniform(-10, 16, 2).tolist(), *rng.uniform(18, 40, 2).tolist()) if in_window else None
    pixels = np.stack([rng.integers(0, 32, 50), rng.integers(0, 20, 50)], axis=1)
    values = values_at(logits, window, there, pixels)
    part = part_above(logits, window, there, level=-99.0)
    whole = np.full((20, 32), -np.inf, np.float32)
    whole[part.y : part.y + part.logits.shape[0], part.x : part.x + part.logits.shape[1]] = part.logits
    np.testing.assert_allclose(values, whole[pixels[:, 1], pixels[:, 0]], atol=1e-5)


@given(width=st.integers(1, 3000), height=st.integers(1, 3000), layers=st.integers(0, 3), overlap=st.floats(0, 0.9))
def test_crops_of_a_layer_cover_the_picture_and_stay_in_it(
    width: int, height: int, layers: int, overlap: float
) -> None:
    crops = crops_of(width, height, layers=layers, overlap=overlap)
    assert [crop.area_px for crop in smallest_first(crops)] == sorted(crop.area_px for crop in crops)
    for layer in range(layers + 1):
        here = [crop.box for crop in crops if crop.layer == layer]
        across, down = {(x0, x1) for x0, _, x1, _ in here}, {(y0, y1) for _, y0, _, y1 in here}
        assert len(here) == len(across) * len(down) or min(width, height) < 8
        for spans, size in ((across, width), (down, height)):
            ordered = sorted(spans)
            assert ordered[0][0] == 0
            assert max(end for _, end in ordered) == size
            reached = 0
            for start, end in ordered:
                assert start <= reached
                reached = max(reached, end)


@given(side=st.integers(4, 64), width=st.integers(1, 5000), height=st.integers(1, 5000))
def test_coarse_and_fine_points_are_one_even_lattice(side: int, width: int, height: int) -> None:
    last = STEPS * max(1, side // STEPS)
    both = np.concatenate([coarse_points(side, width, height), fine_points(side, width, height)])
    assert len(both) == hierarchical_count(side)
    steps = both * last / (width, height)
    np.testing.assert_allclose(steps, steps.round(), atol=1e-9)
    assert len(np.unique(steps.round().astype(int), axis=0)) == len(both)


@given(seed=SEEDS, height=SIDES, width=SIDES, area_px=st.integers(1, 200))
def test_cleaning_twice_is_cleaning_once(seed: int, height: int, width: int, area_px: int) -> None:
    one = mask(np.random.default_rng(seed), height, width)
    filled, gaps = fill_gaps(one, area_px)
    assert gaps == bool((filled != one).any())
    assert (filled | ~one).all()
    assert not fill_gaps(filled, area_px)[1]
    assert not remove_islands(remove_islands(filled, area_px)[0], area_px)[1]
    left, islands = remove_islands(filled, area_px)
    assert islands == bool((left != filled).any())
    assert (filled | ~left).all()
    assert left.any() == filled.any()


@given(seed=SEEDS, height=SIDES, width=SIDES, count=st.integers(0, 6))
def test_the_label_map_of_runs_is_that_of_masks(seed: int, height: int, width: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    masks = [mask(rng, height, width) for _ in range(count)]
    found = label_map([rle.encode(one) for one in masks], width=width, height=height)
    expected = np.zeros((height, width), np.uint16)
    for index in sorted(range(count), key=lambda i: (-int(masks[i].sum()), -i)):
        expected[masks[index]] = index + 1
    np.testing.assert_array_equal(found, expected)


@given(seed=SEEDS, count=st.integers(0, 12), room=st.integers(0, 12))
def test_room_is_made_of_what_is_least_likely_to_be_answered(seed: int, count: int, room: int) -> None:
    rng = np.random.default_rng(seed)
    grids = np.zeros((count, 2, 2), np.float32)
    candidates = [
        Candidate(
            point=(0.0, 0.0), prompt_box=None, mask=0, predicted_iou=float(score), stability=1.0,
            box=box.astype(np.float64), window=None,
            logits=PartialLogits(part=grid, row=0, column=0, cells=2, outside=-1.0),
        )
        for score, box, grid in zip(rng.permutation(count) / 12, boxes(rng, count), grids, strict=True)
    ]  # fmt: skip
    given_up = make_room(candidates, overlap=0.3, held_bytes=16 * room)
    held = [index for index, one in enumerate(candidates) if one.logits is not None]
    assert (len(held), given_up) == (min(count, room), max(0, count - room))
    scores = np.array([one.predicted_iou for one in candidates])
    stay = suppress(np.array([one.box for one in candidates]).reshape(-1, 4), scores, 0.3).tolist()
    assert set(held) >= set(stay[:room])


@given(seed=SEEDS, width=st.integers(1, 90), height=st.integers(1, 90), in_window=st.booleans())
def test_the_held_part_of_a_grid_gives_the_same_at_full_size(
    seed: int, width: int, height: int, in_window: bool
) -> None:
    rng = np.random.default_rng(seed)
    there, level = frame(width, height), float(rng.choice([-1.0, 0.0, 2.0]))
    logits = np.full((16, 16), -5.0, np.float32)
    x, y = rng.integers(0, 12, 2)
    logits[y : y + 4, x : x + 4] = rng.normal(1, 2, (4, 4))
    logits += rng.normal(0, 0.5, (16, 16)).astype(np.float32)
    window = (*rng.uniform(-10, 16, 2).tolist(), *rng.uniform(18, 40, 2).tolist()) if in_window else None
    kept = partial_logits(logits, there.valid(16, window), level=level)
    assert kept.nbytes <= logits.nbytes
    for at in (level, level + 0.5):
        wanted = there.place(logits, window, threshold=at)
        np.testing.assert_array_equal(there.place(kept.grid, window, threshold=at), wanted)


def test_the_box_of_a_candidate_is_in_the_callers_pixels_and_nothing_is_no_candidate() -> None:
    there = Frame(height=300, width=400, side=64, extent_height=48, extent_width=64)
    masks = np.full((2, 1, 32, 32), -9.0, np.float32)
    masks[0, 0, 4:8, 2:5] = 9.0
    passes = Filter(frame=there, options=resolved(EverythingSettings(stability=0.0)), masks=(0,), threshold=0.0)
    for window, box in ((there.whole, [25, 50, 62.5, 100]), ((32.0, 16.0, 64.0, 48.0), [212.5, 125, 231.25, 150])):
        windows = np.broadcast_to(np.array(window, np.float32), (2, 1, 4))
        iou = np.ones((2, 1), np.float32)
        decoded = Decoded(masks=masks, iou=iou, windows=windows, whole_frame=window == there.whole)
        (one,) = passes.candidates(decoded, SearchPrompts(np.zeros((2, 2))))
        np.testing.assert_allclose(one.box, box)


@given(seed=SEEDS, width=st.integers(1, 90), height=st.integers(1, 90), in_window=st.booleans())
def test_what_is_brought_to_full_size_of_held_cells_is_what_is_brought_of_all(
    seed: int, width: int, height: int, in_window: bool
) -> None:
    """One that is decoded again gets the same part of the picture."""
    rng = np.random.default_rng(seed)
    there = frame(width, height)
    logits = rng.normal(-6, 3, (16, 16)).astype(np.float32)
    window = (*rng.uniform(-10, 16, 2).tolist(), *rng.uniform(18, 40, 2).tolist()) if in_window else None
    kept = partial_logits(logits, there.valid(16, window), level=0.0)
    whole, part = (part_above(grid, window, there, level=0.0) for grid in (logits, kept.grid))
    assert (part.x, part.y, part.logits.shape) == (whole.x, whole.y, whole.logits.shape)
    np.testing.assert_array_equal(part.logits > 0, whole.logits > 0)
