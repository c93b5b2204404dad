"""Boxes, stability, suppression, crops, points and clean-up give the official results, or better ones where it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import official
import pytest
from numpy.typing import NDArray

from edge_sdk.tasks.segmentation import rle
from edge_sdk.tasks.segmentation.everything.boxes import box_of, near_crop_rim, suppress
from edge_sdk.tasks.segmentation.everything.clean_up import fill_gaps, remove_islands
from edge_sdk.tasks.segmentation.everything.crops import crops_of
from edge_sdk.tasks.segmentation.everything.points import coarse_points, fine_points, grid, layer_sides
from edge_sdk.tasks.segmentation.everything.stability import stability

THERE = official.EVERYTHING
MAPS = official.logits()
MASKS = MAPS > 0


def test_the_maps_are_those_that_were_recorded() -> None:
    sums = MAPS.sum(axis=(1, 2), dtype=np.float64)
    np.testing.assert_allclose(sums, THERE["synthetic"]["sum_of_logits"], rtol=1e-8)


@pytest.mark.parametrize(
    ("name", "threshold", "offset"), [("stability", 0.0, 1.0), ("stability_offset_0.5_threshold_1", 1.0, 0.5)]
)
def test_stability_is_the_official_one_and_0_where_that_is_nan(name: str, threshold: float, offset: float) -> None:
    found = [stability(one, threshold=threshold, offset=offset) for one in MAPS]
    recorded = np.array(THERE[name], np.float64)  # null becomes NaN
    np.testing.assert_allclose(official.stability(MAPS, threshold, offset), recorded, rtol=1e-7)
    np.testing.assert_allclose(found, np.nan_to_num(recorded, nan=0.0), rtol=1e-7)
    assert np.isnan(recorded[10])


def test_boxes_and_areas_are_the_official_ones_with_exclusive_ends() -> None:
    boxes = np.array([box_of(mask) for mask in MASKS])
    np.testing.assert_array_equal(official.inclusive(boxes), THERE["boxes"])
    assert [int(mask.sum()) for mask in MASKS] == THERE["areas"]


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_suppression_keeps_what_the_official_one_keeps(threshold: float) -> None:
    recorded = THERE[f"nms_order_{threshold}"]
    scores = np.array(THERE["iou_scores"])
    assert suppress(np.array(THERE["boxes"]), scores, threshold).tolist() == recorded
    assert suppress(official.exclusive(), scores, threshold).tolist() == recorded


def test_two_equal_masks_of_one_row_are_one_where_the_official_boxes_have_no_area() -> None:
    line = np.zeros((9, 9), np.bool_)
    line[4, 2:7] = True
    box = np.array([box_of(line)] * 2)
    scores = np.array([0.8, 0.9])
    assert suppress(official.inclusive(box), scores, 0.7).tolist() == [1, 0]
    assert suppress(box, scores, 0.7).tolist() == [1]


RIMS: list[tuple[str, tuple[int, int, int, int], int, int]] = [
    ("near_crop_edge_full", (0, 0, 128, 96), 128, 96),
    ("near_crop_edge_crop_10_8_138_104_in_200x150", (10, 8, 138, 104), 200, 150),
    ("near_crop_edge_crop_40_30_168_126_in_400x300", (40, 30, 168, 126), 400, 300),
]


@pytest.mark.parametrize(("name", "crop", "width", "height"), RIMS)
def test_masks_that_a_crop_cuts_are_the_official_ones(
    name: str, crop: tuple[int, int, int, int], width: int, height: int
) -> None:
    assert near_crop_rim(official.exclusive(), crop, width, height).tolist() == THERE[name]


def test_points_are_the_official_ones() -> None:
    np.testing.assert_array_equal(grid(4), THERE["grid_4"])
    wide = grid(32)
    np.testing.assert_array_equal(np.concatenate([wide[:3], wide[-1:]]), THERE["grid_32_first3_last"])
    assert [side * side for side in layer_sides(32, 2, 2)] == THERE["layer_grid_sizes_32_2_2"]


def test_a_layer_has_a_point_where_the_official_division_has_none() -> None:
    assert layer_sides(4, 3, 3) == (4, 1, 1, 1)


@pytest.mark.parametrize("there", THERE["crop_boxes"][:3], ids=lambda there: f"{there['w']}x{there['h']}")
def test_crops_are_the_official_ones(there: dict[str, Any]) -> None:
    crops = crops_of(there["w"], there["h"], layers=there["layers"], overlap=512 / 1500)
    assert [list(crop.box) for crop in crops] == there["boxes"]
    assert [crop.layer for crop in crops] == there["layer"]


def test_no_crop_is_empty_where_official_ones_are() -> None:
    there = THERE["crop_boxes"][3]
    assert [0, 1, 1, 1] in there["boxes"]
    found = [crop.box for crop in crops_of(1, 1, layers=1, overlap=512 / 1500)]
    assert found == [(0, 0, 1, 1), (0, 0, 1, 1)]


@pytest.mark.parametrize("there", THERE["rle"], ids=lambda there: str(there["mask"]))
def test_runs_are_the_official_ones(there: dict[str, Any]) -> None:
    runs = rle.encode(MASKS[there["mask"]])
    assert len(runs.counts) == there["runs"]
    assert runs.counts[: len(there["counts_head"])].tolist() == there["counts_head"]
    assert runs.area_px == there["area"]
    if there["counts"]:
        assert runs.counts.tolist() == there["counts"]


def test_small_regions_are_filled_and_removed_as_officially() -> None:
    mask = official.speckled()
    assert int(mask.sum()) == THERE["small_regions"]["input_sum"]
    for case in THERE["small_regions"]["cases"][:3]:
        filled, gaps = fill_gaps(mask, case["area"])
        cleaned, islands = remove_islands(filled, case["area"])
        assert [gaps, int(filled.sum())] == case["after_holes"]
        assert [islands, int(cleaned.sum())] == case["after_islands"]
        assert len(rle.encode(cleaned).counts) == case["rle_final_runs"]
        assert official.inclusive(np.array([box_of(cleaned)])).tolist() == [case["box"]]


def test_an_area_above_the_backgrounds_fills_the_whole_picture_officially_and_gaps_alone_here() -> None:
    case = THERE["small_regions"]["cases"][3]
    mask = official.speckled()
    assert int(official.fill_gaps(mask, case["area"]).sum()) == case["after_holes"][1] == mask.size
    filled, changed = fill_gaps(mask, case["area"])
    assert changed
    assert not filled[0].any()
    assert int(filled.sum()) == THERE["small_regions"]["cases"][2]["after_holes"][1]


def test_the_only_gap_is_filled_where_it_does_not_reach_the_rim() -> None:
    mask = np.ones((9, 9), np.bool_)
    mask[4, 4] = False
    assert fill_gaps(mask, 2)[0].all()


def test_of_islands_that_are_all_small_the_largest_stays_and_that_is_no_change_if_it_is_the_only_one() -> None:
    mask = np.zeros((9, 9), np.bool_)
    mask[1, 1] = mask[4:6, 4:6] = True
    cleaned, changed = remove_islands(mask, 50)
    assert changed
    assert int(cleaned.sum()) == 4
    assert not remove_islands(cleaned, 50)[1]
    assert not remove_islands(np.zeros((3, 3), np.bool_), 50)[1]


def _asked(points: NDArray[np.float64], name: str, width: int, height: int) -> NDArray[np.float64]:
    """The points that a region of confidence leaves."""
    pixels = points.astype(np.int64)
    return points[~official.region(name, width, height)[pixels[:, 1], pixels[:, 0]]]


@pytest.mark.parametrize(
    "there", [one for one in THERE["hierarchical_candidates"] if "error" not in one],
    ids=lambda one: f"{one['w']}x{one['h']} {one['region']}",
)  # fmt: skip
def test_fine_points_are_the_official_ones_where_the_sides_divide(there: dict[str, Any]) -> None:
    width, height = there["w"], there["h"]
    recorded = _asked(official.fine_points(32, width, height), there["region"], width, height)
    assert len(recorded) == there["candidates"]
    np.testing.assert_allclose(recorded.sum(axis=0), there["sum_xy_px"])
    here = fine_points(32, width, height)
    assert len(here) == 897
    if width % 32 == 0 and height % 32 == 0:
        np.testing.assert_allclose(_asked(here, there["region"], width, height), recorded)


def test_a_region_of_confidence_that_covers_all_leaves_no_points_where_the_official_code_fails() -> None:
    assert all(one["error"] == "ValueError" for one in THERE["hierarchical_candidates"] if one["region"] == "all")
    assert _asked(fine_points(32, 63, 63), "all", 63, 63).shape == (0, 2)


def test_fine_points_are_spread_evenly_where_official_steps_are_cut_to_whole_pixels() -> None:
    both = np.concatenate([fine_points(32, 63, 63), coarse_points(32, 63, 63)])
    gaps = np.diff(np.unique(both[:, 0].round(9)))
    np.testing.assert_allclose(gaps, 63 / 32)
    cut = np.unique(official.fine_points(32, 63, 63)[:, 0])
    assert np.diff(cut).max() > 4
    none = official.fine_points(32, 31, 31)
    assert len(np.unique(none.astype(int), axis=0)) == 64
    assert len(np.unique(fine_points(32, 31, 31), axis=0)) == 897


def test_every_fine_point_lies_in_the_picture() -> None:
    for side, width, height in [(4, 1, 1), (7, 3, 20000), (32, 5, 2), (64, 1024, 683)]:
        points = np.concatenate([fine_points(side, width, height), coarse_points(side, width, height)])
        assert (points > 0).all()
        assert (points < (width, height)).all()
