"""Options of everything mode: official defaults, a bundle's own thresholds on top, errors that name an option."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from edge_sdk.errors import BadUsage
from edge_sdk.tasks.segmentation.everything.options import EverythingOptions, options_problem, stated
from edge_sdk.tasks.segmentation.settings import EverythingSettings


def test_the_defaults_are_the_official_ones() -> None:
    there = EverythingOptions()
    assert (there.points_per_side, there.points_per_batch, there.crop_layers, there.crop_points_divisor) == (
        32,
        64,
        0,
        1,
    )
    assert (there.predicted_iou, there.stability, there.stability_offset, there.nms_iou) == (0.88, 0.95, 1.0, 0.7)
    assert (there.crop_overlap, there.crop_nms_iou, there.min_region_area_px) == (512 / 1500, 0.7, 0)
    assert (there.hierarchical, there.confident_logit) == (False, 8.5)
    assert options_problem(there) == ""


def test_a_bundle_states_its_own_thresholds_and_a_caller_changes_them() -> None:
    settings = EverythingSettings(points_per_side=20, predicted_iou=0.6, stability=0.7, nms_iou=0.5)
    there = EverythingOptions.of(settings, stability=0.8)
    assert (there.points_per_side, there.predicted_iou, there.stability, there.nms_iou) == (20, 0.6, 0.8, 0.5)
    assert there.confident_logit is None
    assert EverythingOptions.of(settings).changed(crop_layers=1).crop_layers == 1


def test_every_threshold_of_a_bundle_is_an_option() -> None:
    assert set(EverythingSettings.__struct_fields__) <= set(EverythingOptions.__struct_fields__)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"points_per_side": 0}, "points_per_side is 0, it takes 1 to 256"),
        ({"points_per_side": 257}, "points_per_side is 257"), ({"points_per_batch": 0}, "points_per_batch is 0"),
        ({"stability": 1.5}, "stability is 1.5, it takes 0 to 1"), ({"stability": math.nan}, "stability is nan"),
        ({"stability_offset": -1.0}, "stability_offset is -1, it takes 0 or more"),
        ({"stability_offset": math.inf}, "stability_offset is inf, it takes a finite number"),
        ({"predicted_iou": math.nan}, "predicted_iou is nan, it takes a finite number"),
        ({"nms_iou": 2.0}, "nms_iou is 2"), ({"crop_layers": 9}, "crop_layers is 9, it takes 0 to 4"),
        ({"crop_overlap": 1.0}, "crop_overlap is 1, it takes 0 to 0.9"),
        ({"min_region_area_px": -1}, "min_region_area_px is -1"),
        ({"hierarchical": True, "confident_logit": None}, "needs confident_logit, which this bundle does not state"),
        ({"hierarchical": True, "points_per_side": 3}, "needs points_per_side of 4 or more, it is 3"),
        ({"points_per_side": "many"}, "points_per_side is 'many'. It takes a whole number, such as"),
        ({"point_per_side": 3}, "everything mode has no option point_per_side. Options are points_per_side, "),
    ],
)  # fmt: skip
def test_an_invalid_option_is_named_with_what_it_takes(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadUsage) as found:
        EverythingOptions().changed(**values)
    assert message in str(found.value)


@pytest.mark.parametrize(("word", "value"), [("yes", True), ("No", False), ("true", True), ("FALSE", False)])
def test_hierarchical_is_stated_in_words(word: str, value: bool) -> None:
    assert stated(f"hierarchical={word}, points_per_side=8") == {"hierarchical": value, "points_per_side": 8}


def test_a_whole_number_is_a_fraction_too_and_a_threshold_may_be_none() -> None:
    assert stated("stability=1,confident_logit=none") == {"stability": 1.0, "confident_logit": None}
    assert EverythingOptions().changed(stability=1).stability == 1.0


def test_options_can_be_written_and_read_again() -> None:
    there = EverythingOptions().changed(crop_layers=2, confident_logit=None)
    assert msgspec.json.decode(msgspec.json.encode(there), type=EverythingOptions) == there
