"""Thresholds of the filters of everything mode from measured samples of one model: they mean nothing for another one.

The published 0.88 (predicted IoU) and 0.95 (stability) belong to the scale of the published networks. Knows arrays; no
network, no file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput

_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterThresholds:
    """Thresholds of the two filters, and what they do to the samples: share of good masks among those that pass, share
    of good masks that pass, and their harmonic mean."""

    predicted_iou: float
    stability: float
    precision: float
    recall: float
    f_score: float


def filter_thresholds(
    predicted_iou: NDArray[np.floating], stability: NDArray[np.floating], actual_iou: NDArray[np.floating], *,
    good_iou: float = 0.75, beta: float = 1.0, steps: int = 64,
) -> FilterThresholds:  # fmt: skip
    """The pair of thresholds with the best F score for telling good masks from others.

    predicted_iou, stability, actual_iou: float (n,) of masks at the points of a grid; actual_iou is that with the
    segment that fits best. good_iou: from which a mask is good. beta: weight of recall against precision. steps:
    quantiles of each score that are tried. Of equal pairs the lower thresholds, which keep more masks. Raises BadInput:
    no samples, NaN, or no good mask among them.
    """
    scores = [np.asarray(values, np.float64) for values in (predicted_iou, stability, actual_iou)]
    if len({one.shape for one in scores}) > 1 or scores[0].ndim != 1 or not all(np.isfinite(s).all() for s in scores):
        shapes = ", ".join(str(one.shape) for one in scores)
        raise BadInput(f"the samples have shapes {shapes}, or are not finite", hint="Give three numbers for each mask")
    good = scores[2] >= good_iou
    if not good.any():
        raise BadInput(
            f"none of {len(good)} masks reaches an IoU of {good_iou:g}", hint="Train longer, or lower good_iou"
        )
    iou_edges, stability_edges = (_edges(one, steps) for one in scores[:2])
    passed = _passing(scores, iou_edges, stability_edges, np.ones(len(good)))
    right = _passing(scores, iou_edges, stability_edges, good.astype(np.float64))
    f_scores = (1 + beta**2) * right / (beta**2 * good.sum() + np.maximum(passed, 1))
    i, j = np.unravel_index(int(np.argmax(f_scores)), f_scores.shape)
    return FilterThresholds(
        predicted_iou=float(iou_edges[i]), stability=float(stability_edges[j]),
        precision=float(right[i, j] / max(passed[i, j], 1)), recall=float(right[i, j] / good.sum()),
        f_score=float(f_scores[i, j]),
    )  # fmt: skip


def _edges(scores: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Thresholds to try, ascending: one below all scores, then quantiles; rounded, since a manifest states them."""
    quantiles = np.quantile(scores, np.linspace(0.0, 1.0, steps, endpoint=False))
    return np.unique(np.round([max(0.0, float(scores.min()) - 10.0**-_DIGITS), *quantiles], _DIGITS))


def _passing(
    scores: list[NDArray[np.float64]], iou_edges: NDArray[np.float64], stability_edges: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:  # fmt: skip
    """float64 (edges, edges): weight of the samples that pass each pair: predicted IoU above, stability at or above."""
    i = np.searchsorted(iou_edges, scores[0], side="left")
    j = np.searchsorted(stability_edges, scores[1], side="right")
    table = np.zeros((len(iou_edges) + 1, len(stability_edges) + 1))
    np.add.at(table, (i, j), weights)
    upwards = table[::-1, ::-1].cumsum(axis=0).cumsum(axis=1)[::-1, ::-1]
    return np.asarray(upwards[1:, 1:], np.float64)
