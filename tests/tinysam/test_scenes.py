"""Drawn scenes, marked photographs and regions: what is asked for is what the pixels show. No network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import annotated_folders
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_sdk.errors import BadInput
from edge_sdk.export.tasks.segmentation.annotations import SegmentationData
from edge_sdk.export.tasks.segmentation.options import SegmentationOptions
from edge_sdk.export.tasks.segmentation.reading import read_data
from edge_sdk.export.tinysam.calibration import FramePictures
from edge_sdk.export.tinysam.scenes import annotated
from edge_sdk.export.tinysam.scenes.annotated import Annotated
from edge_sdk.export.tinysam.scenes.drawn import DRAWN_TEXTURES, LEAST_PX, LEAST_VISIBLE, Materials, _Canvas, scene
from edge_sdk.export.tinysam.scenes.mixture import LEAST_PX as LEAST_ASKED_PX
from edge_sdk.export.tinysam.scenes.mixture import Frame, Mixture, Shares, cutouts, read
from edge_sdk.export.tinysam.scenes.prefetch import Prefetch
from edge_sdk.export.tinysam.scenes.prompts import anywhere, jittered
from edge_sdk.export.tinysam.scenes.regions import regions
from edge_sdk.export.tinysam.scenes.shapes import _KINDS, jointed, shape
from edge_sdk.export.tinysam.scenes.sources import by_kind

SIDE = 96
SEEDS = st.integers(0, 2**32 - 1)
QUICK = settings(max_examples=40, deadline=None)


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def materials() -> Materials:
    """Noise instead of textures, which take seconds to draw."""
    rng = rng_of(0)
    surfaces = [rng.integers(0, 256, (40, 40, 3)).astype(np.uint8) for _ in range(DRAWN_TEXTURES)]
    cutout = np.full((20, 12, 3), 200, np.uint8), np.pad(np.ones((18, 10), np.uint8), 1)
    return Materials(surfaces, [cutout])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SegmentationData:
    folder = annotated_folders.label_maps(tmp_path_factory.mktemp("marked"), train=4)
    return read_data(folder, SegmentationOptions(kind="([a-z]+)_"))


@pytest.fixture(scope="module")
def mixture(materials: Materials, data: SegmentationData) -> Mixture:
    photographs = [annotated_folders.scene(seed, height=70, width=90)[0] for seed in range(2)]
    return Mixture(by_kind(data), photographs, materials, SIDE)


@pytest.mark.parametrize("kind", _KINDS, ids=lambda one: one.__name__)
def test_every_kind_of_outline_is_a_mask_of_about_its_radius(kind: Any) -> None:
    areas = []
    for seed in range(20):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        kind(rng_of(seed), mask, np.array([48.0, 48.0]), 20.0)
        assert set(np.unique(mask)) <= {0, 1}
        areas.append(int(mask.sum()))
        x, y, w, h = cv2.boundingRect(mask)
        assert min(x, y) >= 0
        assert max(w, h) <= 4.5 * 20, seed
    assert np.median(areas) > LEAST_PX


@QUICK
@given(
    seed=SEEDS, height=st.integers(16, 80), width=st.integers(16, 80), radius=st.floats(0.5, 60.0),
    x=st.floats(-20.0, 100.0), y=st.floats(-20.0, 100.0),
)  # fmt: skip
def test_an_outline_anywhere_is_zeros_and_ones_of_the_size_that_was_asked_for(
    seed: int, height: int, width: int, radius: float, x: float, y: float
) -> None:
    mask = shape(rng_of(seed), height, width, (x, y), radius)
    assert (mask.shape, mask.dtype) == ((height, width), np.uint8)
    assert set(np.unique(mask)) <= {0, 1}
    np.testing.assert_array_equal(mask, shape(rng_of(seed), height, width, (x, y), radius))


def test_a_scene_has_its_size_and_masks_that_are_large_enough_and_nested_or_apart(materials: Materials) -> None:
    """What covers another thing takes its pixels; only a part lies on its whole, and inside it."""
    total = 0
    for seed in range(25):
        one = scene(rng_of(seed), materials, SIDE)
        height, width = one.picture.shape[:2]
        assert max(height, width) == SIDE
        assert min(height, width) >= 0.6 * SIDE - 1
        assert (one.picture.dtype, one.masks.dtype) == (np.uint8, np.bool_)
        assert one.masks.shape[1:] == (height, width)
        areas = one.masks.sum((1, 2))
        assert (areas >= LEAST_PX).all()
        flat = one.masks.reshape(len(one.masks), height * width).astype(np.int64)
        shared = flat @ flat.T
        overlap = (shared > 0) & ~np.eye(len(areas), dtype=bool)
        assert (shared[overlap] == np.minimum(areas[:, None], areas[None])[overlap]).all(), seed
        total += len(areas)
    assert total > 100


def test_a_scene_follows_from_its_seed(materials: Materials) -> None:
    for seed in range(4):
        one, two = (scene(rng_of(seed), materials, SIDE) for _ in range(2))
        np.testing.assert_array_equal(one.picture, two.picture)
        np.testing.assert_array_equal(one.masks, two.masks)
    other = scene(rng_of(9), materials, SIDE)
    assert other.picture.shape != one.picture.shape or (other.picture != one.picture).any()


def canvas(materials: Materials, seed: int = 0) -> _Canvas:
    """An empty black one."""
    out = _Canvas(rng_of(seed), materials, 64, 64)
    out.picture[:] = 0
    return out


def disk(x: int, y: int, radius: int) -> NDArray[np.uint8]:
    mask = np.zeros((64, 64), np.uint8)
    cv2.circle(mask, (x, y), radius, 1, cv2.FILLED)
    return mask


def fill(mask: NDArray[np.uint8], value: int) -> NDArray[np.float32]:
    """A colour for what lies around the mask, 8 px of room included."""
    x, y, w, h = cv2.boundingRect(mask)
    return np.full((min(64, y + h + 8) - max(0, y - 8), min(64, x + w + 8) - max(0, x - 8), 3), value, np.float32)


def test_a_mask_is_what_was_painted(materials: Materials) -> None:
    for seed in range(5):
        made, mask = canvas(materials, seed), disk(30, 34, 15)
        made.paint(mask, fill(mask, 200), shade=False)
        one = made.done()
        np.testing.assert_array_equal(one.masks, mask[None] > 0)
        inner, outer = cv2.erode(mask, np.ones((7, 7))), cv2.dilate(mask, np.ones((9, 9)))
        assert (one.picture[inner > 0] == 200).all()
        assert (one.picture[outer == 0] == 0).all()


def test_what_covers_a_thing_takes_its_pixels_and_a_thing_hardly_seen_is_not_asked_for(materials: Materials) -> None:
    first, second = disk(24, 32, 14), disk(40, 32, 14)
    made = canvas(materials)
    for mask, value in ((first, 80), (second, 220)):
        made.paint(mask, fill(mask, value), shade=False)
    one = made.done()
    np.testing.assert_array_equal(one.masks[1], second > 0)
    np.testing.assert_array_equal(one.masks[0], (first > 0) & (second == 0))
    made = canvas(materials)
    hidden, over = disk(32, 32, 10), disk(34, 32, 12)
    for mask in (hidden, over):
        made.paint(mask, fill(mask, 100), shade=False)
    left = int(((hidden > 0) & (over == 0)).sum())
    assert left < LEAST_VISIBLE * hidden.sum()
    assert len(made.done().masks) == 1


def test_a_part_is_a_thing_of_its_own_and_its_whole_keeps_its_pixels(materials: Materials) -> None:
    made, whole, part = canvas(materials), disk(32, 32, 20), disk(32, 32, 7)
    made.paint(whole, fill(whole, 90), shade=False)
    made.paint(part, fill(part, 200), part=True, shade=False)
    np.testing.assert_array_equal(made.done().masks, np.stack([whole, part]) > 0)


def test_frames_hold_a_picture_with_prompts_that_mean_their_masks(mixture: Mixture) -> None:
    for seed in range(30):
        frame = mixture.frame(rng_of(seed))
        height, width = frame.extent
        assert (frame.image.shape, max(height, width)) == ((SIDE, SIDE, 3), SIDE)
        assert not frame.image[height:].any()
        assert not frame.image[:, width:].any()
        assert (frame.masks.shape, frame.boxes.shape, frame.points.shape) == ((9, SIDE, SIDE), (3, 4), (6, 2))
        assert set(np.unique(frame.masks)) <= {0, 1}
        assert not frame.masks[:, height:].any()
        assert not frame.masks[:, :, width:].any()
        areas = frame.masks.sum((1, 2))
        assert (areas >= LEAST_ASKED_PX).all()
        assert (areas < 0.95 * height * width).all()
        for mask, box in zip(frame.masks, frame.boxes):
            x, y, w, h = cv2.boundingRect(mask)
            moved = np.abs(box - np.array([x, y, x + w, y + h])) / np.array([w, h, w, h])
            assert moved.max() <= 0.08 + 1e-5, seed
        for mask, (x, y) in zip(frame.masks[mixture.boxes :], frame.points):
            assert mask[int(y), int(x)] == 1, seed


def same(one: Frame, two: Frame) -> bool:
    return one.extent == two.extent and all(
        np.array_equal(getattr(one, name), getattr(two, name)) for name in ("image", "masks", "boxes", "points")
    )


@pytest.mark.parametrize(
    "shares", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)], ids=["drawn", "real", "regions"]
)
def test_each_source_alone_gives_the_same_frames_for_the_same_seed(
    shares: tuple[float, float, float], mixture: Mixture
) -> None:
    drawn, real, found = shares
    alone = Mixture(
        mixture.marked,
        mixture.photographs,
        mixture.materials,
        SIDE,
        shares=Shares(drawn=drawn, real=real, regions=found),
    )
    for seed in range(4):
        assert same(alone.frame(rng_of(seed)), alone.frame(rng_of(seed)))
    assert not same(alone.frame(rng_of(0)), alone.frame(rng_of(1)))


def test_sources_that_are_not_there_are_not_drawn_from(materials: Materials) -> None:
    alone = Mixture([], [], materials, SIDE)
    for seed in range(6):
        alone.frame(rng_of(seed))


def test_a_process_of_its_own_draws_the_same_frames(mixture: Mixture) -> None:
    inline = Prefetch(mixture, batch=2, seed=3, apart=False)
    with Prefetch(mixture, batch=2, seed=3) as apart:
        for step in (4, 5):
            assert all(same(one, two) for one, two in zip(apart.frames(step), inline.frames(step), strict=True))
    assert not same(inline.frames(4)[0], inline.frames(5)[0])
    assert not same(inline.frames(4)[0], Prefetch(mixture, batch=2, seed=4, apart=False).frames(4)[0])


def test_calibration_pictures_are_the_same_each_time_they_are_asked_for(mixture: Mixture) -> None:
    pictures = FramePictures(mixture, 3, 0)
    assert len(pictures) == 3
    again = FramePictures(mixture, 3, 0)
    for at in (1, 0, 1):
        one, two = pictures[at], again[at]
        assert same(one.frame, two.frame)
        height, width = one.frame.extent
        assert one.pixels().shape == (height, width, 3)
        assert all(mask.shape == (height, width) and mask.any() for mask in one.masks(height, width))
    assert [one.path for one in pictures[:2]] == [pictures[0].path, pictures[1].path]


def test_regions_end_at_edges_and_are_found_again() -> None:
    picture = np.clip(rng_of(0).normal(60, 4, (80, 100, 3)), 0, 255).astype(np.uint8)
    picture[:, 60:] += 120
    picture[10:30, 10:40] += 90
    found = regions(picture, 500.0)
    assert (found.shape, found.dtype, int(found.min())) == ((80, 100), np.int32, 1)
    np.testing.assert_array_equal(found, regions(picture, 500.0))
    assert np.bincount(found.ravel())[1:].min() >= 20
    inner = found[14:26, 14:36], found[4:76, 64:96], found[40:76, 4:56]  # square, right half, ground
    assert [len(np.unique(one)) for one in inner] == [1, 1, 1]
    assert len({int(one[0, 0]) for one in inner}) == 3


def marked(seed: int, height: int, width: int) -> Annotated:
    rng = rng_of(seed)
    labels = np.zeros((height, width), np.uint8)
    labels[: height // 2, : width // 3] = 3
    labels[height // 2 :, width // 2 :] = 7
    return annotated.of_labels(rng.integers(0, 256, (height, width, 3)).astype(np.uint8), labels)


SIZES = st.integers(20, 70)


@QUICK
@given(seed=SEEDS, height=SIZES, width=SIZES, longest=st.integers(8, 120))
def test_scaling_keeps_shares_and_sizes(seed: int, height: int, width: int, longest: int) -> None:
    one = marked(seed, height, width)
    assert one.masks.shape == (2, height, width)
    out = annotated.scaled(one, longest)
    assert max(out.picture.shape[:2]) == longest
    assert out.masks.shape == (2, *out.picture.shape[:2])
    assert (out.masks.dtype, out.picture.dtype) == (np.bool_, np.uint8)
    before, after = one.masks.mean((1, 2)), out.masks.mean((1, 2))
    assert np.abs(before - after).max() <= 2.0 / min(out.picture.shape[:2])


@QUICK
@given(seed=SEEDS, height=SIZES, width=SIZES)
def test_every_change_of_a_picture_moves_pixels_and_masks_together(seed: int, height: int, width: int) -> None:
    """A picture that is red where the first segment is stays so."""
    one = marked(0, height, width)
    picture = np.zeros((height, width, 3), np.uint8)
    picture[one.masks[0], 0] = 255
    one = Annotated(picture, one.masks)
    rng = rng_of(seed)
    for change in (annotated.cropped, annotated.turned):
        one = change(rng, one)
        np.testing.assert_array_equal(one.picture[..., 0] > 0, one.masks[0])
    small = annotated.shrunk(rng, one)
    assert small.picture.shape == one.picture.shape
    assert small.masks.sum() <= one.masks.sum() + small.picture.shape[0] + small.picture.shape[1]


@QUICK
@given(seed=SEEDS)
def test_colours_and_wear_keep_the_form_of_a_picture(seed: int) -> None:
    picture = rng_of(1).integers(0, 256, (24, 30, 3)).astype(np.uint8)
    before = picture.copy()
    for change in (annotated.coloured, annotated.worn, annotated.glaring):
        out = change(rng_of(seed), picture)
        assert (out.shape, out.dtype) == (picture.shape, np.uint8)
        np.testing.assert_array_equal(out, change(rng_of(seed), picture))
    np.testing.assert_array_equal(picture, before)


def test_glare_falls_on_a_share_of_pictures_and_only_lightens_them() -> None:
    grey = np.full((24, 30, 3), 60, np.uint8)
    found = [annotated.glaring(rng_of(seed), grey) for seed in range(400)]
    lit = [one for one in found if not np.array_equal(one, grey)]
    assert len(lit) / 400 == pytest.approx(annotated.GLARE, abs=0.06)
    for one in lit:
        assert (one >= grey).all()
        assert np.ptp(one[..., 0]) > 0
    assert np.mean([one.max() > 180 for one in lit]) > 0.5


def test_a_thing_of_several_surfaces_changes_them_along_its_length(
    materials: Materials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece is whole across: a handle, then its blade."""
    inside = np.zeros((20, 90), bool)
    inside[6:14, 5:85] = True
    for seed in range(10):
        made = canvas(materials, seed)
        colours = iter(range(1, 9))

        def surface(rng: np.random.Generator, h: int, w: int, colours: Any = colours) -> NDArray[np.uint8]:
            return np.full((h, w, 3), next(colours), np.uint8)

        monkeypatch.setattr(made, "materials", SimpleNamespace(surface=surface))
        painted = made.several(inside)[..., 0]
        across = painted[6:14, 5:85]
        assert (across == across[:1]).all()
        changes = int((np.diff(across[0]) != 0).sum())
        assert changes in (1, 2)
        assert len(np.unique(across)) == changes + 1


