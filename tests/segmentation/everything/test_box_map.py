"""Which boxes everything mode asks of those that the encoder guesses: one of each object, the surest first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from disks import SIDE, Disk, Disks, encode, frame_of
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_sdk.errors import CheckFailed
from edge_sdk.tasks.segmentation.decoding import EncodedImage
from edge_sdk.tasks.segmentation.everything.box_map import SAME_IOU, _Guesses, proposals
from edge_sdk.tasks.segmentation.everything.boxes import overlaps
from edge_sdk.tasks.segmentation.everything.candidates import HELD_BYTES
from edge_sdk.tasks.segmentation.everything.crops import Crop
from edge_sdk.tasks.segmentation.everything.options import resolved
from edge_sdk.tasks.segmentation.everything.search import Search
from edge_sdk.tasks.segmentation.frame import Frame
from edge_sdk.tasks.segmentation.settings import BoxMap, EverythingSettings

MAP = BoxMap(output="sides", least=-6.5, most=0.0)
CELLS = 32
WIDTH, HEIGHT = 256, 192
SCENE: list[Disk] = [(60.0, 50.0, 30.0), (150.0, 110.0, 44.0), (40.0, 150.0, 25.0)]
SETTINGS = EverythingSettings(points_per_side=16, stability=0.9, predicted_iou=0.8, box_agreement=0.7)


def guessing(disks: list[Disk], width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.float32]:
    """The map of an encoder that is right in each disk, and on the ground guesses large and small boxes by turns."""
    frame = frame_of(width, height)
    odd = np.add.outer(np.arange(CELLS), np.arange(CELLS)) % 2
    out = np.tile(np.where(odd, -1.5, -4.5).astype(np.float32), (1, 4, 1, 1))
    along = (np.arange(CELLS) + 0.5) * SIDE / CELLS
    ys, xs = np.meshgrid(along, along, indexing="ij")
    for x, y, r in ((x * frame.scale_x, y * frame.scale_y, r * frame.scale_x) for x, y, r in disks):
        inside = (xs - x) ** 2 + (ys - y) ** 2 < r**2
        distances = np.stack([xs - x + r, ys - y + r, x + r - xs, y + r - ys])
        out[0][:, inside] = np.log(np.maximum(distances[:, inside], 1e-3) / SIDE)
    return out


def guessing_encode(crop: Crop) -> EncodedImage:
    there = encode(crop)
    left, top = crop.box[:2]
    moved = [(x - left, y - top, r) for x, y, r in SCENE]
    return EncodedImage(
        features={**there.features, "sides": guessing(moved, crop.width, crop.height)}, frame=there.frame, digest="",
        bundle="",
    )  # fmt: skip


def search(decoder: Disks, held_bytes: int = HELD_BYTES, **more: Any) -> Search:
    return Search(
        guessing_encode, decoder, resolved(SETTINGS, more), width=WIDTH, height=HEIGHT, masks=(1, 2, 3), box_map=MAP,
        held_bytes=held_bytes,
    )  # fmt: skip


def owner(point: NDArray[np.float64]) -> int | None:
    return next((k for k, (x, y, r) in enumerate(SCENE) if np.hypot(*(point + 0.5 - (x, y))) < r), None)


def test_the_surest_boxes_are_one_of_each_object() -> None:
    found = proposals(guessing(SCENE), MAP, frame_of(WIDTH, HEIGHT), most=len(SCENE))
    assert sorted(owner(point) for point in found.prompts.points if owner(point) is not None) == [0, 1, 2]
    assert found.agreement.min() > 0.9
    assert found.prompts.boxes is not None
    for point, box in zip(found.prompts.points, found.prompts.boxes, strict=True):
        x, y, r = SCENE[owner(point) or 0]
        assert box == pytest.approx([x - r, y - r, x + r, y + r], abs=1e-3)


def test_boxes_that_others_contradict_are_not_asked_about() -> None:
    found = proposals(guessing(SCENE), MAP, frame_of(WIDTH, HEIGHT), most=1000, agreement=0.7)
    assert all(owner(point) is not None for point in found.prompts.points)
    every = proposals(guessing(SCENE), MAP, frame_of(WIDTH, HEIGHT), most=1000)
    assert len(every.prompts) > len(found.prompts)
    np.testing.assert_array_equal(every.prompts.points[: len(found.prompts)], found.prompts.points)


@given(
    width=st.integers(1, 400), height=st.integers(1, 400), seed=st.integers(0, 99), most=st.integers(1, 60),
    least=st.floats(0.0, 1.0), cells=st.integers(1, 20),
)  # fmt: skip
def test_any_map_gives_boxes_in_the_picture_the_surest_first(
    width: int, height: int, seed: int, most: int, least: float, cells: int
) -> None:
    frame = frame_of(width, height)
    values = np.random.default_rng(seed).normal(-2.0, 3.0, (1, 4, cells, cells)).astype(np.float32)
    found = proposals(values, MAP, frame, most=most, agreement=least)
    points, boxes = found.prompts.points, found.prompts.boxes
    assert boxes is not None
    assert len(points) == len(boxes) == len(found.agreement) <= most
    assert (points >= 0).all()
    assert (points <= (width - 1, height - 1)).all()
    assert (boxes >= 0).all()
    assert (boxes <= (width, height, width, height)).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (np.diff(found.agreement) <= 0).all()
    assert (found.agreement[1:] >= least).all()  # the first is asked about whatever its agreement
    assert (found.agreement <= 1.0 + 1e-6).all()


@pytest.mark.parametrize(("side", "asked"), [(0.72, 2), (0.78, 1)])
def test_a_box_within_another_is_asked_where_it_covers_less_than_three_quarters_of_it(side: float, asked: int) -> None:
    """All cells of one half guess one box, all of the other one as high and `side` as wide, from the same corner."""
    values = np.zeros((1, 4, 2, 2), np.float32)
    for column, width in ((0, 60.0 * side), (1, 60.0)):
        for row in range(2):
            x, y = 16.0 + 32.0 * column, 16.0 + 32.0 * row
            values[0, :, row, column] = np.log(np.array([x - 1.0, y - 1.0, 1.0 + width - x, 61.0 - y]) / 64)
    found = proposals(values, MAP, frame_of(64, 64, side=64), most=9)
    assert found.prompts.boxes is not None
    assert len(set(found.prompts.boxes[:, 2].round())) == asked


def test_no_two_boxes_that_are_asked_about_are_of_one_object() -> None:
    frame, values = frame_of(WIDTH, HEIGHT), guessing(SCENE)
    found = proposals(values, MAP, frame, most=1000)
    boxes = found.prompts.boxes
    assert boxes is not None
    for k, box in enumerate(boxes):
        assert overlaps(box, boxes[k + 1 :]).max(initial=0.0) <= SAME_IOU + 1e-4


def test_values_beyond_the_range_are_cut_as_the_decoder_cuts_them() -> None:
    frame = frame_of(64, 64, side=64)
    guesses = _Guesses(np.full((4, 2, 2), 50.0, np.float32), BoxMap(output="sides", least=-6.5, most=-1.0), frame)
    half = 64 * np.exp(-1.0)
    np.testing.assert_allclose(
        guesses.at(np.array([[32.0, 32.0]])), [[32 - half, 32 - half, 32 + half, 32 + half]], rtol=1e-6
    )


def test_the_search_finds_what_the_flat_one_finds_with_fewer_points() -> None:
    flat, guided = (search(Disks(SCENE, steep=3.0), hierarchical=way) for way in (False, True))
    boxes = [sorted(one.box for one in found if one.predicted_iou > 0.9) for found in (flat, guided)]
    assert boxes[0] == boxes[1]
    assert len(boxes[0]) == len(SCENE)
    assert (flat.counts.asked, flat.counts.left_out) == (256, 0)
    assert guided.counts.points == guided.counts.asked + guided.counts.left_out == 102
    assert len(SCENE) <= guided.counts.asked <= 20


def test_at_most_a_share_of_the_flat_grids_points_is_asked_as_boxes() -> None:
    found = search(Disks(SCENE, steep=3.0), box_agreement=0.0, points_per_side=8)
    list(found)
    assert found.counts.asked <= found.counts.points == int(0.4 * 64)
    assert found.counts.asked + found.counts.left_out == found.counts.points


@pytest.mark.parametrize("held_bytes", [0, 5000])
def test_masks_that_did_not_fit_into_memory_are_asked_again_by_their_boxes(held_bytes: int) -> None:
    wanted, decoder = list(search(Disks(SCENE, steep=3.0))), Disks(SCENE, steep=3.0)
    tight = search(decoder, held_bytes=held_bytes)
    found = list(tight)
    assert tight.counts.again > 0
    assert all(decoder.by_boxes)
    assert [(one.point, one.box, one.area_px) for one in found] == [(one.point, one.box, one.area_px) for one in wanted]


def test_in_crops_too_at_most_so_many_are_asked_of_each() -> None:
    """Half as many points a side in the crops: a quarter of the boxes."""
    found = search(Disks(SCENE, steep=3.0), crop_layers=1, crop_points_divisor=2, points_per_side=8, box_agreement=0.9)
    list(found)
    assert found.counts.points == int(0.4 * 64) + 4 * int(0.4 * 16)
    assert found.counts.asked + found.counts.left_out == found.counts.points
    assert found.counts.left_out > int(0.4 * 64)  # of all crops together
    every = search(Disks(SCENE, steep=3.0), crop_layers=1, crop_points_divisor=2, points_per_side=8, box_agreement=0.0)
    list(every)
    assert every.counts.asked <= every.counts.points


def test_each_crop_is_searched_by_its_own_map() -> None:
    """Objects are whole in crops, too: with no suppression between crops each is found in several."""
    found = list(search(Disks(SCENE, steep=3.0), crop_layers=1, crop_nms_iou=1.0, nms_iou=0.5))
    assert len({one.crop for one in found}) >= 3
    for one in found:
        x, y = one.point
        left, top, right, bottom = one.crop
        assert left <= x < right
        assert top <= y < bottom
        disk = owner(np.array(one.point))
        assert disk is not None
        assert one.prompt_box is not None
        x, y, r = SCENE[disk]
        if one.predicted_iou > 0.9:  # the disk itself, which may be cut by the crop
            wanted = np.clip([x - r, y - r, x + r, y + r], (left, top) * 2, (right, bottom) * 2)
            assert one.prompt_box == pytest.approx(wanted, abs=0.5)
        assert one.to_json()["prompt_box"] == list(one.prompt_box)
        written = one.annotation(image_id=1, number=1)
        assert written["prompt_box"] == list(one.prompt_box)
        assert "point_coords" not in written


def test_progress_ends_with_all_points() -> None:
    seen: list[tuple[int, int]] = []
    options = resolved(SETTINGS, {"hierarchical": True})
    list(Search(
        guessing_encode, Disks(SCENE, steep=3.0), options, width=WIDTH, height=HEIGHT, masks=(1, 2, 3), box_map=MAP,
        progress=lambda done, total, note: seen.append((done, total)),
    ))  # fmt: skip
    assert seen[0][1] == seen[-1][1] == seen[-1][0] == 102


def test_a_map_that_holds_no_numbers_is_a_fault_of_the_runtime_and_infinity_is_cut() -> None:
    values, frame = guessing(SCENE), frame_of(WIDTH, HEIGHT)
    values[0, 2, 3, 4] = np.nan
    with pytest.raises(CheckFailed, match="the encoder answered sides that hold NaN"):
        proposals(values, MAP, frame, most=9)
    values[0, 2, 3, 4] = np.inf
    assert len(proposals(values, MAP, frame, most=9).prompts) == 9


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 300), (300, 1), (5, 900)])
def test_one_box_is_asked_where_no_box_agrees_enough(width: int, height: int) -> None:
    found = proposals(np.zeros((1, 4, 4, 4), np.float32), MAP, frame_of(width, height), most=9, agreement=1.0)
    assert len(found.prompts) >= 1
    everywhere = search(Disks(SCENE, steep=3.0), box_agreement=1.0)
    list(everywhere)
    assert everywhere.counts.asked == 1


def test_points_are_of_a_picture_whose_scales_differ() -> None:
    """A frame whose extent is rounded: 30 x 3 px in 10 x 1."""
    frame = Frame(width=31, height=4, side=10, extent_width=10, extent_height=2)
    found = proposals(np.full((1, 4, 10, 10), -1.0, np.float32), MAP, frame, most=1)
    centres = (found.prompts.points[0] + 0.5) * (10 / 31, 2 / 4)
    assert centres % 1.0 == pytest.approx([0.5, 0.5])
    half, (x, y) = 10 * np.exp(-1.0), centres
    frame_box = np.clip([x - half, y - half, x + half, y + half], 0.0, [10, 2, 10, 2])
    assert found.prompts.boxes is not None
    assert found.prompts.boxes[0] == pytest.approx(frame_box * (31 / 10, 4 / 2, 31 / 10, 4 / 2), rel=1e-5)
