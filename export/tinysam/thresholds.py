"""Thresholds of everything mode for one model, from pictures with all of their masks. Knows no network, trains nothing.

They belong to one checkpoint: its predicted IoU is an estimate on a scale of its own, and so are its logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput
from edge_sdk.export.tasks.segmentation.prompting import iou
from edge_sdk.export.tinysam.options import EVERYTHING
from edge_sdk.export.tinysam.scenes.annotated import Annotated
from edge_sdk.export.tinysam.scenes.mixture import Mixture
from edge_sdk.progress import Progress
from edge_sdk.tasks.segmentation.everything.full_size import values_at
from edge_sdk.tasks.segmentation.everything.points import coarse_points, fine_points
from edge_sdk.tasks.segmentation.everything.stability import stability
from edge_sdk.tasks.segmentation.everything.thresholds import (
    FilterThresholds,
    confident_logit,
    cover_level,
    filter_thresholds,
)
from edge_sdk.tasks.segmentation.frame import Frame, Window
from edge_sdk.tasks.segmentation.settings import EverythingSettings

PICTURES = 24
"""On 24 pictures lie some 800 points on masks, 2,400 answers."""
GOOD_IOU = 0.75
"""From which a coarse mask shows a segment."""
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
        progress(number, PICTURES, "thresholds of everything mode")
        found += _answers(answers, picture, mixture.side)
    blank = EverythingSettings(points_per_side=points_per_side, stability_offset=OFFSET)
    scores = (np.array([getattr(one, name) for one in found]) for name in ("predicted_iou", "stability", "actual"))
    try:
        best = filter_thresholds(*scores)
    except BadInput:  # no mask reaches the IoU of a good one: a model of a few steps
        return blank
    levels = [
        level for picture in pictures
        for level in _levels(answers, picture, mixture.side, points_per_side, best)
    ]  # fmt: skip
    return msgspec.structs.replace(
        blank, predicted_iou=best.predicted_iou, stability=best.stability, confident_logit=confident_logit(levels)
    )


def _levels(
    answers: Answers, one: Annotated, side: int, points_per_side: int, best: FilterThresholds
) -> Iterator[float]:
    """`cover_level` of each segment of a picture on which a fine point lies, after a coarse pass over it."""
    frame = _frame(one, side)
    coarse, fine = (
        np.floor(points(points_per_side, frame.width, frame.height)).astype(np.int64)
        for points in (coarse_points, fine_points)
    )
    kept: list[tuple[NDArray[np.float32], Window | None]] = []
    for masks, scores, windows in answers(one, coarse):
        for k, logits in enumerate(masks):
            window = None if windows is None else _window(windows[k])
            if float(scores[k]) > best.predicted_iou and _stability(logits, window, frame) >= best.stability:
                kept.append((logits, window))
    values = np.array([values_at(logits, window, frame, fine) for logits, window in kept]).reshape(-1, len(fine))
    placed = [frame.place(logits, window) for logits, window in kept]
    for truth in one.masks:
        here = truth[fine[:, 1], fine[:, 0]]
        others = [row for row, mask in enumerate(placed) if iou(mask, truth) < GOOD_IOU]
        if here.any():
            yield -np.inf if len(others) < len(placed) else cover_level(values[others][:, here])


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
