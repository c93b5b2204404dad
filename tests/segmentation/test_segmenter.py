"""`PromptSegmenter` on arithmetic graphs: what a prompt answers, where it lies, what is kept, what is refused."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import disk_graphs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

import edge_sdk
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.tasks.segmentation import decoding
from edge_sdk.tasks.segmentation.decoding import chosen_mask
from edge_sdk.tasks.segmentation.encoding_cache import PICTURES, EncodingCache
from edge_sdk.tasks.segmentation.prompts import Prompt, Prompted
from edge_sdk.tasks.segmentation.segmenter import PromptSegmenter
from edge_sdk.tasks.segmentation.settings import SegmentationSettings
from edge_sdk.tensors import Array

PICTURE = disk_graphs.picture(7)
"""48 x 64 px: the scale to the frame is 1."""


class Counted:
    """Runs of each role by a predictor, with the rows of each."""

    def __init__(self, segmenter: PromptSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: dict[str, list[int]] = {"encoder": [], "decoder": [], "refiner": []}
        for role, model in segmenter._loaded.models.items():
            right = model.session.run

            def run(feeds: Mapping[str, Array], *rest: Any, role: str = role, right: Any = right) -> Any:
                self.rows[role].append(len(feeds["points"]) if "points" in feeds else 1)
                return right(feeds, *rest)

            monkeypatch.setattr(model.session, "run", run)


def test_a_point_is_answered_by_a_disk_around_it(segmenter: PromptSegmenter) -> None:
    (mask,) = segmenter.predict(PICTURE, points=[[30, 20]]).masks
    assert (mask.index, mask.predicted_iou) == (2, pytest.approx(0.89))  # the highest of masks 1 to 3
    ys, xs = np.nonzero(mask.array)
    assert (ys.mean(), xs.mean()) == (pytest.approx(20, abs=0.6), pytest.approx(30, abs=0.6))
    assert mask.area_px == pytest.approx(np.pi * 8**2, rel=0.1)
    assert mask.array.shape == PICTURE.shape[:2]
    assert not mask.array.flags.writeable


def test_all_alternatives_come_in_the_order_of_the_bundle(segmenter: PromptSegmenter) -> None:
    result = segmenter.predict(PICTURE, points=[[30, 20]], multimask=True)
    assert [mask.index for mask in result.masks] == [1, 2, 3]
    areas = [mask.area_px for mask in result.masks]
    assert areas == sorted(areas)
    assert result.best.index == 2


@pytest.mark.parametrize(
    ("prompt", "index"),
    [
        ({"points": [[30, 20]]}, 2),
        ({"boxes": [10, 10, 40, 30]}, 2),
        ({"points": [[30, 20], [5, 5]]}, 0),
        ({"points": [[30, 20]], "boxes": [10, 10, 40, 30]}, 0),
    ],
)
def test_a_prompt_of_three_tokens_is_answered_by_the_single_mask(
    segmenter: PromptSegmenter, windowed: PromptSegmenter, prompt: dict[str, Any], index: int
) -> None:
    assert segmenter.predict(PICTURE, **prompt)[0].index == index
    assert windowed.predict(PICTURE, **prompt)[0].index == 1  # a bundle without one: the highest predicted IoU


@given(
    iou=st.lists(st.floats(-1, 2, width=32), min_size=4, max_size=4), points=st.integers(0, 3), box=st.booleans(),
    mask=st.booleans(), single=st.none() | st.integers(0, 3), boxed=st.none() | st.integers(0, 3),
    masked=st.none() | st.integers(0, 3),
)  # fmt: skip
def test_which_mask_answers_is_the_boxs_then_the_masks_then_the_single_one_then_the_best(
    iou: list[float], points: int, box: bool, mask: bool, single: int | None, boxed: int | None, masked: int | None
) -> None:
    settings = SegmentationSettings(multimask=(1, 2, 3), single=single, boxed=boxed, masked=masked)
    prompt = Prompt(
        points=np.zeros((points, 2)), labels=np.ones(points, np.int32), box=np.array([0.0, 0, 9, 9]) if box else None,
        mask=np.zeros((4, 4), np.float32) if mask else None,
    )  # fmt: skip
    found = chosen_mask(np.array(iou, np.float32), prompt, settings)
    tokens = points + (2 if box else 1 if points else 0)  # as SAM counts them, the padding among them
    if box and boxed is not None:
        assert found == boxed
    elif mask and masked is not None:
        assert found == masked
    elif tokens >= 3 and single is not None:
        assert found == single
    else:
        assert found in (1, 2, 3)
        assert iou[found] == max(iou[1:])


@pytest.mark.parametrize("kind", ["disks", "windows"])
def test_a_box_is_filled_in_the_callers_pixels(kind: str, request: pytest.FixtureRequest) -> None:
    picture = disk_graphs.picture(3, height=480, width=640)
    with disk_graphs.opened(request.getfixturevalue(kind)) as segmenter:
        (mask,) = segmenter.predict(picture, boxes=[100, 100, 300, 200]).masks
    # 0.5 px of the frame, which SAM adds there, are 5 px here; a mask cell is 20 px, or 17.5
    np.testing.assert_allclose(mask.box, [105, 105, 305, 205], atol=12)
    assert mask.area_px == pytest.approx(200 * 100, rel=0.1)


def test_masks_are_placed_at_once_as_far_as_memory_is_meant_for_them(
    segmenter: PromptSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_sdk.tasks.segmentation.segmenter.PLACED_BYTES", 2 * 48 * 64)
    result = segmenter.predict(PICTURE, points=[[30, 20]], multimask=True)
    assert ["array" in vars(mask) for mask in result.masks] == [True, True, False]
    assert result[2].array.any()
    assert "place" in result.ran.stages_ms


def test_a_negative_point_cuts_out(segmenter: PromptSegmenter) -> None:
    whole = segmenter.predict(PICTURE, boxes=[10, 10, 50, 40], points=[[20, 20]], labels=[1])[0]
    cut = segmenter.predict(PICTURE, boxes=[10, 10, 50, 40], points=[[40, 30]], labels=[0])[0]
    assert not cut.array[30, 40]
    assert whole.array[30, 40]
    assert cut.area_px < whole.area_px


@pytest.mark.parametrize("kind", ["disks", "windows"])
def test_prompts_together_answer_as_alone_in_few_calls(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [[[5 + 2 * i, 5 + i]] for i in range(11)]
    points[3] = [[20, 20], [30, 30], [25, 25]]
    with disk_graphs.opened(request.getfixturevalue(kind)) as segmenter:
        counted = Counted(segmenter, monkeypatch)
        together = segmenter.predict(PICTURE, points=points, multimask=True)
        assert counted.rows == {"encoder": [1], "decoder": [8, 3], "refiner": []}
        for i, one in enumerate(points):
            alone = segmenter.predict(PICTURE, points=one, multimask=True)
            assert len(alone) == len(together.of_prompt(i)) == 3
            for got, want in zip(together.of_prompt(i), alone.masks, strict=True):
                np.testing.assert_array_equal(got.array, want.array)
                assert (got.predicted_iou, got.prompt) == (want.predicted_iou, i)
    assert len(counted.rows["encoder"]) == 1  # one picture


def test_prompts_are_cut_into_calls_whose_masks_fit_into_memory(
    segmenter: PromptSegmenter, disks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And answers are the same, in the order of the prompts, those with masks too."""
    places = [[[10 + 7 * i, 8 + 5 * i]] for i in range(5)]
    whole = segmenter.predict(PICTURE, points=places, refine=1)
    one = whole.masks[0].logits.nbytes * segmenter.decoder.count
    monkeypatch.setattr(decoding, "CALL_BYTES", 2 * one + 1)
    with disk_graphs.opened(disks) as cut:
        counted = Counted(cut, monkeypatch)
        found = cut.predict(PICTURE, points=places, refine=1)
    assert counted.rows == {"encoder": [1], "decoder": [2, 2, 1], "refiner": [2, 2, 1]}
    for mine, theirs in zip(found.masks, whole.masks, strict=True):
        assert (mine.prompt, mine.predicted_iou) == (theirs.prompt, theirs.predicted_iou)
        np.testing.assert_array_equal(mine.logits, theirs.logits)


