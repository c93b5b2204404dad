"""Thresholds of everything mode for one model of the small size, from pictures with all of their masks. Trains nothing.

They belong to one checkpoint: its predicted IoU is an estimate on a scale of its own, and so are its logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from edge_sdk.errors import BadInput
from edge_sdk.export.tasks.segmentation.prompting import iou
from edge_sdk.export.tinysam import POSITIVE
from edge_sdk.export.tinysam.scenes.annotated import Annotated
from edge_sdk.export.tinysam.scenes.mixture import Mixture
from edge_sdk.export.tinysam.small.decoder import Prompts, answer
from edge_sdk.export.tinysam.small.model import SmallModel
from edge_sdk.progress import Progress
from edge_sdk.tasks.segmentation.everything.full_size import part_above
from edge_sdk.tasks.segmentation.everything.stability import stability
from edge_sdk.tasks.segmentation.everything.thresholds import LogitPrecision, filter_thresholds
from edge_sdk.tasks.segmentation.frame import Frame, Window
from edge_sdk.tasks.segmentation.settings import EverythingSettings

PICTURES = 12
"""On 12 pictures lie some 400 points on masks, 1,200 answers."""
GRID = 8
"""Points a side that a picture is asked at; what lies on no mask is left out, since not every object is marked."""
POINTS_PER_SIDE = 16
"""Of everything mode, where the bundle says nothing else: a window around a point is 0.16 of the frame at least."""
OFFSET = 1.0
"""Of the stability, as in segment-anything."""
_ROWS = 16
"""Points of one run of the decoder."""


@dataclass(frozen=True, slots=True, eq=False)
class _Answered:
    """One mask at a point. truth: the segment under the point that it fits best, bool (h, w); actual: their IoU."""

    predicted_iou: float
    stability: float
    actual: float
    logits: NDArray[np.float32]
    window: Window
    frame: Frame
    truth: NDArray[np.bool_]


def measured(model: SmallModel, mixture: Mixture, *, seed: int, progress: Progress) -> EverythingSettings:
    """The settings for `model`, in evaluation mode, from PICTURES pictures of `mixture`: drawn scenes that no training
    saw, and marked pictures, which a training may have seen. The same model, mixture and seed give the same settings.

    Where no mask of the model is good, the thresholds of segment-anything stay, which let little through.
    """
    found: list[_Answered] = []
    for number in range(PICTURES):
        progress(number, PICTURES, "thresholds of everything mode")
        found += _answers(model, mixture.picture(np.random.default_rng([seed, 11, number])))
    blank = EverythingSettings(points_per_side=POINTS_PER_SIDE, stability_offset=OFFSET)
    scores = (np.array([getattr(one, name) for one in found]) for name in ("predicted_iou", "stability", "actual"))
    try:
        best = filter_thresholds(*scores)
    except BadInput:  # no mask reaches the IoU of a good one: a model of a few steps
        return blank
    precision = LogitPrecision()
    for one in found:
        if one.predicted_iou > best.predicted_iou and one.stability >= best.stability:
            precision.add(*_at_full_size(one))
    return msgspec.structs.replace(
        blank, predicted_iou=best.predicted_iou, stability=best.stability, confident_logit=precision.confident_logit()
    )


@torch.no_grad()
def _answers(model: SmallModel, one: Annotated) -> Iterator[_Answered]:
    """Three masks for each point of the grid that lies on a mask."""
    height, width = one.picture.shape[:2]
    frame = Frame(width=width, height=height, side=model.side, extent_height=height, extent_width=width)
    image = np.zeros((1, model.side, model.side, 3), np.uint8)
    image[0, :height, :width] = one.picture
    features = model.encoder(torch.from_numpy(image), torch.tensor([[float(height), float(width)]]))
    points = _on_masks(one, height, width)
    for start in range(0, len(points), _ROWS):
        some = points[start : start + _ROWS]
        tokens = torch.from_numpy(some.astype(np.float32))[None, :, None]
        asked = Prompts(tokens, torch.full(tokens.shape[:-1], POSITIVE))
        masks, scores, windows = (tensor[0].numpy() for tensor in answer(model.decoder, features, asked))
        for row, (x, y) in enumerate(some):
            here = one.masks[one.masks[:, y, x]]
            for k in range(masks.shape[1]):
                x0, y0, x1, y1 = (float(edge) for edge in windows[row, k])
                yield _answered(masks[row, k], (x0, y0, x1, y1), float(scores[row, k]), frame, here)


def _on_masks(one: Annotated, height: int, width: int) -> NDArray[np.int64]:
    """int64 (n, 2): x and y of the points of an even grid that lie on any mask."""
    steps = (np.arange(GRID) + 0.5) / GRID
    xs, ys = (steps * width).astype(np.int64), (steps * height).astype(np.int64)
    grid = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    marked = np.logical_or.reduce(one.masks, axis=0, initial=False)
    return grid[np.asarray(marked, np.bool_)[grid[:, 1], grid[:, 0]]]


def _answered(
    logits: NDArray[np.float32], window: Window, predicted: float, frame: Frame, truths: NDArray[np.bool_]
) -> _Answered:
    """truths: bool (n, h, w), the masks under the point."""
    rows, columns = frame.valid(logits.shape[0], window)
    mask = frame.place(logits, window)
    each = [iou(mask, truth) for truth in truths]
    best = int(np.argmax(each))
    return _Answered(
        predicted_iou=predicted, stability=stability(logits[rows, columns], threshold=0.0, offset=OFFSET),
        actual=each[best], logits=logits, window=window, frame=frame, truth=truths[best],
    )  # fmt: skip


def _at_full_size(one: _Answered) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Logits of the whole window at the picture's pixels, and the segment there."""
    part = part_above(one.logits, one.window, one.frame, level=float(one.logits.min()) - 1.0)
    height, width = part.logits.shape
    return part.logits, one.truth[part.y : part.y + height, part.x : part.x + width]
