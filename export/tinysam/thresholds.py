"""Thresholds of everything mode for one model, from pictures with all of their masks. Knows no network, trains nothing.

They belong to one checkpoint: its predicted IoU is an estimate on a scale of its own, and so are its logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput
from edge_sdk.export.tasks.segmentation.prompting import iou
from edge_sdk.export.tinysam.options import EVERYTHING
from edge_sdk.export.tinysam.scenes.annotated import Annotated
from edge_sdk.export.tinysam.scenes.mixture import LEAST_PX, Mixture
from edge_sdk.progress import Progress
from edge_sdk.tasks.segmentation.everything.full_size import values_at
from edge_sdk.tasks.segmentation.everything.points import coarse_points, fine_points
from edge_sdk.tasks.segmentation.everything.stability import stability
from edge_sdk.tasks.segmentation.everything.thresholds import FilterThresholds, filter_thresholds
from edge_sdk.tasks.segmentation.frame import Frame, Window
from edge_sdk.tasks.segmentation.settings import EverythingSettings

STEPS = ("thresholds of everything mode", "confident logit of everything mode")
"""What `measured` does, for a plan and for progress: minutes each."""
PICTURES = 24
"""On 24 pictures lie some 800 points on masks, 2,400 answers."""
LOST = 0.005
"""Mean best IoU that the confident logit may cost. A rule that loses no segment leaves out next to nothing: with the
weights that ship, on 14 pictures, 17 % of the fine points at 2.86 (0.1 points lost) and 28 % at 1.44 (0.5 points)."""
LEAST_SEGMENTS = 100
"""From which a mean is known to half a point or so."""
MOST_FINE = 225
"""Fine points of a picture that are asked, spread evenly: of 16 points a side all, of 32 a fifth. With fewer points
about, one that is left out has fewer neighbours that show as much, so a logit that is found so is rather too high."""
_DIGITS = 4
GRID = 8
"""Points a side that a picture is asked at; what lies on no mask is left out, since not every object is marked."""
OFFSET = 1.0
"""Of the stability, as in segment-anything."""
Answers: TypeAlias = Callable[
    [Annotated, NDArray[np.int64]],
    Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]],
]
"""A model's answers to points (n, 2) = (x, y) on a picture: for each point the logits of its alternatives (K, m, m),
their predicted IoU (K,) and windows (K, 4) in px, None = the whole frame."""


@dataclass(frozen=True, slots=True, eq=False)
class _Answered:
    """One mask at a point. actual: IoU with the segment under the point that it fits best."""

    predicted_iou: float
    stability: float
    actual: float


def stated(facts: Mapping[str, Any]) -> EverythingSettings:
    """The thresholds that a model's file states; those of segment-anything, without a confident logit, where it states
    none. Raises BadInput for a file that states others than there are."""
    try:
        return msgspec.convert(facts.get(EVERYTHING, {}), EverythingSettings)
    except msgspec.ValidationError as exc:
        raise BadInput(
            f"the model's file states no thresholds of everything mode: {exc}", hint="Train it again"
        ) from exc


def measured(
    answers: Answers, mixture: Mixture, *, points_per_side: int, seed: int, progress: Progress
) -> EverythingSettings:
    """The settings for one model, from PICTURES pictures of `mixture`: drawn scenes that no training saw, and marked
    pictures, which a training may have seen. The same model, mixture and seed give the same settings.

    Where no mask of the model is good, the thresholds of segment-anything stay, which let little through.
    """
    found: list[_Answered] = []
    pictures = [mixture.picture(np.random.default_rng([seed, 11, number])) for number in range(PICTURES)]
    for number, picture in enumerate(pictures):
        progress(number, PICTURES, STEPS[0])
        found += _answers(answers, picture, mixture.side)
    blank = EverythingSettings(points_per_side=points_per_side, stability_offset=OFFSET)
    scores = (np.array([getattr(one, name) for one in found]) for name in ("predicted_iou", "stability", "actual"))
    try:
        best = filter_thresholds(*scores)
    except BadInput:  # no mask reaches the IoU of a good one: a model of a few steps
        return blank
    searched = []
    for number, picture in enumerate(pictures):
        progress(number, PICTURES, STEPS[1])
        if len(picture.masks):
            searched.append(_searched(answers, picture, mixture.side, points_per_side, best))
    confident = confident_logit(searched)
    if confident is not None:
        progress(
            PICTURES,
            PICTURES,
            f"confident logit {confident}: {left_out(searched, confident):.0%} of fine points skipped",
        )
    return msgspec.structs.replace(
        blank, predicted_iou=best.predicted_iou, stability=best.stability, confident_logit=confident
    )


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """A picture with S segments, searched by coarse points and F fine ones. coarse: float64 (S,), best IoU of each
    segment with the coarse masks. fine: float64 (F, S), with the masks of each fine point. level: float64 (F,), highest
    logit of a coarse mask at each fine point, minus infinity where there is none: with a confident logit below it the
    point is left out."""

    coarse: NDArray[np.float64]
    fine: NDArray[np.float64]
    level: NDArray[np.float64]

    def best(self, confident: float) -> NDArray[np.float64]:
        """float64 (S,): best IoU of each segment in the hierarchical mode, before masks suppress each other."""
        return np.asarray(self.fine[self.level <= confident].max(axis=0, initial=0.0).clip(self.coarse))


def confident_logit(
    searched: Sequence[Searched], *, lowest: float = 0.0, lost: float = LOST, least: int = LEAST_SEGMENTS
) -> float | None:
    """The lowest confident logit at which the mean over segments of the best IoU is at most `lost` below that of all
    fine points, and no lower than `lowest`, the threshold of masks. None: of fewer than `least` segments nothing is
    known.

    Masks of any point count for any segment: one that is left out costs nothing where a neighbour shows as much.
    """
    if sum(len(one.coarse) for one in searched) < least:
        return None

    def mean(confident: float) -> float:
        return float(np.concatenate([one.best(confident) for one in searched]).mean())

    levels = np.concatenate([one.level for one in searched])
    tried = np.unique([lowest, *levels[levels > lowest]])
    enough, low, high = mean(np.inf) - lost, 0, len(tried) - 1
    while low < high:  # the higher, the more points are asked, so the mean never falls
        middle = (low + high) // 2
        low, high = (low, middle) if mean(float(tried[middle])) >= enough else (middle + 1, high)
    return float(np.ceil(tried[low] * 10**_DIGITS) / 10**_DIGITS)


def left_out(searched: Sequence[Searched], confident: float) -> float:
    """Share of the fine points."""
    levels = np.concatenate([one.level for one in searched])
    return float((levels > confident).mean())


def _searched(answers: Answers, one: Annotated, side: int, points_per_side: int, best: FilterThresholds) -> Searched:
    """Every coarse point of a picture, and MOST_FINE of its fine ones.

    Masks count and cover as in `CropSearch`: those that pass the filters. Neither a limit on the area of masks that
    cover, nor a higher stability asked of them, leaves out more points for the same loss: of 8 pictures and at 0.2
    points lost, 24 % as it is, 15 % with masks below a tenth of the picture, 14 % with a stability of 0.85.
    """
    frame = _frame(one, side)
    coarse, fine = (
        np.floor(points(points_per_side, frame.width, frame.height)).astype(np.int64)
        for points in (coarse_points, fine_points)
    )
    fine = fine[:: -(-len(fine) // MOST_FINE)]
    truths = one.masks.reshape(len(one.masks), -1).astype(np.float32)
    truths = truths[truths.sum(1) >= LEAST_PX]
    level = np.full(len(fine), -np.inf)
    shown = np.zeros((len(coarse) + len(fine), len(truths)))
    for number, (masks, scores, windows) in enumerate(answers(one, np.concatenate([coarse, fine]))):
        for k, logits in enumerate(masks):
            window = None if windows is None else _window(windows[k])
            if float(scores[k]) <= best.predicted_iou or _stability(logits, window, frame) < best.stability:
                continue
            shown[number] = np.maximum(shown[number], _ious(frame.place(logits, window), truths))
            if number < len(coarse):
                level = np.maximum(level, values_at(logits, window, frame, fine))
    at_coarse, at_fine = np.split(shown, [len(coarse)])
    return Searched(at_coarse.max(axis=0, initial=0.0), at_fine, level)


def _ious(mask: NDArray[np.bool_], truths: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64 (S,): of one mask with each of the flattened truths, of 0 and 1, none of them empty."""
    flat = mask.reshape(-1).astype(np.float32)  # sums are exact up to 2^24 px
    common = truths @ flat
    return np.asarray(common / (truths.sum(1) + flat.sum() - common), np.float64)


