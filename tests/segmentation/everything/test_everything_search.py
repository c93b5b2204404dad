"""The search answers what the official steps answer, in bounded memory, as a stream that can be stopped."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import official_steps
import pytest
from disks import Disk, Disks, drawn, encode, frame_of
from msgspec.structs import replace as changed
from numpy.typing import NDArray

from edge_sdk.errors import Stopped
from edge_sdk.progress import Progress, silent
from edge_sdk.tasks.segmentation.decoding import Decoded, EncodedImage
from edge_sdk.tasks.segmentation.everything.candidates import HELD_BYTES
from edge_sdk.tasks.segmentation.everything.crop_search import AnswersPrompts
from edge_sdk.tasks.segmentation.everything.crops import Crop
from edge_sdk.tasks.segmentation.everything.options import SearchOptions, resolved
from edge_sdk.tasks.segmentation.everything.search import Search
from edge_sdk.tasks.segmentation.settings import EverythingSettings

SCENE: list[Disk] = [(60.0, 50.0, 20.0), (150.0, 100.0, 40.0), (155.0, 105.0, 12.0), (225.0, 30.0, 17.0)]
WIDTH, HEIGHT = 256, 192
OPTIONS = resolved(
    EverythingSettings(points_per_side=16, stability=0.9, predicted_iou=0.8, confident_logit=8.5),
    {"stability_slack": 1.0},
)


def search(
    decoder: AnswersPrompts, options: SearchOptions = OPTIONS, *, width: int = WIDTH, height: int = HEIGHT,
    progress: Progress = silent, held_bytes: int = HELD_BYTES, encoder: Any = encode,
) -> Search:  # fmt: skip
    return Search(
        encoder, decoder, options, width=width, height=height, masks=official_steps.MASKS, progress=progress,
        held_bytes=held_bytes,
    )  # fmt: skip


def whole(width: int = WIDTH, height: int = HEIGHT) -> EncodedImage:
    return encode(Crop((0, 0, width, height), 0))


def keys(found: Search) -> list[Any]:
    return [(*one.point, one.box, one.area_px) for one in found]


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


SIZES = [(256, 192), (100, 256), (640, 480), (333, 222), (37, 64)]


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_flat_mode_answers_what_the_official_steps_answer(width: int, height: int, windows: bool) -> None:
    scale = np.array([width / WIDTH, height / HEIGHT, min(width / WIDTH, height / HEIGHT)])
    disks = [(float(x), float(y), float(r)) for x, y, r in np.array(SCENE) * scale]
    decoder = Disks(disks, steep=3.0 / scale[2], windows=windows)
    wanted = official_steps.flat(decoder, whole(width, height), OPTIONS)
    found = list(search(decoder, width=width, height=height))
    assert len(wanted) >= 4
    assert [(*one.point, one.box, one.area_px) for one in found] == [one.key for one in wanted]
    np.testing.assert_allclose([one.stability for one in found], [one.stability for one in wanted])
    assert all(np.array_equal(one.array, other.mask) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("windows", [False, True])
def test_the_hierarchical_mode_answers_what_the_official_steps_answer(windows: bool) -> None:
    decoder = Disks(SCENE, steep=3.0, windows=windows)
    options = changed(OPTIONS, hierarchical=True, confident_logit=6.0)
    wanted, fine = official_steps.hierarchical(decoder, whole(), options)
    found = search(decoder, options)
    assert keys(found) == [one.key for one in wanted]
    assert found.counts.asked == 16 + len(fine)
    assert found.counts.asked + found.counts.left_out == found.counts.points == 15 * 15
    assert found.counts.left_out > 10


def test_the_hierarchical_mode_finds_the_objects_of_the_flat_mode_with_fewer_points() -> None:
    options = changed(OPTIONS, points_per_side=32)
    flat, fewer = search(Disks(SCENE, steep=3.0), options), search(
        Disks(SCENE, steep=3.0), changed(options, hierarchical=True, confident_logit=6.0)
    )  # fmt: skip
    masks, others = [one.array for one in flat], [one.array for one in fewer]
    assert len(masks) == len(others)
    assert all(max(iou(mask, other) for other in others) > 0.95 for mask in masks)
    assert fewer.counts.asked < 0.9 * flat.counts.asked


def test_a_coarse_pass_that_covers_the_picture_ends_the_search() -> None:
    decoder = Disks([(128.0, 96.0, 300.0)], iou=(0.95, 0.1, 0.1), steep=3.0)
    found = search(decoder, changed(OPTIONS, hierarchical=True, confident_logit=1.0))
    (one,) = found
    assert one.box == (0, 0, WIDTH, HEIGHT)
    assert one.area_px == WIDTH * HEIGHT
    assert decoder.calls == [16]
    assert found.counts.left_out == 15 * 15 - 16


@pytest.mark.parametrize("hierarchical", [False, True])
def test_a_picture_with_nothing_in_it_has_no_masks(hierarchical: bool) -> None:
    found = search(Disks([]), changed(OPTIONS, hierarchical=hierarchical, stability=0.0, predicted_iou=-1.0))
    assert list(found) == []
    assert found.counts.candidates == 0


@pytest.mark.parametrize(("width", "height"), [(1, 1), (20000, 1), (1, 700), (3, 2)])
@pytest.mark.parametrize("hierarchical", [False, True])
def test_pictures_of_any_shape_are_searched(width: int, height: int, hierarchical: bool) -> None:
    decoder = Disks([(width / 2, height / 2, width + height)], steep=1000.0)
    options = changed(OPTIONS, points_per_side=4, hierarchical=hierarchical)
    first, *_ = search(decoder, options, width=width, height=height)
    assert first.box == (0, 0, width, height)
    assert first.area_px == width * height


@pytest.mark.parametrize("held_bytes", [0, 500, 3000])
@pytest.mark.parametrize("hierarchical", [False, True])
def test_logits_that_do_not_fit_are_decoded_again_and_change_nothing(held_bytes: int, hierarchical: bool) -> None:
    options = changed(OPTIONS, hierarchical=hierarchical, nms_iou=0.99)
    wanted = keys(search(Disks(SCENE, steep=3.0), options))
    found = search(Disks(SCENE, steep=3.0), options, held_bytes=held_bytes)
    assert keys(found) == wanted
    assert found.counts.again > 0


def _peak_bytes(side: int) -> int:
    decoder = Disks([(128.0, 96.0, 90.0)], steep=3.0)
    options = changed(OPTIONS, points_per_side=side, points_per_batch=16)
    tracemalloc.start()
    try:
        assert list(search(decoder, options, held_bytes=2**18))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_peak_memory_does_not_grow_with_the_number_of_points() -> None:
    """Of 32 x 32 points 1,060 masks pass: 17 MB of logits at low resolution, 208 MB at full size."""
    few, many = _peak_bytes(8), _peak_bytes(32)
    assert many - few < 2**20  # records of candidates without their logits
    assert many < 3 * 2**20


class _Untouchable(np.ndarray[Any, Any]):
    """Mask logits that nobody may look into."""

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError("pixels were looked at")


def test_masks_of_low_predicted_iou_are_dropped_before_a_pixel_is_looked_at() -> None:
    class Poor(Disks):
        def decode(self, encoded: EncodedImage, tokens: Any, labels: Any, /) -> Decoded:
            answered = super().decode(encoded, tokens, labels)
            return replace(answered, masks=answered.masks.view(_Untouchable))

    assert list(search(Poor(SCENE, iou=(0.8, 0.7, 0.6)))) == []  # at the threshold is not above it
    with pytest.raises(AssertionError, match="pixels were looked at"):
        list(search(Poor(SCENE, iou=(0.81, 0.7, 0.6))))


def test_a_mask_is_measured_at_full_size_only_within_the_slack() -> None:
    """Disks of 64 x 64 cells, at an offset of a cell: low resolution is off by a few per cent."""
    decoder, all_masks = Disks(SCENE, steep=0.5), changed(OPTIONS, nms_iou=1.0)
    exact = {(*one.point, one.box): one.stability for one in search(decoder, changed(all_masks, stability=0.0))}
    threshold = sorted(set(exact.values()))[2]
    options = changed(all_masks, stability=threshold)
    wanted = {key for key, value in exact.items() if value >= threshold}
    assert {(*one.point, one.box) for one in search(decoder, options)} == wanted
    fewer = list(search(decoder, changed(options, stability_slack=0.0)))
    assert all(one.stability >= threshold for one in fewer)
    assert {(*one.point, one.box) for one in fewer} < wanted


def test_tokens_beyond_the_point_and_its_padding_are_none() -> None:
    seen: list[NDArray[np.int32]] = []

    class Five(Disks):
        def decode(self, encoded: EncodedImage, tokens: Any, labels: Any, /) -> Decoded:
            seen.append(labels)
            return super().decode(encoded, tokens, labels)

    assert list(search(Five(SCENE, steep=3.0, tokens=5)))
    assert all((labels == (1, -1, -2, -2, -2)).all() for labels in seen)


class Narrow(Disks):
    """Sees only disks of at least 10 px of its frame: small ones need a crop."""

    def decode(self, encoded: EncodedImage, tokens: Any, labels: Any, /) -> Decoded:
        seen = [one for one in self.disks if one[2] * encoded.frame.scale_x >= 10]
        return Disks(seen, steep=self.steep, iou=self.iou).decode(encoded, tokens, labels)


def test_crops_show_what_is_too_small_in_the_whole_picture_and_drop_what_they_cut() -> None:
    small, cut = (60.0, 50.0, 9.0), (128.0, 96.0, 40.0)
    decoder = Narrow([small, cut], steep=30.0, iou=(0.95, 0.1, 0.1))
    size = {"width": WIDTH, "height": HEIGHT}
    assert [one.crop for one in search(decoder)] == [(0, 0, WIDTH, HEIGHT)]
    first, second = search(decoder, changed(OPTIONS, crop_layers=1))
    assert first.crop != second.crop == (0, 0, WIDTH, HEIGHT)
    assert iou(first.array, drawn(small, **size)) > 0.9
    assert iou(second.array, drawn(cut, **size)) > 0.95
    assert iou(first.array, drawn((first.point[0] + 0.5, first.point[1] + 0.5, 9.0), **size)) > 0.1


def test_of_one_object_in_two_crops_the_mask_of_the_smaller_one_stays() -> None:
    decoder = Disks([(60.0, 50.0, 20.0)], steep=3.0, iou=(0.95, 0.1, 0.1))
    (one,) = search(decoder, changed(OPTIONS, crop_layers=1))
    assert one.crop == (0, 0, 161, 129)
    both = list(search(decoder, changed(OPTIONS, crop_layers=1, crop_nms_iou=1.0)))
    assert [mask.crop[2] for mask in both[:1]] == [161]
    assert both[-1].crop == (0, 0, WIDTH, HEIGHT)


def test_masks_of_a_crop_come_before_the_next_crop_is_encoded_and_no_more_is_after_cancelling() -> None:
    encoded: list[Crop] = []

    def counted(crop: Crop) -> EncodedImage:
        encoded.append(crop)
        return encode(crop)

    stream = iter(search(Disks(SCENE, steep=3.0), changed(OPTIONS, crop_layers=1), encoder=counted))
    first = next(stream)
    assert [crop.box for crop in encoded] == [first.crop]
    stream.close()  # type: ignore[attr-defined]  # a generator
    assert len(encoded) == 1


def test_progress_counts_points_to_the_end_and_what_it_raises_ends_the_search() -> None:
    seen: list[tuple[int, int, str]] = []
    options = changed(OPTIONS, hierarchical=True, confident_logit=6.0, points_per_batch=10)
    found = list(search(Disks(SCENE, steep=3.0), options, progress=lambda *state: seen.append(state)))
    done = [one[0] for one in seen]
    assert seen[0] == (0, 225, "0 masks, 0 candidates")
    assert done == sorted(done)
    assert {one[1] for one in seen} == {15 * 15}
    assert seen[-1] == (225, 225, f"{len(found)} masks, {seen[-1][2].split(', ')[1]}")

    def stop(done: int, total: int, note: str) -> None:
        if done >= 30:
            raise Stopped("enough")

    decoder = Disks(SCENE, steep=3.0)
    with pytest.raises(Stopped):
        list(search(decoder, changed(OPTIONS, points_per_batch=10), progress=stop))
    assert decoder.calls == [10, 10, 10]


@pytest.mark.parametrize("hierarchical", [False, True])
@pytest.mark.parametrize(("batch", "rows"), [(64, 5), (7, 1000), (64, 64)])
def test_progress_is_shown_before_the_first_point_and_after_each_call_of_the_decoder(
    batch: int, rows: int, hierarchical: bool
) -> None:
    """However few points a call takes; and the masks are those of one call."""
    seen: list[int] = []
    decoder = Disks(SCENE, steep=3.0, most_rows=rows)
    options = changed(OPTIONS, hierarchical=hierarchical, points_per_batch=batch)
    found = search(decoder, options, progress=lambda done, total, note: seen.append(done))
    assert keys(found) == keys(search(Disks(SCENE, steep=3.0), changed(options, points_per_batch=1000)))
    assert seen[0] == 0
    assert len(seen) == 1 + len(decoder.calls) + 1
    assert max(decoder.calls) == min(batch, rows)


def test_a_search_can_be_run_again() -> None:
    found = search(Disks(SCENE, steep=3.0))
    assert keys(found) == keys(found)
    assert found.counts.asked == found.counts.points == 256


class Speckled(Disks):
    """Its masks have an island of one cell beside them."""

    def decode(self, encoded: EncodedImage, tokens: Any, labels: Any, /) -> Decoded:
        answered = super().decode(encoded, tokens, labels)
        answered.masks[:, 1, 2, 2] = 3000.0
        return answered


def test_small_regions_are_cleaned_at_full_size_and_copies_dropped() -> None:
    decoder = Speckled([(150.0, 100.0, 40.0)], steep=3.0, iou=(0.95, 0.1, 0.1))
    (rough,) = search(decoder)
    (clean,) = search(decoder, changed(OPTIONS, min_region_area_px=100))
    assert rough.box[:2] < (12, 12)
    assert clean.cleaned
    assert clean.box == (110, 60, 190, 140)
    assert iou(clean.array, drawn((150.0, 100.0, 40.0), WIDTH, HEIGHT)) > 0.98
    untouched = list(search(Disks(SCENE, steep=3.0), changed(OPTIONS, min_region_area_px=5)))
    assert not any(one.cleaned for one in untouched)


def test_a_mask_reaching_into_the_padding_is_measured_where_the_picture_is() -> None:
    """Half of the frame is padding; a mask that is all noise there is stable all the same."""

    class Noisy(Disks):
        def decode(self, encoded: EncodedImage, tokens: Any, labels: Any, /) -> Decoded:
            answered = super().decode(encoded, tokens, labels)
            rows, _ = encoded.frame.valid(self.cells)
            answered.masks[:, :, rows.stop + 2 :] = 0.5
            return answered

    disks: Sequence[Disk] = [(128.0, 40.0, 30.0)]
    wide = {"width": 256, "height": 80}
    options = changed(OPTIONS, stability_slack=0.02)
    clean = keys(search(Disks(disks, steep=3.0), options, **wide))
    assert keys(search(Noisy(disks, steep=3.0), options, **wide)) == clean
    assert clean
    assert frame_of(256, 80).extent_height == 80
