"""Everything mode step by step as the official code takes it: every mask at full size, then filters, then suppression.

Slow and with a full-size array for every mask. The product has to answer the same from low resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import official
from numpy.typing import NDArray

from edge_sdk.preprocess import bilinear
from edge_sdk.tasks.segmentation.decoding import Decoded, EncodedImage
from edge_sdk.tasks.segmentation.everything.boxes import box_of, suppress
from edge_sdk.tasks.segmentation.everything.crop_search import AnswersPrompts
from edge_sdk.tasks.segmentation.everything.options import SearchOptions
from edge_sdk.tasks.segmentation.everything.points import grid
from edge_sdk.tasks.segmentation.everything.search_prompts import SearchPrompts
from edge_sdk.tasks.segmentation.frame import Frame

MASKS = (1, 2, 3)


@dataclass(frozen=True, eq=False)
class Kept:
    """A mask that passed the filters, and its logits at full size."""

    logits: NDArray[np.float32]
    predicted_iou: float
    stability: float
    point: tuple[float, float]

    @property
    def mask(self) -> NDArray[np.bool_]:
        return np.asarray(self.logits > 0)

    @property
    def key(self) -> tuple[float, float, tuple[int, int, int, int], int]:
        """What a record is recognised by: point, box and area."""
        return (*self.point, box_of(self.mask), int(self.mask.sum()))


def full_size(decoded: Decoded, row: int, mask: int, frame: Frame) -> NDArray[np.float32]:
    """float32 (H, W): one mask's logits; far below zero outside its window."""
    window, logits = decoded.window(row, mask), decoded.masks[row, mask]
    if window is None:
        return frame.whole_frame_logits(logits)
    x = ((np.arange(frame.width) + 0.5) * frame.scale_x - window[0]) / (window[2] - window[0])
    y = ((np.arange(frame.height) + 0.5) * frame.scale_y - window[1]) / (window[3] - window[1])
    out = bilinear(logits, x * logits.shape[1] - 0.5, y * logits.shape[0] - 0.5)
    inside = ((y >= 0) & (y <= 1))[:, None] & ((x >= 0) & (x <= 1))[None, :]
    return np.where(inside, out, np.float32(-1e9)).astype(np.float32)


def passed(
    decoder: AnswersPrompts, encoded: EncodedImage, points: NDArray[np.float64], options: SearchOptions
) -> list[Kept]:
    """The masks of (n, 2) points that pass both filters."""
    found = []
    for start in range(0, len(points), options.points_per_batch):
        batch = points[start : start + options.points_per_batch]
        decoded = decoder.decode(encoded, *SearchPrompts(batch).tokens(encoded.frame, decoder.tokens))
        for row in range(len(batch)):
            for mask in MASKS:
                iou = float(decoded.iou[row, mask])
                if not iou > options.predicted_iou:
                    continue
                logits = full_size(decoded, row, mask, encoded.frame)
                (stable,) = official.stability(logits[None], 0.0, options.stability_offset)
                if stable >= options.stability:
                    found.append(Kept(logits, iou, float(stable), (float(batch[row][0]), float(batch[row][1]))))
    return found


def best(kept: list[Kept], options: SearchOptions) -> list[Kept]:
    """What suppression leaves, in its order."""
    boxes = np.array([box_of(one.mask) for one in kept]).reshape(-1, 4)
    return [kept[index] for index in suppress(boxes, np.array([one.predicted_iou for one in kept]), options.nms_iou)]


def flat(decoder: AnswersPrompts, encoded: EncodedImage, options: SearchOptions) -> list[Kept]:
    points = grid(options.points_per_side) * (encoded.frame.width, encoded.frame.height)
    return best(passed(decoder, encoded, points, options), options)


def hierarchical(
    decoder: AnswersPrompts, encoded: EncodedImage, options: SearchOptions
) -> tuple[list[Kept], NDArray[np.float64]]:
    """The masks, and the fine points that were asked for. Of pictures whose sides divide by `points_per_side`."""
    frame, side = encoded.frame, options.points_per_side
    coarse = passed(decoder, encoded, grid(side // 4) * (frame.width, frame.height), options)
    confident = np.zeros((frame.height, frame.width), np.bool_)
    assert options.confident_logit is not None
    for one in coarse:
        confident |= one.logits > options.confident_logit
    points = official.fine_points(side, frame.width, frame.height)
    pixels = points.astype(np.int64)
    fine = points[~confident[pixels[:, 1], pixels[:, 0]]]
    return best([*passed(decoder, encoded, fine, options), *coarse], options), fine
