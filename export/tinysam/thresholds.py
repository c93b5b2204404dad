"""Thresholds of everything mode for one model, from pictures with all of their masks. Knows no network, trains nothing.

They belong to one checkpoint: its predicted IoU is an estimate on a scale of its own, and so are its logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput
from edge_sdk.export.tasks.segmentation.prompting import iou
from edge_sdk.export.tinysam.answers import OFFSET, Answers, frame_of, stability_of, window_of
from edge_sdk.export.tinysam.hierarchical import left_out, lowest_level, searched
from edge_sdk.export.tinysam.options import EVERYTHING
from edge_sdk.export.tinysam.scenes.annotated import Annotated
from edge_sdk.export.tinysam.scenes.mixture import Mixture
from edge_sdk.progress import Progress
from edge_sdk.tasks.segmentation.everything.thresholds import filter_thresholds
from edge_sdk.tasks.segmentation.frame import Frame, Window
from edge_sdk.tasks.segmentation.settings import EverythingSettings

STEPS = ("thresholds of everything mode", "hierarchical search of everything mode")
"""What `measured` does, for a plan and for progress: minutes each."""
PICTURES = 24
"""On 24 pictures lie some 800 points on masks, 2,400 answers."""
GRID = 8
"""Points a side that a picture is asked at; what lies on no mask is left out, since not every object is marked."""


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
    answers: Answers, mixture: Mixture, *, points_per_side: int, seed: int, progress: Progress, by_boxes: bool = False
) -> EverythingSettings:
    """The settings for one model, from PICTURES pictures of `mixture`: drawn scenes that no training saw, and marked
    pictures, which a training may have seen. The same model, mixture and seed give the same settings. by_boxes: of a
    model whose encoder guesses boxes; its hierarchical search goes by all of them, the surest first, and needs no
    threshold: at 0.7, segments of BSDS500's `val` are lost that drawn scenes don't show.

    Where no mask of the model is good, the thresholds of segment-anything stay, which let little through.
    """
    found: list[_Answered] = []
    pictures = [mixture.picture(np.random.default_rng([seed, 11, number])) for number in range(PICTURES)]
    for number, picture in enumerate(pictures):
        progress(number, PICTURES, STEPS[0])
        found += _answers(answers, picture, mixture.side)
    blank = EverythingSettings(
        points_per_side=points_per_side, stability_offset=OFFSET, box_agreement=0.0 if by_boxes else None
    )
    scores = (np.array([getattr(one, name) for one in found]) for name in ("predicted_iou", "stability", "actual"))
    try:
        best = filter_thresholds(*scores)
    except BadInput:  # no mask reaches the IoU of a good one: a model of a few steps
        return blank
    out = msgspec.structs.replace(blank, predicted_iou=best.predicted_iou, stability=best.stability)
    if by_boxes:
        return out
    levels = []
    for number, picture in enumerate(pictures):
        progress(number, PICTURES, STEPS[1])
        if len(picture.masks):
            levels.append(searched(picture, answers, side=mixture.side, points_per_side=points_per_side, passing=best))
    level = lowest_level(levels)
    if level is not None:
        progress(PICTURES, PICTURES, f"{STEPS[1]}: {left_out(levels, level):.0%} of further points skipped")
    return msgspec.structs.replace(out, confident_logit=level)


def _answers(answers: Answers, one: Annotated, side: int) -> Iterator[_Answered]:
    """All alternatives of each point of the grid that lies on a mask."""
    frame = frame_of(one, side)
    points = _on_masks(one, frame.height, frame.width)
    for (x, y), (masks, scores, windows) in zip(points, answers(one, points)):
        here = one.masks[one.masks[:, y, x]]
        for k, mask in enumerate(masks):
            yield _answered(mask, None if windows is None else window_of(windows[k]), float(scores[k]), frame, here)


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
        predicted_iou=predicted, stability=stability_of(logits, window, frame),
        actual=each[best],
    )  # fmt: skip
