"""Thresholds of everything mode for one model: the confident logit costs at most a stated part of the mean best IoU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_sdk.export.tinysam import thresholds
from edge_sdk.export.tinysam.answers import Guesses
from edge_sdk.export.tinysam.hierarchical import Searched, Searches, left_out, lowest_level
from edge_sdk.export.tinysam.scenes.annotated import Annotated
from edge_sdk.progress import silent
from edge_sdk.tasks.segmentation.everything.points import most_by_boxes
from edge_sdk.tasks.segmentation.everything.thresholds import FilterThresholds
from edge_sdk.tasks.segmentation.settings import BoxMap, EverythingSettings

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
        return Searches(answers=answers, side=64, points_per_side=16, passing=best).by_grid(picture)

    good = search(0.6, 4.0)
    assert good.coarse == pytest.approx([1.0])
    assert good.fine.shape == (209, 1)
    assert 0.4 < (good.level > 3.9).mean() < 0.6  # the left half
    for bad in (search(0.5, 4.0), search(0.6, 0.5)):  # a low prediction, logits that leave a mask when moved by 1
        assert not bad.coarse.any()
        assert not bad.fine.any()
        assert np.isneginf(bad.level).all()


MAP = BoxMap(output="sides", least=-6.5, most=0.0)
SEGMENTS = [(4, 4, 30, 28), (36, 6, 60, 40), (8, 36, 28, 60)]
"""x0, y0, x1, y1 of rectangles in a picture of 64 px."""


def marked() -> Annotated:
    masks = np.zeros((len(SEGMENTS), 64, 64), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, SEGMENTS, strict=True):
        mask[y0:y1, x0:x1] = True
    return Annotated(np.zeros((64, 64, 3), np.uint8), masks)


def guessed(one: Annotated) -> NDArray[np.float32]:
    """16 x 16 cells: the true box in the first two rectangles; elsewhere large and small ones by turns."""
    out = np.where(np.add.outer(np.arange(16), np.arange(16)) % 2, -1.5, -4.5)[None].repeat(4, 0)
    centres = (np.arange(16) + 0.5) * 4
    for x0, y0, x1, y1 in SEGMENTS[:2]:
        for i, y in enumerate(centres):
            for j, x in enumerate(centres):
                if x0 < x < x1 and y0 < y < y1:
                    out[:, i, j] = np.log(np.array([x - x0, y - y0, x1 - x, y1 - y]) / 64)
    return out[None].astype(np.float32)


def answered(one: Annotated, points: NDArray[np.int64]) -> Iterator[Answer]:
    """At each point the rectangle under it, or everything with a low predicted IoU."""
    for x, y in points:
        under = [mask for mask in one.masks if mask[y, x]]
        mask = under[0] if under else np.ones((64, 64), bool)
        yield np.where(mask, 9.0, -9.0).astype(np.float32)[None], np.array([0.9 if under else 0.1], np.float32), None


PASSING = FilterThresholds(predicted_iou=0.5, stability=0.9, precision=1.0, recall=1.0, f_score=1.0)


def test_a_search_by_boxes_shows_each_segment_at_the_level_of_its_box() -> None:
    search = Searches(answers=answered, side=64, points_per_side=16, passing=PASSING)
    found = search.by_boxes(marked(), Guesses(MAP, guessed))
    assert len(found.level) == len(found.fine) <= most_by_boxes(16)
    assert found.coarse.tolist() == [0.0, 0.0, 0.0]
    first, second, third = (found.level[found.fine[:, k] > 0.99].min(initial=1.0) for k in range(3))
    assert max(first, second) < 0.1 < third
    assert found.best(1.0)[:2] == pytest.approx([1.0, 1.0])
    assert found.best(0.1) == pytest.approx([1.0, 1.0, 0.0])


@dataclass
class Drawn:
    """As a `Mixture`, for thresholds: one picture again and again, with this many copies of its segments."""

    copies: int
    side: int = 64

    def picture(self, rng: np.random.Generator) -> Annotated:
        one = marked()
        return Annotated(one.picture, one.masks.repeat(self.copies, 0))


def measured(copies: int, answers: Any = answered) -> EverythingSettings:
    return thresholds.measured(
        answers,
        Drawn(copies),
        points_per_side=16,
        seed=0,
        progress=silent,
        guesses=Guesses(MAP, guessed),
    )


def test_the_box_agreement_keeps_the_boxes_that_show_something() -> None:
    """Of 144 segments two thirds have boxes that agree: the third kind needs lower ones, or is found by none."""
    found = measured(2)
    assert found.confident_logit is None
    search = Searches(answers=answered, side=64, points_per_side=16, passing=PASSING)
    one = search.by_boxes(marked(), Guesses(MAP, guessed))
    assert found.box_agreement is not None
    kept, everything = one.best(1.0 - found.box_agreement + 1e-4), one.best(1.0)
    assert everything.mean() - kept.mean() <= 0.005
    assert 1.0 - found.box_agreement < one.level.max()  # the ground's are left out


def test_of_few_segments_or_of_none_that_is_good_every_box_is_asked_about() -> None:
    assert measured(1).box_agreement == 0.0  # 72 segments

    def useless(one: Annotated, points: NDArray[np.int64]) -> Iterator[Answer]:
        for _ in points:
            yield np.full((1, 64, 64), 9.0, np.float32), np.array([0.9], np.float32), None

    found = measured(2, useless)
    assert (found.box_agreement, found.predicted_iou) == (0.0, EverythingSettings().predicted_iou)
