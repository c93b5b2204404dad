"""What a hierarchical search by grid loses, and the confident logit at which that is little. Knows no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_sdk.export.tinysam.answers import Answers, frame_of, stability_of, window_of
from edge_sdk.export.tinysam.scenes.annotated import Annotated
from edge_sdk.export.tinysam.scenes.mixture import LEAST_PX
from edge_sdk.tasks.segmentation.everything.full_size import values_at
from edge_sdk.tasks.segmentation.everything.points import coarse_points, fine_points
from edge_sdk.tasks.segmentation.everything.thresholds import FilterThresholds

LOST = 0.005
"""Mean best IoU that a threshold may cost. A confident logit that loses no segment leaves out next to nothing."""
LEAST_SEGMENTS = 100
"""From which a mean is known to half a point or so."""
MOST_FINE = 225
"""Fine points of a picture that are asked, spread evenly: of 16 points a side all, of 32 a fifth. With fewer points
about, one that is left out has fewer neighbours that show as much, so a logit that is found so is rather too high."""
DIGITS = 4
"""Of a threshold that a manifest states."""


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """A picture with S segments, searched in two steps. coarse: float64 (S,), best IoU of each segment with masks of
    the first step. fine: float64 (F, S), with those of each point of the second. level: float64 (F,), the highest logit
    of a coarse mask at the point, minus infinity where there is none: above a limit, the point is left out.
    """

    coarse: NDArray[np.float64]
    fine: NDArray[np.float64]
    level: NDArray[np.float64]

    def best(self, limit: float) -> NDArray[np.float64]:
        """float64 (S,): best IoU of each segment in the hierarchical mode, before masks suppress each other."""
        return np.asarray(self.fine[self.level <= limit].max(axis=0, initial=0.0).clip(self.coarse))


def lowest_level(
    searched: Sequence[Searched], *, lowest: float = 0.0, lost: float = LOST, least: int = LEAST_SEGMENTS
) -> float | None:
    """The lowest threshold at which the mean over segments of the best IoU is at most `lost` below that of all points,
    and no lower than `lowest`: for a confident logit the threshold of masks. None: of fewer than `least` segments
    nothing is known.

    Masks of any point count for any segment: one that is left out costs nothing where a neighbour shows as much.
    """
    if sum(len(one.coarse) for one in searched) < least:
        return None

    def mean(threshold: float) -> float:
        return float(np.concatenate([one.best(threshold) for one in searched]).mean())

    levels = np.concatenate([one.level for one in searched])
    tried = np.unique([lowest, *levels[levels > lowest]])
    enough, low, high = mean(np.inf) - lost, 0, len(tried) - 1
    while low < high:  # the higher, the more points are asked, so the mean never falls
        middle = (low + high) // 2
        low, high = (low, middle) if mean(float(tried[middle])) >= enough else (middle + 1, high)
    return float(np.ceil(tried[low] * 10**DIGITS) / 10**DIGITS)


def left_out(searched: Sequence[Searched], limit: float) -> float:
    """Share of the points of the second step whose level is above the limit."""
    levels = np.concatenate([one.level for one in searched])
    return float((levels > limit).mean())


def searched(
    one: Annotated, answers: Answers, *, side: int, points_per_side: int, passing: FilterThresholds
) -> Searched:
    """Every coarse point of a picture, and MOST_FINE of its fine ones. side: of the frame, px. passing: thresholds of
    the filters; a mask that fails them shows nothing and covers nothing, as in `CropSearch`.

    Neither a limit on the area of masks that cover, nor a higher stability asked of them, leaves out more points for
    the same loss: of 8 pictures and at 0.2 points lost, 24 % as it is, 15 % with masks below a tenth of the picture,
    14 % with a stability of 0.85."""
    frame = frame_of(one, side)
    coarse, fine = (
        np.floor(points(points_per_side, frame.width, frame.height)).astype(np.int64)
        for points in (coarse_points, fine_points)
    )
    fine = fine[:: -(-len(fine) // MOST_FINE)]
    truths = _truths(one)
    level, shown = np.full(len(fine), -np.inf), np.zeros((len(coarse) + len(fine), len(truths)))
    for number, (masks, scores, windows) in enumerate(answers(one, np.concatenate([coarse, fine]))):
        for k, logits in enumerate(masks):
            window = None if windows is None else window_of(windows[k])
            low = float(scores[k]) <= passing.predicted_iou
            if low or stability_of(logits, window, frame) < passing.stability:
                continue
            shown[number] = np.maximum(shown[number], _ious(frame.place(logits, window), truths))
            if number < len(coarse):
                level = np.maximum(level, values_at(logits, window, frame, fine))
    at_coarse, at_fine = np.split(shown, [len(coarse)])
    return Searched(at_coarse.max(axis=0, initial=0.0), at_fine, level)


def _truths(one: Annotated) -> NDArray[np.float32]:
    """Segments that are large enough, flattened, of 0 and 1: (S, h * w)."""
    flat = one.masks.reshape(len(one.masks), -1).astype(np.float32)
    return np.asarray(flat[flat.sum(1) >= LEAST_PX], np.float32)


def _ious(mask: NDArray[np.bool_], truths: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64 (S,): of one mask with each of the flattened truths, of 0 and 1, none of them empty."""
    flat = mask.reshape(-1).astype(np.float32)  # sums are exact up to 2^24 px
    common = truths @ flat
    return np.asarray(common / (truths.sum(1) + flat.sum() - common), np.float64)
