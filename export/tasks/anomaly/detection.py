"""How well one score per picture tells defects from good parts, and two variants from each other. Knows scores only.

Higher score = more anomalous. Ties count half everywhere, so a saturated score is punished. Statistics that need
independence take the name of the physical part (`units`): pictures of one part are drawn together.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_sdk.calibration.comparison.score_scale import checked_values, midranks, pair
from edge_sdk.decision.threshold import rejected
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.intervals import at_most, clopper_pearson

Scores: TypeAlias = "Sequence[float] | NDArray[np.floating[Any]]"
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Auroc:
    """P(bad scores above good) + half P(equal), 0..1, with the interval of the `method` named and the counts behind it.

    se: standard error, None where the method has none. low, high: 95 % interval unless asked otherwise.
    """

    value: float
    low: float
    high: float
    se: float | None
    good: int
    bad: int
    method: str

    def __str__(self) -> str:
        digits = 4 if self.good * self.bad > 10_000 else 3
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ByClass:
    """AUROC of all defects together (pooled), of each class against all good pictures, and their unweighted mean.

    Pooled is not the mean: classes with many pictures dominate it. worst: the class with the lowest value.
    """

    pooled: Auroc
    mean: float
    classes: Mapping[str, Auroc]
    worst: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """second minus first, on the same pictures: value, and the percentile interval of a paired bootstrap over units."""

    value: float
    low: float
    high: float
    draws: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AtThreshold:
    """What a user gets at the bundle's threshold, in counts of what was given (pictures, or parts after `by_part`).

    Intervals: 95 % Clopper-Pearson, 0..1; None where there was nothing of that kind.
    """

    threshold: float
    good: int
    false_rejects: int
    defects: int
    misses: int
    false_reject_interval: tuple[float, float] | None
    miss_interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """One picture whose verdict changed, with both scores."""

    name: str
    reference: float
    variant: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Flips:
    """Pictures whose verdict changed between two pipelines. upper: one-sided 95 % upper bound of the true share."""

    total: int
    good_to_defect: tuple[Flip, ...]
    defect_to_good: tuple[Flip, ...]
    upper: float

    @property
    def count(self) -> int:
        return len(self.good_to_defect) + len(self.defect_to_good)

    @property
    def share(self) -> float:
        return self.count / self.total

    def __str__(self) -> str:
        directions = f"{len(self.good_to_defect)} good to defect, {len(self.defect_to_good)} defect to good"
        return f"{at_most(self.count, self.total)} ({directions})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Share of the reference score that the strongest defects keep: saturation that AUROC hides.

    mean, least: over `count` defects; 1 = all kept; None where `count` is 0. unseen: of the strongest, how many the
    reference itself scores no more than the origin, so that they have nothing to keep; they are not in `count`.
    ties_at_top: defects that share the variant's highest score.
    """

    mean: float | None
    least: float | None
    count: int
    unseen: int
    ties_at_top: int
    shares: tuple[float, ...]


def auroc(good: Scores, bad: Scores) -> float:
    """Area under the ROC curve by mid-ranks, 0..1. BadInput for NaN or an empty side: never 0.5, never NaN."""
    sound, broken = checked_values(good, "good"), checked_values(bad, "bad")
    ranks = midranks(np.concatenate([broken, sound]))[: len(broken)]
    wins = float(ranks.sum()) - len(broken) * (len(broken) + 1) / 2
    return wins / (len(broken) * len(sound))


def auroc_with_interval(good: Scores, bad: Scores, *, level: float = 0.95) -> Auroc:
    """AUROC with DeLong's interval on the logit scale (on the plain scale it passes 1).

    At exactly 1 (or 0) DeLong's error is 0: then the bound is (1 - level)^(1 / min(n)), as of that many independent
    pairs without an inversion. One picture on a side has no variance: the interval is then 0..1, and says so.
    """
    sound, broken = checked_values(good, "good"), checked_values(bad, "bad")
    value = auroc(sound, broken)
    fewest = min(len(sound), len(broken))
    counts = {"good": len(sound), "bad": len(broken)}
    if fewest < 2:
        return Auroc(value=value, low=0.0, high=1.0, se=None, method="one picture on a side: no interval", **counts)
    if value in (0.0, 1.0):
        low, high = _without_inversion(value, fewest, level)
        return Auroc(value=value, low=low, high=high, se=None, method="no inversion", **counts)
    above, below = _placements(sound, broken)
    se = math.sqrt(float(above.var(ddof=1)) / len(broken) + float(below.var(ddof=1)) / len(sound))
    if se == 0.0:
        return Auroc(value=value, low=0.0, high=1.0, se=0.0, method="scores without spread: no interval", **counts)
    logit, width = (
        math.log(value / (1 - value)),
        statistics.NormalDist().inv_cdf(0.5 + level / 2) * se / (value * (1 - value)),
    )
    low, high = (1.0 / (1.0 + math.exp(-edge)) for edge in (logit - width, logit + width))
    return Auroc(value=value, low=low, high=high, se=se, method="DeLong, logit", **counts)


