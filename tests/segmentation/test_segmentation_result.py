"""Results: texts, encodings, files and drawings."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import disk_graphs
import numpy as np
import pytest

from edge_sdk.errors import BadInput
from edge_sdk.tasks.segmentation import rle
from edge_sdk.tasks.segmentation.label_map import label_map
from edge_sdk.tasks.segmentation.polygons import mask_of
from edge_sdk.tasks.segmentation.result import DecodedMask, Segmentation
from edge_sdk.tasks.segmentation.segmenter import PromptSegmenter

PICTURE = disk_graphs.picture(2, height=96, width=128)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "part.png"
    path.write_bytes(disk_graphs.png(PICTURE))
    return path


@pytest.fixture
def result(segmenter: PromptSegmenter, file: Path) -> Segmentation:
    return segmenter.predict(file, boxes=[[10, 10, 60, 50], [30, 20, 100, 90]])


def test_json_holds_masks_that_come_back(result: Segmentation) -> None:
    read = json.loads(result.to_json())
    assert read["picture"] == {"width": 128, "height": 96}
    assert read["prompts"] == 2
    assert read["ran"]["roles"].keys() == {"encoder", "decoder", "refiner"}
    for mask, written in zip(result.masks, read["masks"], strict=True):
        np.testing.assert_array_equal(rle.decode(written["rle"]), mask.array)
        assert (written["area_px"], tuple(written["box"])) == (mask.area_px, mask.box)


def test_encodings_of_a_mask_come_back(result: Segmentation) -> None:
    mask = result[1]
    np.testing.assert_array_equal(rle.decode(mask.rle.to_json()), mask.array)
    np.testing.assert_array_equal(mask_of(mask.polygons(), 96, 128), mask.array)
    x0, y0, x1, y1 = mask.box
    assert mask.array[y0:y1, x0:x1].sum() == mask.area_px == mask.array.sum()


def test_an_empty_mask_has_no_box(result: Segmentation) -> None:
    empty = DecodedMask(predicted_iou=0.1, logits=np.full((4, 4), -1, np.float32), frame=result[0].frame)
    assert (empty.box, empty.area_px, empty.polygons()) == ((0, 0, 0, 0), 0, ())


def test_pixels_that_were_changed_are_what_counts(result: Segmentation) -> None:
    mine = np.zeros((96, 128), bool)
    mine[3:5, 7:11] = True
    changed = DecodedMask(predicted_iou=0.5, logits=result[0].logits, frame=result[0].frame, pixels=mine)
    assert (changed.box, changed.area_px) == ((7, 3, 11, 5), 8)
    mine[0, 0] = True  # still the caller's


def test_the_line_names_the_picture_and_the_masks(result: Segmentation, file: Path) -> None:
    line = result.line()
    assert repr(result) == f"<Segmentation 2 masks, {file}, 128 x 96 px>"
    assert repr(result[1]) == "<Mask of prompt 1: predicted IoU 0.900>"
    assert line.startswith(str(file))
    assert f"2 masks: {result[0].area_px} px" in line
    assert "predicted IoU 0.900" in line


def test_the_plot_changes_the_picture_inside_the_masks_alone(result: Segmentation) -> None:
    drawn = result.plot()
    assert (drawn.shape, drawn.dtype) == (PICTURE.shape, np.uint8)
    near = cv2.dilate(np.any([mask.array for mask in result.masks], axis=0).astype(np.uint8), np.ones((5, 5)))
    np.testing.assert_array_equal(drawn[near == 0], PICTURE[near == 0])
    assert (drawn[result[0].array] != PICTURE[result[0].array]).any(axis=1).mean() > 0.9
    np.testing.assert_array_equal(result.plot(PICTURE), drawn)
    with pytest.raises(BadInput, match="128 x 50 px, the result is of one of 128 x 96 px"):
        result.plot(PICTURE[:50])


def test_results_are_saved_by_suffix(result: Segmentation, tmp_path: Path) -> None:
    result.save(tmp_path / "one.png")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "one.png"))[:, :, ::-1], result.plot())
    result.save(tmp_path / "one.json")
    assert json.loads((tmp_path / "one.json").read_text("utf-8"))["prompts"] == 2
    with pytest.raises(BadInput, match=r"can't be written as .gif.*Use .png, .jpg or .json"):
        result.save(tmp_path / "one.gif")


def test_a_label_map_shows_the_smallest_of_overlapping_masks(result: Segmentation, tmp_path: Path) -> None:
    first, second = (mask.array for mask in result.masks)
    assert (first & second).any()
    assert first.sum() < second.sum()
    result.save_label_map(tmp_path / "labels.png")
    labels = cv2.imread(str(tmp_path / "labels.png"), cv2.IMREAD_UNCHANGED)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.where(first, 1, np.where(second, 2, 0)))
    with pytest.raises(BadInput, match="a label map is written as PNG"):
        result.save_label_map(tmp_path / "labels.jpg")


def test_a_label_map_of_many_masks_has_16_bits_and_an_end() -> None:
    one = rle.encode(np.ones((1, 1), bool))
    assert label_map([one] * 300, width=1, height=1).dtype == np.uint16
    with pytest.raises(BadInput, match="a label map holds 65535 masks, there are 65536"):
        label_map([one] * 65536, width=1, height=1)


def test_pixels_are_not_kept(segmenter: PromptSegmenter) -> None:
    with pytest.raises(BadInput, match="this picture came as pixels"):
        segmenter.predict(PICTURE, points="centre").plot()
