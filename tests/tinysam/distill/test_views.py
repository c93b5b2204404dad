"""Frames of photographs: views that come back, masks that lie on the picture, data that can't be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_photographs import RECIPE, SIDE, marked, photographs

from edge_sdk.errors import BadInput
from edge_sdk.export.tinysam.distill.frames import Views
from edge_sdk.export.tinysam.distill.recipe import ViewRecipe
from edge_sdk.export.tinysam.distill.teacher import key_of


def views(folder: Path, **how: int) -> Views:
    return Views(photographs(folder), SIDE, RECIPE.prompts, replace(RECIPE.views, **how), seed=3)


def test_frames_of_fixed_views_are_those_of_the_list_and_no_others(tmp_path: Path) -> None:
    drawn = views(tmp_path)
    assert drawn.whole() == 12
    listed = {key_of(drawn.pixels(k)) for k in range(12)}
    assert len(listed) == 12
    rng = np.random.default_rng(0)
    assert {key_of(drawn.frame(rng)) for _ in range(80)} == listed


def test_views_without_end_do_not_come_back(tmp_path: Path) -> None:
    drawn, rng = views(tmp_path, views=0), np.random.default_rng(0)
    assert drawn.whole() == 0
    assert len({key_of(drawn.frame(rng)) for _ in range(20)}) == 20


def test_the_first_view_is_the_whole_picture_and_the_second_its_mirror_image(tmp_path: Path) -> None:
    drawn = views(tmp_path, views=2)
    first, second = drawn.pixels(0), drawn.pixels(1)
    assert first.extent == second.extent == (48, 64)
    whole = cv2.cvtColor(cv2.imread(str(tmp_path / "0.png")), cv2.COLOR_BGR2RGB)
    small = cv2.resize(whole, (64, 48), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(first.image[:48], small)
    np.testing.assert_array_equal(second.image[:48], small[:, ::-1])
    assert not first.image[48:].any()


def test_masks_boxes_and_points_belong_together(tmp_path: Path) -> None:
    drawn, rng = views(tmp_path, views=0), np.random.default_rng(1)
    for _ in range(30):
        frame = drawn.frame(rng)
        assert (len(frame.masks), len(frame.boxes), len(frame.points)) == (4, 2, 2)
        for mask, (x0, y0, x1, y1) in zip(frame.masks[:2], frame.boxes):
            ys, xs = np.nonzero(mask)
            slack = RECIPE.prompts.jitter * max(np.ptp(xs) + 1, np.ptp(ys) + 1) + 1e-3
            np.testing.assert_allclose([x0, y0, x1, y1], [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=slack)
        for mask, (x, y) in zip(frame.masks[2:], frame.points.astype(int)):
            assert mask[y, x]
        h, w = frame.extent
        assert not frame.masks[:, h:].any()
        assert not frame.masks[:, :, w:].any()


def test_a_mask_lies_on_its_part_of_a_view(tmp_path: Path) -> None:
    """Each segment has one colour, so the picture under a mask has little spread, but for its blurred rim."""
    drawn, rng = views(tmp_path, views=0), np.random.default_rng(2)
    for _ in range(20):
        frame = drawn.frame(rng)
        for mask in frame.masks:
            inner = cv2.erode(mask, np.ones((5, 5), np.uint8)).astype(bool)
            assert not inner.any() or frame.image[inner].std(0).max() < 3.0


def test_a_map_of_another_size_than_its_picture_is_refused(tmp_path: Path) -> None:
    photographs(tmp_path, count=1)
    cv2.imwrite(str(tmp_path / "other.png"), np.ones((60, 81), np.uint8))
    wrong = marked(tmp_path / "0.png", tmp_path / "other.png")
    with pytest.raises(BadInput, match=r"other\.png: the annotations are of 81 x 60 px, its picture has 80 x 60 px"):
        Views([wrong], SIDE, RECIPE.prompts, RECIPE.views, seed=0).frame(np.random.default_rng(0))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"broken\.png: "):
        marked(tmp_path / "broken.png").read()


def test_photographs_without_a_mask_that_is_large_enough_are_refused(tmp_path: Path) -> None:
    few = Views(photographs(tmp_path), SIDE, RECIPE.prompts, ViewRecipe(least_px=4000), seed=0)
    with pytest.raises(BadInput, match=r"in 200 views no mask has 4000 px in a frame of 64 px"):
        few.frame(np.random.default_rng(0))