def test_prompts_are_cut_into_calls_of_the_batch_that_load_is_given(
    segmenter: PromptSegmenter, disks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = np.zeros((48, 64), bool)
    mine[10:30, 20:50] = True
    places = [[[5 + 7 * i, 4 + 5 * i]] for i in range(7)]
    asked: list[dict[str, Any]] = [{"points": places, "refine": 1}, {"points": places, "masks": [mine] * 7}]
    with edge_sdk.load_as(PromptSegmenter, disks, runtime="onnxruntime", threads=1, max_batch=3) as cut:
        counted = Counted(cut, monkeypatch)
        for prompts in asked:
            for one, other in zip(cut.predict(PICTURE, **prompts), segmenter.predict(PICTURE, **prompts), strict=True):
                np.testing.assert_array_equal(one.logits, other.logits)
    assert counted.rows == {"encoder": [1], "decoder": [3, 3, 1], "refiner": [3, 3, 1, 3, 3, 1]}


def test_prompts_with_a_mask_go_to_the_refiner(segmenter: PromptSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(segmenter, monkeypatch)
    first = segmenter.predict(PICTURE, points=[[30, 20]])
    again = segmenter.predict(PICTURE, points=[[30, 20]], masks=first[0])
    assert counted.rows == {"encoder": [1], "decoder": [1], "refiner": [1]}
    # the arithmetic refiner adds half the mask's logits
    np.testing.assert_allclose(again[0].logits, 1.5 * first[0].logits, atol=0.1)


def test_a_callers_own_mask_is_a_prompt_alone(segmenter: PromptSegmenter) -> None:
    mine = np.zeros((48, 64), bool)
    mine[10:30, 20:50] = True
    (mask,) = segmenter.predict(PICTURE, masks=mine, multimask=True).masks[:1]
    np.testing.assert_allclose(mask.logits[6:14, 12:24], -3.0, atol=0.2)  # -8 without a point, and half of 10
    np.testing.assert_allclose(mask.logits[20:, :8], -13.0, atol=0.2)


def test_a_mask_alone_gets_the_box_around_it_where_the_bundle_says_so(
    segmenter: PromptSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every kind of mask prompt; points and boxes of the caller's own stay alone."""
    fed: list[Mapping[str, Array]] = []
    refiner = segmenter._loaded.models["refiner"].session
    right = refiner.run
    monkeypatch.setattr(refiner, "run", lambda feeds, *rest: (fed.append(feeds), right(feeds, *rest))[1])
    mine = np.zeros((48, 64), bool)
    mine[12:28, 20:48] = True
    found = segmenter.predict(PICTURE, points=[[30, 20]])[0]
    cells = segmenter.decoder.prompt_cells
    grid = np.full((cells, cells), -10.0, np.float32)
    grid[3:6, 4:9] = 10.0
    px = 64 / cells
    given: list[tuple[Any, Any]] = [
        (mine, [[20, 12], [48, 28]]), (mine.astype(np.uint8), [[20, 12], [48, 28]]),
        (found, np.reshape(found.box, (2, 2))), (grid, [[4 * px, 3 * px], [9 * px, 6 * px]]),
    ]  # fmt: skip
    for boxed in (False, True):
        monkeypatch.setattr(segmenter, "settings", structs.replace(segmenter.settings, boxed_masks=boxed))
        for mask, box in given:
            fed.clear()
            segmenter.predict(PICTURE, masks=mask)
            if boxed:
                np.testing.assert_allclose(fed[0]["points"][0], box)
                assert fed[0]["labels"][0].tolist() == [2, 3]
            else:
                assert set(fed[0]["labels"][0].tolist()) == {-2}
        fed.clear()
        segmenter.predict(PICTURE, masks=mine, points=[[30, 20]])
        assert 2 not in fed[0]["labels"][0]


def test_a_bundle_says_how_often_a_mask_is_given_back_and_a_caller_may_say_otherwise(tmp_path: Path) -> None:
    settings = SegmentationSettings(multimask=(1, 2, 3), single=0, rounds=2)
    with disk_graphs.opened(disk_graphs.write(tmp_path / "rounds.edge", settings=settings)) as segmenter:
        found = {
            rounds: segmenter.predict(PICTURE, boxes=[10, 10, 40, 30], refine=rounds)[0] for rounds in (None, 0, 2)
        }
        np.testing.assert_array_equal(found[None].logits, found[2].logits)
        assert np.abs(found[None].logits - found[0].logits).max() > 1


@pytest.mark.parametrize("kind", ["disks", "windows"])
def test_refining_is_giving_the_chosen_mask_back(kind: str, request: pytest.FixtureRequest) -> None:
    with disk_graphs.opened(request.getfixturevalue(kind)) as segmenter:
        first = segmenter.predict(PICTURE, boxes=[10, 10, 40, 30])
        by_hand = segmenter.predict(PICTURE, boxes=[10, 10, 40, 30], masks=first[0], multimask=True)
        refined = segmenter.predict(PICTURE, boxes=[10, 10, 40, 30], refine=1, multimask=True)
        for got, want in zip(refined.masks, by_hand.masks, strict=True):
            np.testing.assert_array_equal(got.logits, want.logits)


def test_a_picture_is_encoded_once_whatever_it_is_called(
    segmenter: PromptSegmenter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    counted = Counted(segmenter, monkeypatch)
    file = tmp_path / "one.png"
    file.write_bytes(disk_graphs.png(PICTURE))
    encoded = segmenter.set_image(PICTURE)
    for source in (PICTURE.copy(), file, file.read_bytes(), encoded, Prompted(picture=encoded, points=[[3, 3]])):
        given = {} if isinstance(source, Prompted) else {"points": [[3, 3]]}
        segmenter.predict(source, **given)
    assert counted.rows["encoder"] == [1]
    changed = PICTURE.copy()
    changed[0, 0, 0] ^= 1
    segmenter.set_image(changed)
    assert counted.rows["encoder"] == [1, 1]
    assert segmenter.set_image(file).file == file
    assert segmenter.set_image(PICTURE).file is None


def test_padding_of_another_picture_is_another_picture(
    segmenter: PromptSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both become the same pixels in the frame, of which another part is the picture."""
    counted = Counted(segmenter, monkeypatch)
    black, wide = np.zeros((32, 64, 3), np.uint8), np.zeros((16, 64, 3), np.uint8)
    assert segmenter.set_image(black).digest != segmenter.set_image(wide).digest
    assert counted.rows["encoder"] == [1, 1]


def test_the_last_few_pictures_are_kept(segmenter: PromptSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(segmenter, monkeypatch)
    pictures = [disk_graphs.picture(seed) for seed in range(PICTURES + 1)]
    for picture in pictures:
        segmenter.set_image(picture)
    segmenter.set_image(pictures[-1])
    assert len(counted.rows["encoder"]) == PICTURES + 1
    segmenter.set_image(pictures[0])
    assert len(counted.rows["encoder"]) == PICTURES + 2
    segmenter.cache.limit(pictures=0, size_bytes=0)
    segmenter.set_image(pictures[0])
    assert len(counted.rows["encoder"]) == PICTURES + 3


def test_the_cache_is_bounded_by_bytes_too() -> None:
    cache = EncodingCache(pictures=10, size_bytes=100)
    for name, size in (("a", 60), ("b", 40), ("c", 30)):
        cache.put(name, {"x": np.zeros(size, np.uint8)})
    assert [cache.get(name) is not None for name in "abc"] == [False, True, True]
    cache.put("d", {"x": np.zeros(101, np.uint8)})  # too large alone: nothing is dropped for it
    assert [cache.get(name) is not None for name in "bcd"] == [True, True, False]
    with pytest.raises(BadUsage, match="a cache of -1 pictures"):
        cache.limit(pictures=-1, size_bytes=0)


def test_threads_with_pictures_of_their_own_get_answers_of_their_own(segmenter: PromptSegmenter) -> None:
    pictures = [np.full((48, 64, 3), 30 * i, np.uint8) for i in range(8)]
    expected = [segmenter.predict(one, points=[[8 * i, 20]])[0].logits for i, one in enumerate(pictures)]
    start = threading.Barrier(8)

    def work(i: int) -> bool:
        start.wait()
        found = [segmenter.predict(pictures[i], points=[[8 * i, 20]])[0].logits for _ in range(20)]
        return all(np.array_equal(one, expected[i]) for one in found)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_features_can_not_be_written_to(segmenter: PromptSegmenter) -> None:
    with pytest.raises(ValueError, match="read-only"):
        segmenter.set_image(PICTURE).features["embedding"][:] = 0


@pytest.mark.parametrize("kind", ["disks", "windows"])
@pytest.mark.parametrize("size", [(1, 1), (1, 20000), (20000, 1), (3, 7)])
def test_pictures_of_extreme_shapes_work(kind: str, size: tuple[int, int], request: pytest.FixtureRequest) -> None:
    height, width = size
    picture = np.full((height, width, 3), 90, np.uint8)
    with disk_graphs.opened(request.getfixturevalue(kind)) as segmenter:
        result = segmenter.predict(picture, points="centre", multimask=True)
        boxed = segmenter.predict(picture, boxes=[0, 0, width, height])
        again = segmenter.predict(picture, masks=np.ones(size, bool))
        for mask in (*result.masks, *boxed.masks, *again.masks):
            assert mask.array.shape == size
        assert result.plot(picture).shape == picture.shape
        result.to_json()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "there is no prompt"),
        ({"points": [[64, 3]]}, "outside the picture of 64 x 48 px"),
        ({"points": [[1, 1]] * 6}, "a prompt has 7 tokens, the bundle takes 6"),
        ({"masks": "mask.png"}, "this str is not a mask prompt. Give a Mask"),
        ({"masks": ["mask.png"]}, "this str is not a mask prompt"),
        (
            {"masks": np.ones((48, 64), np.int64)},
            r"ndarray of int64 \(48, 64\) is not a mask prompt.*bool or uint8",
        ),
        ({"masks": np.ones((64, 48), np.uint8)}, r"the mask has shape \(64, 48\), the picture \(48, 64\)"),
        ({"masks": np.eye(48, 64, dtype=np.uint8) * 2}, "the mask of uint8 holds values from 2 to 2 beside 0"),
        ({"masks": np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)}, "values from 1 to 255 beside 0. Give 0 and 1"),
        ({"masks": np.ones((64, 48), bool)}, r"the mask has shape \(64, 48\), the picture \(48, 64\)"),
        ({"masks": np.ones((8, 8), np.float32)}, r"float32 \(8, 8\) is not a mask prompt.*float32 \(32, 32\) logits"),
        ({"masks": []}, "there are no masks in a prompt. Leave masks out, or give one at least"),
        ({"masks": np.zeros((0, 48, 64), bool)}, "there are no masks in a prompt"),
        ({"points": [], "masks": []}, "there are no points in a prompt"),
        ({"points": np.zeros((0, 2))}, "there are no points in a prompt"),
        ({"boxes": np.zeros((0, 4))}, "there are no boxes in a prompt"),
        ({"masks": np.array(1.0)}, "this ndarray is not a mask prompt"),
        ({"masks": np.full((32, 32), np.nan, np.float32)}, "the mask holds NaN"),
        ({"masks": np.zeros((48, 64), bool)}, "the mask is empty.*labels == value"),
        ({"masks": np.zeros((48, 64), np.uint8), "points": [[30, 20]]}, "the mask is empty"),
        ({"masks": np.full((32, 32), -1, np.float32)}, "the prompt does not say where the object is, it has an empty"),
        ({"points": [[30, 20]], "labels": [0]}, "where the object is, it has points beside it alone. Give a point on"),
        ({"points": [[[30, 20]], [[9, 9]]], "labels": [[1], [0]]}, "prompt 1 does not say where the object is"),
        (
            {"points": [[30, 20]], "labels": [0], "masks": np.full((32, 32), -1, np.float32)},
            "does not say where the object is",
        ),
    ],
)
def test_bad_prompts_are_refused(segmenter: PromptSegmenter, given: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        segmenter.predict(PICTURE, **given)


def test_points_beside_the_object_are_taken_where_a_box_or_a_mask_says_where_it_is(
    segmenter: PromptSegmenter,
) -> None:
    mine = np.zeros((48, 64), bool)
    mine[12:28, 20:48] = True
    empty = np.full((32, 32), -1, np.float32)
    beside: dict[str, Any] = {"points": [[5, 5]], "labels": [0]}
    taken: list[dict[str, Any]] = [
        {**beside, "boxes": [10, 10, 50, 40]}, {**beside, "masks": mine},
        # logits below the threshold are a hint beside another prompt
        {"masks": empty, "points": [[30, 20]]}, {"masks": empty, "boxes": [10, 10, 50, 40]},
    ]  # fmt: skip
    for prompt in taken:
        assert len(segmenter.predict(PICTURE, **prompt)) == 1


def test_an_empty_mask_of_an_earlier_result_is_refused_alone(segmenter: PromptSegmenter) -> None:
    found = segmenter.predict(PICTURE, points=[[30, 20]])[0]
    empty = replace(found, threshold=1000.0)
    assert empty.area_px == 0
    with pytest.raises(BadInput, match="the prompt does not say where the object is, it has an empty mask alone"):
        segmenter.predict(PICTURE, masks=empty)


def test_a_mask_of_another_picture_is_refused(segmenter: PromptSegmenter) -> None:
    mask = segmenter.predict(disk_graphs.picture(0, height=30, width=30), points="centre")[0]
    with pytest.raises(BadInput, match="the mask is of a picture of 30 x 30 px, this one has 64 x 48"):
        segmenter.predict(PICTURE, masks=mask)


def test_a_picture_that_another_bundle_encoded_is_refused(
    segmenter: PromptSegmenter, windowed: PromptSegmenter
) -> None:
    with pytest.raises(BadInput, match="the picture was encoded by another bundle"):
        segmenter.predict(windowed.set_image(PICTURE), points="centre")


def test_requests_that_contradict_themselves_are_refused(segmenter: PromptSegmenter) -> None:
    with pytest.raises(BadUsage, match="points is given beside a Prompted"):
        segmenter.predict(Prompted(picture=PICTURE, points="centre"), points="centre")
    for rounds in (17, -1, True, 1.0, "1"):
        with pytest.raises(BadUsage, match="refine is a number of rounds from 0 to 16, not "):
            segmenter.predict(PICTURE, points="centre", refine=rounds)  # type: ignore[arg-type]
    for several in ("no", 1, np.array([True, False])):
        with pytest.raises(BadUsage, match="multimask is True or False, not "):
            segmenter.predict(PICTURE, points="centre", multimask=several)  # type: ignore[arg-type]
    segmenter.close()
    with pytest.raises(BadUsage, match="this segmenter is closed"):
        segmenter.set_image(PICTURE)


def test_one_picture_of_several_forms_gives_one_answer(segmenter: PromptSegmenter, tmp_path: Path) -> None:
    file = tmp_path / "one.png"
    cv2.imwrite(str(file), PICTURE[:, :, ::-1])
    results = [segmenter.predict(one, points="centre") for one in (PICTURE, file, file.read_bytes())]
    assert len({one[0].array.tobytes() for one in results}) == 1
    assert [one.source for one in results] == ["picture", str(file), "bytes"]


@pytest.mark.parametrize("refine", [0, 1, 2])
def test_after_a_round_the_mask_that_is_stated_for_masks_answers(tmp_path: Path, refine: int) -> None:
    """Without a box: with one, the box has its own."""
    settings = SegmentationSettings(multimask=(0, 1, 2), boxed=1, masked=0)
    path = disk_graphs.write(tmp_path / "masked.edge", windowed=True, settings=settings)
    with disk_graphs.opened(path) as segmenter:
        best = segmenter.predict(PICTURE, points=[[30, 20]], refine=0)[0].index
        assert best != 0
        assert segmenter.predict(PICTURE, points=[[30, 20]], refine=refine)[0].index == (0 if refine else best)
        assert segmenter.predict(PICTURE, boxes=[10, 10, 50, 40], refine=refine)[0].index == 1
        earlier = segmenter.predict(PICTURE, points=[[30, 20]], refine=0)[0]
        assert segmenter.predict(PICTURE, masks=earlier, refine=refine)[0].index == 0


def test_every_call_that_takes_a_picture_takes_prompts(segmenter: PromptSegmenter) -> None:
    """What `predict` says of several pictures, or of no prompt, has to help in all of them."""
    asked: dict[str, Any] = {"points": [30, 20], "multimask": True}
    wanted = [mask.area_px for mask in segmenter.predict(PICTURE, **asked).masks]
    for found in (
        segmenter(PICTURE, **asked), segmenter.submit(PICTURE, **asked).result(),
        *segmenter.predict_batch([PICTURE, PICTURE], **asked),
        *segmenter.predict_batch([Prompted(picture=PICTURE, **asked)]),
    ):  # fmt: skip
        assert [mask.area_px for mask in found.masks] == wanted
    with pytest.raises(BadInput, match=r"predict takes one picture\. Use predict_batch for several"):
        segmenter.predict([PICTURE, PICTURE], **asked)
    with pytest.raises(BadInput, match=r"there is no prompt\. Pass points=, boxes= or masks="):
        segmenter.predict_batch([PICTURE])


@pytest.mark.parametrize("name", ["predict", "predict_batch", "submit", "everything", "everything_stream", "__call__"])
def test_an_argument_that_there_is_not_is_answered_with_those_there_are(segmenter: PromptSegmenter, name: str) -> None:
    method: Any = getattr(segmenter, name)
    with pytest.raises(BadUsage, match=r"has no argument box\. .*Its arguments are (points, labels|options)"):
        method(PICTURE, box=[1, 1, 9, 9])
    if "everything" in name:
        with pytest.raises(BadUsage, match=r'no argument points_per_side\. Write options=\{"points_per_side": ...\}'):
            method(PICTURE, points_per_side=8)
    else:
        with pytest.raises(BadUsage, match=r"no argument point\. Did you mean points\? "):
            method(PICTURE, point=[30, 20])