def auroc_by_class(good: Scores, bad: Mapping[str, Scores], *, level: float = 0.95) -> ByClass:
    """Pooled, per class (against ALL good pictures), and the unweighted mean over classes, each under its own name."""
    if not bad:
        raise BadInput("no class of defects, so there is no AUROC", hint="Give scores of defective parts")
    classes = {}
    for name, scores in bad.items():
        if len(scores) == 0:
            raise BadInput("no pictures of this class were scored", where=name, hint="Leave the class out, or score it")
        classes[name] = auroc_with_interval(good, checked_values(scores, name), level=level)
    everything = np.concatenate([np.asarray(scores, np.float64) for scores in bad.values()])
    return ByClass(
        pooled=auroc_with_interval(good, everything, level=level),
        mean=float(np.mean([one.value for one in classes.values()])),
        classes=classes,
        worst=min(classes, key=lambda name: classes[name].value),
    )


def bootstrap_auroc(
    good: Scores,
    bad: Scores,
    *,
    rng: np.random.Generator,
    good_units: Sequence[str] | None = None,
    bad_units: Sequence[str] | None = None,
    draws: int = 2000,
    level: float = 0.95,
) -> Auroc:
    """AUROC with a percentile interval; good and bad units are drawn separately, all pictures of a unit together.

    At exactly 1 (or 0) every draw is the same: then the bound is that of `auroc_with_interval`, for as many units.
    """
    sound, broken = checked_values(good, "good"), checked_values(bad, "bad")
    weighted = _WeightedAuroc(sound, broken)
    good_groups, bad_groups = _Groups(sound, good_units), _Groups(broken, bad_units)
    drawn = np.array([weighted(good_groups.draw(rng), bad_groups.draw(rng)) for _ in range(draws)])
    value, (low, high) = auroc(sound, broken), _percentiles(drawn, level)
    if value in (0.0, 1.0):
        low, high = _without_inversion(value, min(good_groups.count, bad_groups.count), level)
    return Auroc(
        value=value,
        low=low,
        high=high,
        se=float(drawn.std(ddof=1)),
        good=len(sound),
        bad=len(broken),
        method=f"bootstrap, {draws} draws over {good_groups.count} good and {bad_groups.count} bad units",
    )


def auroc_difference(
    first: tuple[Scores, Scores],
    second: tuple[Scores, Scores],
    *,
    rng: np.random.Generator,
    good_units: Sequence[str] | None = None,
    bad_units: Sequence[str] | None = None,
    draws: int = 2000,
    level: float = 0.95,
) -> Difference:
    """AUROC of `second` minus `first`, each (good scores, bad scores) of the same pictures in the same order."""
    sides = [(checked_values(good, "good"), checked_values(bad, "bad")) for good, bad in (first, second)]
    if any(len(sides[0][index]) != len(sides[1][index]) for index in (0, 1)):
        raise BadUsage("the two sides did not score the same pictures", hint="Score the same pictures with both")
    weighted = [_WeightedAuroc(*side) for side in sides]
    good_groups, bad_groups = _Groups(sides[0][0], good_units), _Groups(sides[0][1], bad_units)
    drawn = np.empty(draws)
    for index in range(draws):
        weights = good_groups.draw(rng), bad_groups.draw(rng)
        drawn[index] = weighted[1](*weights) - weighted[0](*weights)
    low, high = _percentiles(drawn, level)
    return Difference(value=auroc(*sides[1]) - auroc(*sides[0]), low=low, high=high, draws=draws)


def by_part(
    scores: Scores, parts: Sequence[str], *, how: Literal["max", "median", "mean"] = "max"
) -> tuple[tuple[str, ...], Floats]:
    """Names of the parts in order of first sight, and one score a part, float64 (parts,).

    "max": a part is rejected if any of its pictures is. "median": if most of them are (a vote).
    """
    values = checked_values(scores, "scores")
    if len(parts) != len(values):
        raise BadUsage(f"{len(values)} scores but {len(parts)} names of parts", hint="Name the part of each picture")
    grouped: dict[str, list[float]] = {}
    for part, value in zip(parts, values.tolist()):
        grouped.setdefault(part, []).append(value)
    reducers: dict[str, Callable[[list[float]], float]] = {
        "max": max,
        "median": statistics.median,
        "mean": statistics.fmean,
    }
    reduce = reducers[how]
    return tuple(grouped), np.array([reduce(group) for group in grouped.values()], dtype=np.float64)