@QUICK
@given(seed=SEEDS, x=st.integers(0, 40), y=st.integers(0, 40), w=st.integers(1, 20), h=st.integers(1, 20))
def test_prompts_are_drawn_from_their_masks(seed: int, x: int, y: int, w: int, h: int) -> None:
    mask = np.zeros((64, 64), bool)
    mask[y : y + h, x : x + w] = True
    px, py = anywhere(rng_of(seed), mask)
    assert mask[int(py), int(px)]
    box = np.array([x, y, x + w, y + h], np.float32)
    assert (np.abs(jittered(rng_of(seed), box, most=0.1) - box) <= 0.1 * np.array([w, h, w, h]) + 1e-4).all()


def test_objects_are_cut_out_whole_with_their_own_pixels(data: SegmentationData) -> None:
    kinds = by_kind(data)
    assert [{one.kind for one in kind} for kind in kinds] == [{"flat"}, {"round"}]
    found = cutouts(kinds, most=20, seed=0)
    assert found
    for pixels, mask in found:
        assert pixels.shape[:2] == mask.shape
        rim = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert not rim.any()
    one = read(kinds[0][0], rng_of(0))
    assert len(one.masks) == 3  # the rectangle, the disk and the speck


def test_a_label_map_of_another_size_is_refused_with_both_named(tmp_path: Path) -> None:
    folder = annotated_folders.label_maps(tmp_path, train=2)
    _, labels = annotated_folders.scene(0)
    annotated_folders.write(folder / "labels" / "train" / "round_0.png", labels[:-1])
    with pytest.raises(BadInput, match=r"the annotations are of 80 x 59 px, .*round_0\.png has 80 x 60 px"):
        read_data(folder, SegmentationOptions())


