"""Thresholds of everything mode for one model: the confident logit costs at most a stated part of the mean best IoU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_sdk.export.tinysam import thresholds
from edge_sdk.export.tinysam.hierarchical import Searched, left_out, lowest_level, searched
from edge_sdk.export.tinysam.scenes.annotated import Annotated
from edge_sdk.export.tinysam.scenes.mixture import Mixture
from edge_sdk.progress import silent
from edge_sdk.tasks.segmentation.everything.thresholds import FilterThresholds
from edge_sdk.tasks.segmentation.settings import EverythingSettings

Answer: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32], "NDArray[np.float32] | None"]
"""Logits of the alternatives, their predicted IoU, and their windows."""


def drawn(seed: int, pictures: int = 3) -> list[Searched]:
    rng = np.random.default_rng(seed)
    return [
        Searched(
            rng.random(40) * (rng.random(40) < 0.5), rng.random((30, 40)) ** 2,
            np.where(rng.random(30) < 0.3, -np.inf, rng.normal(1.0, 3.0, 30)),
        )
        for _ in range(pictures)
    ]  # fmt: skip


def mean(searched: list[Searched], confident: float) -> float:
    return float(np.concatenate([one.best(confident) for one in searched]).mean())


@given(seed=st.integers(0, 10_000), lost=st.floats(0.0, 0.2))
def test_it_is_the_lowest_that_costs_no_more(seed: int, lost: float) -> None:
    searched = drawn(seed)
    found = lowest_level(searched, lost=lost)
    assert found is not None
    assert found >= 0.0
    assert mean(searched, np.inf) - mean(searched, found) <= lost + 1e-12
    below = [level for one in searched for level in one.level if 0.0 < level < found - 2e-4]
    if below:
        assert mean(searched, np.inf) - mean(searched, max(below)) > lost


def test_a_point_costs_nothing_where_a_neighbour_shows_as_much() -> None:
    """100 segments, each shown by two points: with one of them left out nothing is lost, with both all is."""
    shown = np.tile(np.array([[0.9], [0.9]]), 100)
    one = Searched(np.zeros(100), shown, np.array([5.0, 2.0]))
    assert lowest_level([one]) == 2.0
    assert left_out([one], 2.0) == 0.5
    assert lowest_level([Searched(np.full(100, 0.9), shown, one.level)]) == 0.0
    assert lowest_level([one], lost=1.0) == 0.0
    assert left_out([one], 0.0) == 1.0


def test_of_few_segments_nothing_is_known() -> None:
    one = Searched(np.zeros(99), np.zeros((2, 99)), np.zeros(2))
    assert lowest_level([one]) is None
    assert lowest_level([]) is None


def test_masks_that_fail_the_filters_show_nothing_and_cover_nothing() -> None:
    """A picture of 64 px, its left half one segment, 16 points a side; answers of one mask for any point."""
    half = np.zeros((64, 64), bool)
    half[:, :32] = True
    speck = np.zeros((64, 64), bool)
    speck[:4, :5] = True  # 20 px: too few to be asked for
    picture = Annotated(np.zeros((64, 64, 3), np.uint8), np.array([half, speck]))

    def search(predicted: float, logit: float) -> Searched:
        def answers(one: Annotated, points: NDArray[np.int64]) -> Iterator[Answer]:
            for _ in points:
                yield np.where(half, logit, -logit).astype(np.float32)[None], np.array([predicted], np.float32), None

        best = FilterThresholds(predicted_iou=0.5, stability=0.9, precision=1.0, recall=1.0, f_score=1.0)
        return searched(picture, answers, side=64, points_per_side=16, passing=best)

    good = search(0.6, 4.0)
    assert good.coarse == pytest.approx([1.0])
    assert good.fine.shape == (209, 1)
    assert 0.4 < (good.level > 3.9).mean() < 0.6  # the left half
    for bad in (search(0.5, 4.0), search(0.6, 0.5)):  # a low prediction, logits that leave a mask when moved by 1
        assert not bad.coarse.any()
        assert not bad.fine.any()
        assert np.isneginf(bad.level).all()


@dataclass
class Drawn:
    """As a `Mixture`, for thresholds: a square again and again, with this many copies of it as segments."""

    copies: int
    side: int = 64

    def picture(self, rng: np.random.Generator) -> Annotated:
        mask = np.zeros((64, 64), bool)
        mask[8:40, 8:40] = True
        return Annotated(np.zeros((64, 64, 3), np.uint8), mask[None].repeat(self.copies, 0))


def measured(copies: int, *, logit: float, by_boxes: bool) -> EverythingSettings:
    """Of a model that shows the square at any point, with this logit, and is surer of it on it."""

    def answers(one: Annotated, points: NDArray[np.int64]) -> Iterator[Answer]:
        for x, y in points:
            inside = bool(one.masks[0, y, x])
            yield (
                np.where(one.masks[0], logit, -9.0).astype(np.float32)[None],
                np.array([0.9 if inside else 0.1], np.float32), None,
            )  # fmt: skip

    return thresholds.measured(
        answers, cast(Mixture, Drawn(copies)), points_per_side=16, seed=0, progress=silent, by_boxes=by_boxes
    )


@pytest.mark.parametrize("copies", [1, 8])
def test_every_box_is_asked_of_a_model_that_guesses_them(copies: int) -> None:
    for logit in (9.0, -9.0):  # a model whose masks are good, and one that shows nothing
        found = measured(copies, logit=logit, by_boxes=True)
        assert (found.box_agreement, found.confident_logit) == (0.0, None)
        default, good = EverythingSettings(), logit > 0
        assert (found.predicted_iou != default.predicted_iou) == (found.stability != default.stability) == good


def test_a_mask_of_a_fine_point_covers_no_other_one() -> None:
    """The coarse points come first; their masks fail, those of the fine points pass."""
    half = np.zeros((64, 64), bool)
    half[:, :32] = True

    def answers(one: Annotated, points: NDArray[np.int64]) -> Iterator[Answer]:
        for number, _ in enumerate(points):
            score = 0.9 if number >= 16 else 0.0
            yield np.where(half, 4.0, -4.0).astype(np.float32)[None], np.array([score], np.float32), None

    best = FilterThresholds(predicted_iou=0.5, stability=0.9, precision=1.0, recall=1.0, f_score=1.0)
    picture = Annotated(np.zeros((64, 64, 3), np.uint8), half[None])
    found = searched(picture, answers, side=64, points_per_side=16, passing=best)
    assert np.isneginf(found.level).all()
    assert found.fine.min() == pytest.approx(1.0)


def test_a_confident_logit_is_known_of_good_masks_and_enough_segments() -> None:
    found = measured(8, logit=9.0, by_boxes=False)
    assert found.box_agreement is None
    assert found.confident_logit is not None
    assert found.confident_logit < 9.0
    assert measured(1, logit=9.0, by_boxes=False).confident_logit is None  # 24 segments
    nothing = measured(8, logit=-9.0, by_boxes=False)
    assert (nothing.confident_logit, nothing.predicted_iou) == (None, EverythingSettings().predicted_iou)
