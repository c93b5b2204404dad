"""The result of everything mode: exact masks in JSON, a label map, a picture, a line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_sdk.errors import BadInput
from edge_sdk.tasks.base import RunInfo
from edge_sdk.tasks.segmentation import rle
from edge_sdk.tasks.segmentation.everything.crop_search import Counts
from edge_sdk.tasks.segmentation.everything.found import FoundMask, cleaned
from edge_sdk.tasks.segmentation.everything.result import Everything

WIDTH, HEIGHT = 12, 8
RAN = RunInfo(bundle="0" * 64, roles={}, stages_ms={})


def found(x0: int, y0: int, x1: int, y1: int) -> FoundMask:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[y0:y1, x0:x1] = True
    return FoundMask(
        runs=rle.encode(mask), predicted_iou=0.9, stability=0.97, point=(x0 + 0.5, y0 + 0.5),
        crop=(0, 0, WIDTH, HEIGHT),
    )  # fmt: skip


@pytest.fixture
def two() -> Everything:
    """A part on its whole."""
    return Everything(
        masks=(found(2, 2, 4, 3), found(1, 1, 9, 7)), width=WIDTH, height=HEIGHT, ran=RAN, source="part.png",
        counts=Counts(points=100, asked=80, left_out=20, candidates=9, masks=2),
    )  # fmt: skip


def test_json_says_what_was_searched_and_annotations_are_those_of_coco(two: Everything) -> None:
    answered = json.loads(two.to_json())
    assert answered["picture"] == {"width": WIDTH, "height": HEIGHT}
    assert answered["counts"] == {"points": 100, "asked": 80, "left_out": 20, "candidates": 9, "again": 0, "masks": 2}
    assert [one["box"] for one in answered["masks"]] == [[2, 2, 4, 3], [1, 1, 9, 7]]
    first, second = two.annotations()
    assert (first["id"], second["id"], second["area"], second["bbox"]) == (1, 2, 48, [1, 1, 8, 6])
    assert (second["crop_box"], second["point_coords"]) == ([0, 0, WIDTH, HEIGHT], [[1.5, 1.5]])
    np.testing.assert_array_equal(rle.decode(second["segmentation"]), two[1].array)


def test_the_label_map_has_the_part_in_front_of_its_whole(two: Everything) -> None:
    labels = two.label_map()
    assert np.bincount(labels.ravel()).tolist() == [WIDTH * HEIGHT - 48, 2, 46]
    assert labels[2, 2] == 1
    assert two.covered == 48 / 96
    with pytest.raises(ValueError, match="read-only"):
        labels[0, 0] = 1


def test_the_plot_tints_masks_and_leaves_the_rest(two: Everything) -> None:
    picture = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    plot = two.plot(picture)
    outside = two.label_map() == 0
    assert (plot[outside] == 100).all()
    assert (plot[~outside] != 100).any(axis=1).all()
    np.testing.assert_array_equal(two.plot(picture[:, :, 0]), plot)
    with pytest.raises(BadInput, match="the picture is 8 x 12 px, the result is of one of 12 x 8 px"):
        two.plot(picture.transpose(1, 0, 2))
    with pytest.raises(BadInput, match="pixels"):
        two.plot()


def test_files_are_written_by_their_suffix(two: Everything, tmp_path: Path) -> None:
    two.save(tmp_path / "a.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    two.save(tmp_path / "a.json")
    two.save_label_map(tmp_path / "labels.png")
    assert cv2.imread(str(tmp_path / "a.png")).shape == (HEIGHT, WIDTH, 3)
    assert json.loads((tmp_path / "a.json").read_text())["source"] == "part.png"
    labels = cv2.imread(str(tmp_path / "labels.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, two.label_map())
    with pytest.raises(BadInput, match="PNG"):
        two.save_label_map(tmp_path / "labels.jpg")
    with pytest.raises(BadInput, match=r"\.gif"):
        two.save(tmp_path / "a.gif")


def test_it_says_in_one_line_what_was_found(two: Everything) -> None:
    assert two.line() == "2 masks, 50 % covered  part.png  80 of 100 prompts asked"
    assert repr(two) == "<Everything 2 masks, part.png, 12 x 8 px>"
    assert repr(two[0]) == "<Mask at (2.5, 2.5): predicted IoU 0.900>"
    none = Everything(masks=(), width=WIDTH, height=HEIGHT, ran=RAN)
    assert none.line().startswith("0 masks, 0 % covered")
    assert not none.label_map().any()
    picture = np.full((HEIGHT, WIDTH, 3), 7, np.uint8)
    np.testing.assert_array_equal(none.plot(picture), picture)


def test_a_mask_that_becomes_the_copy_of_another_by_its_clean_up_goes() -> None:
    mask = found(1, 1, 9, 7).array.copy()
    mask[7, 11] = True
    speckled = FoundMask(
        runs=rle.encode(mask), predicted_iou=0.99, stability=0.97, point=(1.0, 1.0),
        crop=(0, 0, WIDTH, HEIGHT),
    )  # fmt: skip
    assert [one.box for one in cleaned([speckled], area_px=3, overlap=0.7)] == [(1, 1, 9, 7)]
    (left,) = cleaned([speckled, found(1, 1, 9, 7)], area_px=3, overlap=0.7)
    assert not left.cleaned
