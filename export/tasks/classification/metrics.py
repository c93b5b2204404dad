"""From class scores to the metrics of a bundle's table: quality where labels are known, agreement everywhere.

Knows scores, labels and parts; no runtime, no graph, no family.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk.calibration.comparison.score_scale import ScoreScale, median_shift, score_scale
from edge_sdk.export.each_runtime import RanOn
from edge_sdk.export.tasks.classification.evaluate import ClassScores
from edge_sdk.intervals import clopper_pearson, korn_graubard, student_t

Interval: TypeAlias = tuple[float, float]
TOP = 5
"""Of the second accuracy, where there are more classes than that."""
DRAWS = 2000
"""Of a bootstrap, with seed 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Against the labels. correct: samples whose first class is right, of `samples`; accuracy their share, 0..1.

    interval: 95 %, exact (Clopper-Pearson) where each sample is a part of its own, else of Korn and Graubard. top5:
    share with the right class among the first TOP, None with no more classes than that. change: of the accuracy against
    the reference, with its paired interval; lost, gained: samples right there and wrong here, and the other way round;
    None in the reference. confusion: (true class, first class, samples) of every pair that occurs, most frequent first.
    """

    samples: int
    correct: int
    accuracy: float
    interval: Interval
    top5: float | None
    change: float | None = None
    change_interval: Interval | None = None
    lost: int | None = None
    gained: int | None = None
    confusion: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Against the reference, on the same samples. changed: first classes that differ, of `samples`; changed_upper:
    one-sided 95 % upper bound of their share, None where samples share parts (they are not independent then).

    confidence_shift: median change of the probability of the reference's first class. scale: of the class scores as the
    graph answers them.
    """

    samples: int
    changed: int
    changed_upper: float | None
    confidence_shift: float
    scale: ScoreScale | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(RanOn):
    """One line of the table. reference: the others are held against this row. confidence: median probability of the
    first class. quality: None without labels. agreement: None in the reference, and where no fp32 graph ran. problem:
    also why there are no metrics."""

    reference: bool = False
    confidence: float | None = None
    quality: Quality | None = None
    agreement: Agreement | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON object."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def rows(scored: Sequence[ClassScores], truth: Sequence[int] | None, parts: Sequence[str] = ()) -> list[Row]:
    """The table, each row held against the first fp32 graph that ran. truth: index of each sample's class, same order;
    None: not labelled. parts: names of their parts, () = each sample is a part of its own."""
    reference = next((one for one in scored if one.variant == "fp32" and one.probabilities is not None), None)
    labels = None if truth is None else np.asarray(truth)
    return [_row(one, reference, labels, parts) for one in scored]


def _row(one: ClassScores, reference: ClassScores | None, truth: NDArray[Any] | None, parts: Sequence[str]) -> Row:
    if one.scores is None or one.probabilities is None:
        return Row(**one.facts())
    first = one.probabilities.argmax(-1)
    other = None if reference is one or reference is None else reference.probabilities
    return Row(
        **one.facts(), reference=one is reference, confidence=float(np.median(one.probabilities.max(-1))),
        quality=None if truth is None else _quality(one.probabilities, other, truth, parts),
        agreement=None if other is None or reference is None or reference.scores is None else Agreement(
            samples=len(first), changed=(changed := int(np.count_nonzero(first != other.argmax(-1)))),
            changed_upper=None if _shared(parts) else clopper_pearson(changed, len(first), side="upper")[1],
            confidence_shift=_confidence_shift(other, one.probabilities),
            scale=score_scale([reference.scores], [one.scores], classes=True),
        ),
    )  # fmt: skip


def _confidence_shift(wanted: NDArray[Any], got: NDArray[Any]) -> float:
    """Median change of the probability that the reference's first class has: another first class may be as sure."""
    at = wanted.argmax(-1)[:, None]
    return median_shift(np.take_along_axis(wanted, at, -1)[:, 0], np.take_along_axis(got, at, -1)[:, 0])