def _answers(answers: Answers, one: Annotated, side: int) -> Iterator[_Answered]:
    """All alternatives of each point of the grid that lies on a mask."""
    frame = _frame(one, side)
    points = _on_masks(one, frame.height, frame.width)
    for (x, y), (masks, scores, windows) in zip(points, answers(one, points)):
        here = one.masks[one.masks[:, y, x]]
        for k, mask in enumerate(masks):
            yield _answered(mask, None if windows is None else _window(windows[k]), float(scores[k]), frame, here)


def _frame(one: Annotated, side: int) -> Frame:
    """Of a picture whose longest side is the frame's."""
    height, width = one.picture.shape[:2]
    return Frame(width=width, height=height, side=side, extent_height=height, extent_width=width)


def _stability(logits: NDArray[np.float32], window: Window | None, frame: Frame) -> float:
    return stability(logits[frame.valid(logits.shape[0], window)], threshold=0.0, offset=OFFSET)


def _window(edges: NDArray[np.float32]) -> Window:
    x0, y0, x1, y1 = (float(edge) for edge in edges)
    return x0, y0, x1, y1


def _on_masks(one: Annotated, height: int, width: int) -> NDArray[np.int64]:
    """int64 (n, 2): x and y of the points of an even grid that lie on any mask."""
    steps = (np.arange(GRID) + 0.5) / GRID
    xs, ys = (steps * width).astype(np.int64), (steps * height).astype(np.int64)
    grid = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    marked = np.logical_or.reduce(one.masks, axis=0, initial=False)
    return grid[np.asarray(marked, np.bool_)[grid[:, 1], grid[:, 0]]]


def _answered(
    logits: NDArray[np.float32], window: Window | None, predicted: float, frame: Frame, truths: NDArray[np.bool_]
) -> _Answered:
    """truths: bool (n, h, w), the masks under the point."""
    mask = frame.place(logits, window)
    each = [iou(mask, truth) for truth in truths]
    best = int(np.argmax(each))
    return _Answered(
        predicted_iou=predicted, stability=_stability(logits, window, frame),
        actual=each[best],
    )  # fmt: skip