@QUICK
@given(seed=SEEDS, x=st.floats(-0.2, 1.2), y=st.floats(-0.2, 1.2), radius=st.floats(4.0, 50.0))
def test_the_parts_of_a_thing_hang_together(seed: int, x: float, y: float, radius: float) -> None:
    parts = jointed(rng_of(seed), 4 * SIDE, 4 * SIDE, (SIDE * (1 + x), SIDE * (1 + y)), radius)  # none reaches the rim
    assert 2 <= len(parts) <= 5
    whole = np.maximum.reduce(parts)
    assert set(np.unique(whole)) == {0, 1}
    pieces = np.sort(cv2.connectedComponentsWithStats(whole)[2][1:, cv2.CC_STAT_AREA])
    assert pieces[-1] >= 0.7 * pieces.sum(), "openings of a head may cut a little off"
    _, _, w, h = cv2.boundingRect(whole)
    assert 0.9 * radius < max(w, h) < 3.2 * radius + 4


def test_a_thing_of_several_parts_is_asked_for_as_a_whole(materials: Materials) -> None:
    grip, head = disk(20, 32, 10), disk(34, 32, 8)
    for seed in range(6):
        made = canvas(materials, seed)
        made.assembled([grip, head])
        one = made.done()
        np.testing.assert_array_equal(one.masks, (grip | head)[None] > 0)
        for part in (cv2.erode(grip, np.ones((5, 5))), cv2.erode(head, np.ones((5, 5)))):
            assert one.picture[part > 0].any(), "each part was painted"


def test_a_bench_holds_long_things_that_hardly_touch(materials: Materials) -> None:
    for seed in range(6):
        made = _Canvas(rng_of(seed), replace(materials, cutouts=()), SIDE, SIDE)
        made.bench(6)
        areas = [area for _, area in made.masks]
        assert areas
        seen = [int(mask.sum()) for mask, _ in made.masks]
        assert min(s / a for s, a in zip(seen, areas, strict=True)) > 0.3


def test_marked_things_keep_their_pixels_and_masks_on_another_ground() -> None:
    mask = disk(32, 32, 14)
    picture = np.where(mask[..., None] > 0, 200, 50).astype(np.uint8).repeat(3, 2)[..., :3]
    ground = np.full_like(picture, 120)
    one = Annotated(picture, mask[None] > 0)
    moved = annotated.transplanted(rng_of(0), one, ground)
    np.testing.assert_array_equal(moved.masks, one.masks)
    inner, outer = cv2.erode(mask, np.ones((9, 9))), cv2.dilate(mask, np.ones((11, 11)))
    assert (moved.picture[inner > 0] == 200).all()
    assert (moved.picture[outer == 0] == 120).all()