def at_threshold(good: Scores, bad: Scores, threshold: float) -> AtThreshold:
    """False rejects and misses at `threshold`. One side may be empty. To count parts, give the scores of `by_part`."""
    sound, broken = (checked_values(s, name) if len(s) else np.empty(0) for s, name in ((good, "good"), (bad, "bad")))
    rejects = int(np.count_nonzero(rejected(sound, threshold)))
    misses = int(np.count_nonzero(~rejected(broken, threshold)))
    return AtThreshold(
        threshold=threshold,
        good=len(sound),
        false_rejects=rejects,
        defects=len(broken),
        misses=misses,
        false_reject_interval=clopper_pearson(rejects, len(sound)) if len(sound) else None,
        miss_interval=clopper_pearson(misses, len(broken)) if len(broken) else None,
    )


def verdict_flips(
    reference: Scores,
    variant: Scores,
    *,
    threshold: float,
    variant_threshold: float | None = None,
    names: Sequence[str] | None = None,
) -> Flips:
    """Verdicts that differ between two pipelines on the same pictures, each with the threshold that it ships with.

    variant_threshold None: both ship with `threshold`.
    """
    old, new = pair(reference, variant)
    labels = [str(index) for index in range(len(old))] if names is None else list(names)
    if len(labels) != len(old):
        raise BadUsage(f"{len(old)} scores but {len(labels)} names", hint="Name each picture")
    was = rejected(old, threshold)
    now = rejected(new, threshold if variant_threshold is None else variant_threshold)

    def listed(changed: NDArray[np.bool_]) -> tuple[Flip, ...]:
        rows = np.flatnonzero(changed)
        return tuple(Flip(name=labels[i], reference=float(old[i]), variant=float(new[i])) for i in rows)

    flips = int(np.count_nonzero(was != now))
    return Flips(
        total=len(old),
        good_to_defect=listed(~was & now),
        defect_to_good=listed(was & ~now),
        upper=clopper_pearson(flips, len(old), side="upper")[1],
    )


def kept_score(reference: Scores, variant: Scores, *, strongest: int = 20, origin: float = 0.0) -> Kept:
    """What share of its reference score, counted from `origin`, each of the `strongest` defects keeps.

    reference, variant: scores of the same defects in the same order. origin: the score that means "nothing": 0 for a
    distance, the median good score for a score that is normalised around it.
    """
    old, new = pair(reference, variant)
    order = np.argsort(-old, kind="stable")[:strongest]
    seen = order[old[order] > origin]
    shares = (new[seen] - origin) / (old[seen] - origin)
    return Kept(
        mean=float(shares.mean()) if len(seen) else None,
        least=float(shares.min()) if len(seen) else None,
        count=len(seen),
        unseen=len(order) - len(seen),
        ties_at_top=int(np.count_nonzero(new == new.max())),
        shares=tuple(float(share) for share in shares),
    )


class _Groups:
    """Weights of pictures when their units are drawn with replacement."""

    def __init__(self, scores: Floats, units: Sequence[str] | None) -> None:
        if units is not None and len(units) != len(scores):
            raise BadUsage(
                f"{len(scores)} scores but {len(units)} names of units", hint="Name the part of each picture"
            )
        names = np.arange(len(scores)) if units is None else np.asarray(units)
        unique, inverse = np.unique(names, return_inverse=True)
        self.count, self._inverse = len(unique), inverse.reshape(-1)

    def draw(self, rng: np.random.Generator) -> Floats:
        drawn = np.bincount(rng.integers(0, self.count, self.count), minlength=self.count)
        return drawn[self._inverse].astype(np.float64)


class _WeightedAuroc:
    """AUROC of the same scores under many weightings: sorted once."""

    def __init__(self, sound: Floats, broken: Floats) -> None:
        levels = np.unique(np.concatenate([sound, broken]))
        self._size = len(levels)
        self._sound, self._broken = np.searchsorted(levels, sound), np.searchsorted(levels, broken)

    def __call__(self, sound_weights: Floats, broken_weights: Floats) -> float:
        sound = np.bincount(self._sound, weights=sound_weights, minlength=self._size)
        broken = np.bincount(self._broken, weights=broken_weights, minlength=self._size)
        below = np.cumsum(sound) - 0.5 * sound
        return float(broken @ below) / (float(sound.sum()) * float(broken.sum()))


def _placements(sound: Floats, broken: Floats) -> tuple[Floats, Floats]:
    """Per bad score the share of good ones below, per good score the share of bad ones above; ties half."""

    def below(values: Floats, others: Floats) -> Floats:
        ordered = np.sort(others)
        sides = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
        return np.asarray(sides / (2.0 * len(others)), dtype=np.float64)

    return below(broken, sound), 1.0 - below(sound, broken)


def _without_inversion(value: float, fewest: int, level: float) -> tuple[float, float]:
    """The interval at exactly 1 or 0, as of `fewest` independent pairs without an inversion."""
    bound = (1.0 - level) ** (1.0 / fewest)
    return (bound, 1.0) if value == 1.0 else (0.0, 1.0 - bound)


def _percentiles(drawn: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2), method="inverted_cdf")
    return float(low), float(high)