def _quality(
    shares: NDArray[Any], reference: NDArray[Any] | None, truth: NDArray[Any], parts: Sequence[str]
) -> Quality:
    first = shares.argmax(-1)
    right = first == truth
    pairs = Counter(zip(truth.tolist(), first.tolist(), strict=True))
    was = None if reference is None else reference.argmax(-1) == truth
    return Quality(
        samples=len(truth), correct=int(right.sum()), accuracy=float(right.mean()),
        interval=share_interval(right, parts),
        top5=None if shares.shape[1] <= TOP else float((_ranks(shares, truth) < TOP).mean()),
        change=None if was is None else float(right.mean() - was.mean()),
        change_interval=None if was is None else change_interval(was, right, parts),
        lost=None if was is None else int((was & ~right).sum()),
        gained=None if was is None else int((~was & right).sum()),
        confusion=tuple((*pair, count) for pair, count in sorted(pairs.items(), key=lambda one: (-one[1], one[0]))),
    )  # fmt: skip


def _ranks(shares: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.int64]:
    """How many classes come before the true one; of equal ones the first by index, as in `Classification.top`."""
    own = np.take_along_axis(shares, truth[:, None], -1)
    earlier = np.arange(shares.shape[1])[None, :] < truth[:, None]
    return np.asarray(((shares > own) | ((shares == own) & earlier)).sum(-1), np.int64)


def share_interval(right: NDArray[np.bool_], parts: Sequence[str] = ()) -> Interval:
    """95 % interval of a share. Where samples share parts, that of Korn and Graubard; where all are right, or none,
    parts can't be seen to differ, and the exact interval of as many parts is given; of one part that has both, nothing
    is known."""
    if not _shared(parts):
        return clopper_pearson(int(right.sum()), len(right))
    units = len(set(parts))
    if right.all() or not right.any():
        return clopper_pearson(units if right.all() else 0, units)
    if units == 1:
        return 0.0, 1.0
    values = right.astype(np.float64)
    return korn_graubard(float(values.mean()), _variance(values, parts), len(right), units)


def change_interval(was: NDArray[np.bool_], now: NDArray[np.bool_], parts: Sequence[str] = ()) -> Interval:
    """95 % interval of the change of a share, second less first, of the same samples: a paired bootstrap over samples;
    where samples share parts, Student's interval by the spread of parts, or of samples where that is larger, since a
    few parts may be alike by chance. Of one part nothing is known.

    Where no sample changed, or all did, none shows a spread: then what as many parts leave open, towards both sides of
    no change.
    """
    change = now.astype(np.float64) - was
    units = len(set(parts)) if parts else len(change)
    if (change == change[0]).all():
        low, high = clopper_pearson(0 if change[0] == 0 else units, units)
        return (-high, high) if change[0] == 0 else (low, high) if change[0] > 0 else (-high, -low)
    if not _shared(parts):
        return _bootstrap(change)
    if units == 1:
        return -1.0, 1.0
    spread = max(_variance(change, parts), float(change.var()) / (len(change) - 1))
    reach = student_t(0.95, units - 1) * math.sqrt(spread)
    middle = float(change.mean())
    return max(-1.0, middle - reach), min(1.0, middle + reach)


def _variance(values: NDArray[np.float64], parts: Sequence[str]) -> float:
    """Of the mean: how far the sums of two or more parts are from their sizes times the mean. A ratio, linearised."""
    _, part = np.unique(np.asarray(parts), return_inverse=True)
    residuals = np.bincount(part, weights=values - values.mean())
    units = len(residuals)
    return float(units / (units - 1) * (residuals**2).sum() / len(values) ** 2)


def _shared(parts: Sequence[str]) -> bool:
    return len(set(parts)) < len(parts)


def _bootstrap(values: NDArray[np.float64]) -> Interval:
    """Percentiles of the mean over DRAWS draws."""
    drawn = np.random.default_rng(0).integers(0, len(values), (DRAWS, len(values)))
    low, high = np.quantile(values[drawn].mean(-1), (0.025, 0.975), method="inverted_cdf")
    return float(low), float(high)
