"""How far the values of one output moved between two graphs: their scale and order. Knows arrays; no graph, no task.

An error alone hides a moved scale: a detector keeps its order of boxes, and so its mAP, while every confidence falls
from 0.85 to 0.45.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_sdk.calibration.comparison.fidelity import error
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.tensors import Array

Floats: TypeAlias = NDArray[np.float64]
Values: TypeAlias = "Sequence[float] | NDArray[np.floating[Any]]"

MOST_RANKED = 2**20
"""Values that a rank correlation of `score_scale` sorts; of more, so many are drawn, always the same ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreScale:
    """One output over samples, `got` held against `wanted`.

    values: how many were compared; left_out: places where either is not finite. relative_error: as `fidelity.error`,
    over the other places; inf where all that was wanted is zero and `got` is not. median_shift: median of got - wanted,
    in the output's unit. spread: standard deviation of `wanted`, in that unit; spread_ratio: that of `got` over it,
    1 = the same, None where `wanted` is constant. rank_correlation: Spearman's, -1..1, None where either is constant.
    top1_agreement: share of rows whose largest value is in the same place, 0..1, None where the output is no
    classifier's.
    """

    values: int
    left_out: int = 0
    relative_error: float
    median_shift: float
    spread: float
    spread_ratio: float | None
    rank_correlation: float | None
    top1_agreement: float | None = None


def score_scale(wanted: Sequence[Array], got: Sequence[Array], *, classes: bool = False) -> ScoreScale | None:
    """The score scale of one output of floats. wanted, got: its arrays, a pair for each sample.

    classes: the last axis holds the scores of classes. None where nothing can be compared: shapes differ (they depend
    on the values), the output holds no floats, or no finite value. Raises BadUsage for lists of different lengths.
    """
    if len(wanted) != len(got):
        raise BadUsage(f"{len(wanted)} and {len(got)} answers: not the same samples", hint="Answer the same samples")
    if any(w.shape != g.shape or w.dtype.kind != "f" or g.dtype.kind != "f" for w, g in zip(wanted, got, strict=True)):
        return None
    old, new = _flat(wanted), _flat(got)
    finite = np.isfinite(old) & np.isfinite(new)
    left_out = len(old) - int(np.count_nonzero(finite))
    old, new = old[finite], new[finite]
    if not len(old):
        return None
    return ScoreScale(
        values=len(old), left_out=left_out, relative_error=_error(wanted, got), median_shift=median_shift(old, new),
        spread=float(old.std()), spread_ratio=spread_ratio(old, new), rank_correlation=spearman(*_few(old, new)),
        top1_agreement=top1_agreement(wanted, got) if classes else None,
    )  # fmt: skip


def _error(wanted: Sequence[Array], got: Sequence[Array]) -> float:
    both = [np.isfinite(w) & np.isfinite(g) for w, g in zip(wanted, got, strict=True)]
    old, new = ([np.where(there, a, 0.0) for there, a in zip(both, part)] for part in (wanted, got))
    found = error(old, new)
    return found if found is not None else float("inf") if any(one.any() for one in new) else 0.0


def median_shift(wanted: Values, got: Values) -> float:
    """Median of got - wanted, in their unit: of the differences, so that pairs count and not the two distributions."""
    old, new = pair(wanted, got)
    return float(np.median(new - old))


def spread_ratio(wanted: Values, got: Values) -> float | None:
    """Standard deviation of `got` over that of `wanted`; None where `wanted` is constant.

    Not the interquartile range: of a map of scores most are background, and a range that leaves out a quarter on each
    side would not see the others.
    """
    old, new = pair(wanted, got)
    if old.min() == old.max():
        return None
    return float(new.std() / old.std())


def spearman(wanted: Values, got: Values) -> float | None:
    """Rank correlation, -1..1, by Pearson on mid-ranks. None: one side is constant, the metric is undefined."""
    ranks = [midranks(side) for side in pair(wanted, got)]
    centred = [side - side.mean() for side in ranks]
    scale = math.sqrt(float(centred[0] @ centred[0]) * float(centred[1] @ centred[1]))
    return float(np.clip(centred[0] @ centred[1] / scale, -1.0, 1.0)) if scale > 0 else None


def midranks(values: Values) -> Floats:
    """Ranks from 1; equal values share the mean of their ranks. float64 (n,)."""
    _, inverse, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[inverse.reshape(-1)], dtype=np.float64)


def top1_agreement(wanted: Sequence[Array], got: Sequence[Array]) -> float | None:
    """Share of rows, along the last axis, whose largest value is in the same place: 0..1; None without any row.

    Of equal values the first counts on both sides, as `argmax` and a device take it.
    """
    same = [
        w.argmax(-1).ravel() == g.argmax(-1).ravel()
        for w, g in zip(wanted, got, strict=True)
        if w.ndim and w.size and w.shape == g.shape
    ]
    return float(np.concatenate(same).mean()) if same else None


def checked_values(values: Values, name: str) -> Floats:
    """One number or more as float64 (n,). Raises BadInput for none, for another number of axes and for NaN."""
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or found.size == 0:
        raise BadInput("no scores: a list of at least one number is needed", where=name, hint="Score some pictures")
    if np.isnan(found).any():
        index = int(np.flatnonzero(np.isnan(found))[0])
        raise BadInput(f"score {index} is NaN", where=name, hint="edge-sdk verify shows which runtime computes it")
    return found


def pair(wanted: Values, got: Values) -> tuple[Floats, Floats]:
    """Both as `checked_values`. Raises BadUsage where they are not as many."""
    old, new = checked_values(wanted, "reference"), checked_values(got, "variant")
    if len(old) != len(new):
        raise BadUsage(
            f"{len(old)} and {len(new)} scores: not the same pictures", hint="Score the same pictures with both"
        )
    return old, new


def _flat(arrays: Sequence[Array]) -> Floats:
    return np.concatenate([array.ravel() for array in arrays]).astype(np.float64) if arrays else np.empty(0)


def _few(old: Floats, new: Floats) -> tuple[Floats, Floats]:
    if len(old) <= MOST_RANKED:
        return old, new
    # Drawn, not every k-th: a step that the size of the last axis divides would see one class or coordinate alone.
    drawn = np.random.default_rng(0).integers(0, len(old), MOST_RANKED)
    return old[drawn], new[drawn]
