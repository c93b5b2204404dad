"""Options of everything mode: what a caller states, a bundle's own thresholds below, errors that name an option."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec
import pytest
from msgspec.structs import asdict, replace

from edge_sdk.errors import BadUsage
from edge_sdk.tasks.segmentation.everything.options import (
    _RANGES,
    EverythingOptions,
    SearchOptions,
    all_of,
    parsed,
    resolved,
)
from edge_sdk.tasks.segmentation.everything.points import hierarchical_count
from edge_sdk.tasks.segmentation.settings import EverythingSettings

CALIBRATED = EverythingSettings(
    points_per_side=20, predicted_iou=0.6, stability=0.7, stability_offset=2.0, nms_iou=0.5, confident_logit=3.5
)
"""No value is a default."""
GUESSING = EverythingSettings(points_per_side=10, box_agreement=0.75)
"""Of a bundle whose encoder says where objects are."""


def test_the_defaults_are_the_official_ones_and_no_logit_is_confident() -> None:
    there = resolved(EverythingSettings())
    assert (there.points_per_side, there.points_per_batch, there.crop_layers, there.crop_points_divisor) == (
        32,
        64,
        0,
        1,
    )
    assert (there.predicted_iou, there.stability, there.stability_offset, there.nms_iou) == (0.88, 0.95, 1.0, 0.7)
    assert (there.crop_overlap, there.crop_nms_iou, there.min_region_area_px) == (512 / 1500, 0.7, 0)
    assert (there.hierarchical, there.confident_logit) == (False, None)


def test_options_state_nothing_of_their_own() -> None:
    assert set(asdict(EverythingOptions()).values()) == {None}
    assert set(EverythingOptions.__struct_fields__) == set(SearchOptions.__struct_fields__)
    assert SearchOptions.__struct_fields__[:7] == EverythingSettings.__struct_fields__


@pytest.mark.parametrize(
    "given", [None, {}, EverythingOptions(), EverythingOptions(crop_layers=1), {"stability": None}]
)
def test_what_is_not_stated_is_as_the_bundle_says(given: Any) -> None:
    there = asdict(resolved(CALIBRATED, given))
    assert {name: there[name] for name in EverythingSettings.__struct_fields__} == asdict(CALIBRATED)


@pytest.mark.parametrize("name", [name for name in EverythingSettings.__struct_fields__ if name != "box_agreement"])
def test_one_threshold_that_is_stated_leaves_the_others_to_the_bundle(name: str) -> None:
    stated = {"points_per_side": 9, "confident_logit": 0.25}.get(name, 0.125)
    for given in (EverythingOptions(**{name: stated}), {name: stated}, EverythingOptions().changed(**{name: stated})):
        there = resolved(CALIBRATED, given)
        assert {key: getattr(there, key) for key in asdict(CALIBRATED)} == {**asdict(CALIBRATED), name: stated}


def test_a_value_is_given_back_to_the_bundle_by_none() -> None:
    options = all_of(resolved(CALIBRATED, {"stability": 0.8, "hierarchical": True}))
    assert [name for name, value in asdict(options).items() if value is None] == ["box_agreement"]
    assert resolved(CALIBRATED, options.changed(stability=None)).stability == 0.7


@pytest.mark.parametrize(
    "given", [EverythingOptions(hierarchical=True), {"hierarchical": True}, parsed("hierarchical")]
)
def test_the_hierarchical_mode_needs_a_confident_logit_that_somebody_states(given: Any) -> None:
    words = "hierarchical needs confident_logit, which this bundle does not state. State confident_logit too, or search"
    with pytest.raises(BadUsage, match=words):
        resolved(EverythingSettings(), given)
    assert resolved(CALIBRATED, given).confident_logit == 3.5
    more = given if isinstance(given, dict) else asdict(given)
    assert resolved(EverythingSettings(), {**more, "confident_logit": 2}).confident_logit == 2.0


def test_the_boxes_that_the_encoder_guesses_are_asked_unless_the_caller_says_otherwise() -> None:
    for asked in (None, parsed("hierarchical")):
        there = resolved(GUESSING, asked)
        assert (there.hierarchical, there.box_agreement) == (True, 0.75)
    assert not resolved(GUESSING, parsed("flat")).hierarchical
    stated = {"confident_logit": 2.0, "points_per_side": 8}
    for by_grid in (stated, all_of(resolved(GUESSING)).changed(**stated)):
        there = resolved(GUESSING, by_grid)
        assert (there.hierarchical, there.box_agreement) == (True, None)
    assert resolved(GUESSING, {"box_agreement": 0.5}).box_agreement == 0.5
    assert resolved(GUESSING, all_of(resolved(GUESSING))) == resolved(GUESSING)
    by_grid = {"hierarchical": True, "confident_logit": 2.0}
    there = resolved(GUESSING, {**by_grid, "points_per_side": 8})
    assert (there.box_agreement, there.confident_logit) == (None, 2.0)
    with pytest.raises(BadUsage, match="points_per_side is 10, no multiple of 4"):
        resolved(GUESSING, by_grid)
    for one in (GUESSING, CALIBRATED):
        assert resolved(one, by_grid | {"points_per_side": 8}).most_prompts() == 7 * 7
    most = [
        resolved(one, how).most_prompts()
        for one in (GUESSING, CALIBRATED)
        for how in (parsed("flat"), parsed("hierarchical"))
    ]
    assert most == [100, 40, 400, 19 * 19]


def test_of_two_thresholds_that_exclude_each_other_the_later_one_counts_and_both_together_are_refused() -> None:
    there = all_of(resolved(GUESSING, {"points_per_side": 8})).changed(confident_logit=2.0)
    assert resolved(GUESSING, there).box_agreement is None
    back = there.changed(box_agreement=0.5)
    assert (back.confident_logit, resolved(GUESSING, back).box_agreement) == (None, 0.5)
    with pytest.raises(BadUsage, match="box_agreement and confident_logit are both stated"):
        resolved(GUESSING, {"box_agreement": 0.5, "confident_logit": 2.0})


def test_a_box_agreement_is_refused_where_the_bundle_states_none() -> None:
    with pytest.raises(BadUsage, match="box_agreement is for bundles that state one, and this bundle states none"):
        resolved(CALIBRATED, {"box_agreement": 0.5})


@pytest.mark.parametrize("name", EverythingOptions.__struct_fields__)
def test_the_value_that_an_error_gives_as_an_example_is_one(name: str) -> None:
    with pytest.raises(BadUsage) as found:
        parsed(f"{name}=oops")
    example = str(found.value).rpartition("such as ")[2].rstrip(".")
    assert getattr(parsed(example), name) is not None


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
        ({"points_per_side": "many"}, "points_per_side is 'many'. It takes a whole number, such as points_per_side=32"),
        ({"point_per_side": 3}, "everything mode has no option point_per_side. Options are points_per_side, "),
        ({"point_per_side": None}, "everything mode has no option point_per_side. Options are points_per_side, "),
    ],
)  # fmt: skip
def test_an_invalid_option_is_named_with_what_it_takes(values: dict[str, Any], message: str) -> None:
    for wrong in (lambda: EverythingOptions().changed(**values), lambda: resolved(EverythingSettings(), values)):
        with pytest.raises(BadUsage) as found:
            wrong()
        assert message in str(found.value)


BOUNDS = [(name, value) for name, limits in _RANGES.items() for value in limits if math.isfinite(value)]


@pytest.mark.parametrize("name", EverythingOptions.__struct_fields__)
def test_options_are_never_made_of_values_that_a_search_refuses(name: str) -> None:
    """By hand, by replacement, out of plain values or JSON; of each name, so that none lacks a range or a type."""
    least, most = _RANGES.get(name, (0, 1))
    odd: list[Any] = ["8", [1], *([] if name == "hierarchical" else [True, math.nan])]
    odd += [bound + step for bound, step in ((least, -1), (most, 1)) if math.isfinite(bound) and name in _RANGES]
    for value in odd:
        with pytest.raises(BadUsage, match=f"an option of everything mode is invalid: {name} is "):
            EverythingOptions(**{name: value})
        with pytest.raises(BadUsage, match=name):
            replace(EverythingOptions(), **{name: value})
        try:
            made = msgspec.convert({name: value}, EverythingOptions)
        except (BadUsage, msgspec.ValidationError):
            continue
        raise AssertionError(f"{made} was made")


@pytest.mark.parametrize(("name", "value"), BOUNDS)
def test_the_ends_of_a_range_belong_to_it(name: str, value: float) -> None:
    kind = type(getattr(EverythingSettings(), name, 0))
    value = int(value) if kind is int and float(value).is_integer() else value
    assert getattr(EverythingOptions(**{name: value}), name) == value


def test_options_made_of_plain_values_and_by_replacement_are_as_by_hand() -> None:
    there = EverythingOptions(points_per_side=8, stability=0.5)
    assert msgspec.convert({"points_per_side": 8, "stability": 0.5}, EverythingOptions) == there
    assert replace(EverythingOptions(stability=0.5), points_per_side=8) == there


@pytest.mark.parametrize("side", [*range(1, 13), 254, 255, 256])
def test_the_hierarchical_mode_takes_points_in_fours_so_that_none_is_left_out_in_silence(side: int) -> None:
    given = {"hierarchical": True, "points_per_side": side}
    if side % 4 == 0:
        assert hierarchical_count(resolved(CALIBRATED, given).points_per_side) == (side - 1) ** 2
        return
    with pytest.raises(BadUsage, match=f"points_per_side is {side}, no multiple of 4") as found:
        resolved(CALIBRATED, given)
    hint = int(re.findall(r"State points_per_side=(\d+), or search flat", str(found.value))[0])
    assert resolved(CALIBRATED, {**given, "points_per_side": hint})
    assert abs(hint - side) < 4
    assert resolved(CALIBRATED, {**given, "hierarchical": False}).points_per_side == side


def test_a_bundles_own_points_are_refused_where_they_are_no_fours() -> None:
    with pytest.raises(BadUsage, match=r"points_per_side is 10, no multiple of 4\. State points_per_side=8, or"):
        resolved(EverythingSettings(points_per_side=10, confident_logit=1.0), {"hierarchical": True})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("flat", "are given as str. Write options=EverythingOptions"), (16, "are given as int"),
        (EverythingSettings(), "are given as EverythingSettings"), ([("stability", 0.5)], "are given as list"),
        ({3: 4}, "everything mode has no option 3. Options are"),
    ],
)  # fmt: skip
def test_what_is_no_options_is_refused_with_what_to_write(given: Any, words: str) -> None:
    with pytest.raises(BadUsage, match=words):
        resolved(EverythingSettings(), given)


@pytest.mark.parametrize(("word", "value"), [("yes", True), ("No", False), ("true", True), ("FALSE", False)])
def test_hierarchical_is_stated_in_words(word: str, value: bool) -> None:
    given = parsed(f"hierarchical={word}, points_per_side=8")
    assert given == EverythingOptions(hierarchical=value, points_per_side=8)


def test_a_whole_number_is_a_fraction_too_and_a_threshold_may_be_none() -> None:
    assert parsed("stability=1,confident_logit=none") == EverythingOptions(stability=1.0)
    assert EverythingOptions().changed(stability=1).stability == 1.0


def test_options_can_be_written_and_read_again() -> None:
    there = EverythingOptions().changed(crop_layers=2, confident_logit=None)
    assert msgspec.json.decode(msgspec.json.encode(there), type=EverythingOptions) == there
