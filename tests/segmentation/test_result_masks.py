"""A mask is the same thing whatever it answers: names, JSON, and what it is as the next prompt."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import disk_graphs
import numpy as np
import pytest

from edge_sdk.errors import BadInput
from edge_sdk.tasks.segmentation import rle
from edge_sdk.tasks.segmentation.everything.boxes import box_of
from edge_sdk.tasks.segmentation.everything.result import Everything
from edge_sdk.tasks.segmentation.masks import Mask
from edge_sdk.tasks.segmentation.polygons import mask_of
from edge_sdk.tasks.segmentation.result import Segmentation
from edge_sdk.tasks.segmentation.segmenter import PromptSegmenter

PICTURE = disk_graphs.picture(7)
"""48 x 64 px."""
KEYS = {"predicted_iou", "area_px", "box", "rle"}
LOOSE = {"points_per_side": 4, "predicted_iou": 0.85, "stability": 0.5}


@pytest.fixture(params=["predict", "everything"])
def result(segmenter: PromptSegmenter, request: pytest.FixtureRequest) -> Segmentation | Everything:
    if request.param == "predict":
        return segmenter.predict(PICTURE, boxes=[[10, 10, 40, 30], [20, 20, 60, 40]], multimask=True)
    return segmenter.everything(PICTURE, options=LOOSE)


def test_every_mask_has_pixels_runs_outlines_and_a_box_under_the_same_names(result: Segmentation | Everything) -> None:
    assert len(result) > 4
    for mask in result.masks:
        assert isinstance(mask, Mask)
        assert (mask.array.shape, mask.array.dtype, mask.array.flags.writeable) == ((48, 64), np.bool_, False)
        np.testing.assert_array_equal(rle.decode(mask.rle), mask.array)
        np.testing.assert_array_equal(mask_of(mask.polygons(), 48, 64), mask.array)
        assert (mask.box, mask.area_px) == (box_of(mask.array), int(mask.array.sum()))
        assert 0 < mask.predicted_iou < 1


def test_json_of_both_results_holds_masks_with_the_same_keys(result: Segmentation | Everything) -> None:
    written = json.loads(result.to_json())
    assert {"source", "picture", "masks", "notes", "ran"} < set(written)
    assert [set(one) > KEYS for one in written["masks"]] == [True] * len(result)
    assert written["masks"] == [json.loads(json.dumps(mask.to_json())) for mask in result.masks]
    assert written["picture"] == {"width": result.width, "height": result.height} == {"width": 64, "height": 48}


def test_annotations_of_both_results_are_those_of_coco(result: Segmentation | Everything) -> None:
    found = result.annotations(image_id=3, first_id=10)
    assert [one["id"] for one in found] == list(range(10, 10 + len(result)))
    for one, mask in zip(found, result.masks, strict=True):
        np.testing.assert_array_equal(rle.decode(one["segmentation"]), mask.array)
        x, y, width, height = one["bbox"]
        assert (x, y, x + width, y + height) == mask.box
        assert (one["image_id"], one["area"], one["iscrowd"]) == (3, mask.area_px, 0)


def test_masks_of_both_results_are_prompts(segmenter: PromptSegmenter, result: Segmentation | Everything) -> None:
    alone = [segmenter.predict(PICTURE, masks=mask)[0].logits for mask in result.masks]
    for given in (result, result.masks, list(result.masks)):
        for got, want in zip(segmenter.predict(PICTURE, masks=given).masks, alone, strict=True):
            np.testing.assert_allclose(got.logits, want, atol=1e-5)


def test_a_found_mask_is_the_prompt_that_its_pixels_are(segmenter: PromptSegmenter) -> None:
    """As bool, and as OpenCV writes masks."""
    mask = segmenter.everything(PICTURE, options=LOOSE)[0]
    wanted = segmenter.predict(PICTURE, masks=mask)[0].logits
    pixels = mask.array.astype(np.uint8)
    forms: list[Any] = [mask.array, pixels, pixels * 255, [pixels], pixels[None]]
    for form in forms:
        np.testing.assert_array_equal(segmenter.predict(PICTURE, masks=form)[0].logits, wanted)


@pytest.mark.parametrize("kind", [bool, np.uint8])
def test_an_empty_mask_of_the_callers_own_is_refused_in_every_type(segmenter: PromptSegmenter, kind: type) -> None:
    with pytest.raises(BadInput, match="the mask is empty: no pixel of it is on the object"):
        segmenter.predict(PICTURE, points=[[30, 20]], masks=np.zeros((48, 64), kind))


def test_a_mask_of_another_picture_is_no_prompt(segmenter: PromptSegmenter, result: Segmentation | Everything) -> None:
    for given in (result, result[0]):
        with pytest.raises(BadInput, match="the mask is of a picture of 64 x 48 px, this one has 60 x 48"):
            segmenter.predict(PICTURE[:, :60], masks=given)


def test_a_mask_that_a_network_of_another_size_decoded_is_the_prompt_that_its_pixels_are(
    segmenter: PromptSegmenter,
) -> None:
    """Its logits lie in another frame, though the picture is the same."""
    mine = segmenter.predict(PICTURE, boxes=[10, 10, 40, 30])[0]
    theirs = replace(mine, frame=replace(mine.frame, side=128, extent_height=96, extent_width=128))
    found, wanted = (segmenter.predict(PICTURE, masks=form)[0].logits for form in (theirs, theirs.array))
    np.testing.assert_array_equal(found, wanted)
    assert not np.array_equal(found, segmenter.predict(PICTURE, masks=mine)[0].logits)
