"""From scores to the metrics of a bundle's table, counted by picture and, where parts were named, by part.

Knows scores, labels and a threshold; no runtime, no graph, no family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk.calibration.comparison.score_scale import spearman
from edge_sdk.errors import EdgeError
from edge_sdk.export.anomaly.data import Picture
from edge_sdk.export.each_runtime import RanOn
from edge_sdk.export.tasks.anomaly import detection
from edge_sdk.export.tasks.anomaly.evaluate import VariantScores
from edge_sdk.export.tasks.anomaly.pixel import PixelQuality

Floats = NDArray[np.float64]
Unit = Literal["picture", "part"]
STRONGEST = 20
"""Defects whose kept score is looked at."""
_DRAWS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Quality of one variant on one runtime, counted in `unit`s. A part's score is the highest of its pictures: a line
    rejects a part as soon as one of its pictures is rejected. Shares and AUROC 0..1, intervals 95 %.

    auroc: None without defects or without good ones; auroc_method: how its interval was made. auroc_change: against the
    reference row, on the same pictures. flips: verdicts that differ from the reference row; flips_to_defect: of them,
    good there and defect here; flips_upper: one-sided upper bound of their share. Intervals of counts are None where
    pictures share parts (they are not independent then: see the metrics by part), changes and flips in the reference.
    """

    unit: Unit
    good: int
    defects: int
    auroc: float | None = None
    auroc_interval: tuple[float, float] | None = None
    auroc_method: str = ""
    auroc_change: float | None = None
    auroc_change_interval: tuple[float, float] | None = None
    false_rejects: int | None = None
    false_rejects_interval: tuple[float, float] | None = None
    misses: int | None = None
    misses_interval: tuple[float, float] | None = None
    flips: int | None = None
    flips_to_defect: int | None = None
    flips_upper: float | None = None

    @property
    def count(self) -> int:
        """All units: a part with good and with defective pictures counts on both sides."""
        return self.good + self.defects


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(RanOn):
    """One line of the table.

    reference: the others are held against this row. by_part: None where no group was stated. pixels: of the maps, by
    picture; None without masks, and where another runtime of the same variant has them. kept_least: least share of
    its reference score kept by a strong defect, of `kept_of` defects; None without any. spearman: rank correlation with
    the reference. notes: why a metric is missing or what it leaves out. problem: also why there are no metrics.
    """

    reference: bool = False
    by_picture: Metrics | None = None
    by_part: Metrics | None = None
    pixels: PixelQuality | None = None
    kept_least: float | None = None
    kept_of: int = 0
    spearman: float | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON object."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


@dataclass(frozen=True, slots=True, eq=False)
class _Sides:
    """Scores of good and of defective units, and the parts that they belong to (None: independent)."""

    good: Floats
    bad: Floats
    good_parts: tuple[str, ...] | None = None
    bad_parts: tuple[str, ...] | None = None

    def by_part(self) -> _Sides:
        """One score a part and side."""
        return _Sides(_highest(self.good, self.good_parts), _highest(self.bad, self.bad_parts))

    def all(self) -> Floats:
        return np.concatenate([self.good, self.bad])


def _highest(scores: Floats, parts: tuple[str, ...] | None) -> Floats:
    return detection.by_part(scores, parts)[1] if parts else scores


def reference(scored: Sequence[VariantScores]) -> VariantScores | None:
    """The first fp32 graph that ran and answered with numbers; None: nothing can be held against it."""
    sound = (s for s in scored if s.variant == "fp32" and not s.problem and bool(np.isfinite(s.scores).all()))
    return next(sound, None)


def rows(
    scored: Sequence[VariantScores], pictures: Sequence[Picture], threshold: float | None, *, group: str = ""
) -> list[Row]:
    """The table, each row held against `reference`. pictures: those that were scored, same order. threshold: None where
    these very pictures set it, so that verdicts on them say nothing: no figure that needs one is there.

    group: how parts were named; "" = not stated, so that each picture is taken for a part of its own. A figure that
    can't be computed never raises: its row says why.
    """
    against = reference(scored)
    sides = None if against is None else _sides(against.scores, pictures, group)
    return [_row(one, pictures, threshold, group, None if one is against else sides, one is against) for one in scored]


def _sides(scores: Floats, pictures: Sequence[Picture], group: str) -> _Sides:
    good = np.array([p.label == "good" for p in pictures], dtype=bool)
    if not group:
        return _Sides(scores[good], scores[~good])
    parts = np.array([p.part for p in pictures])
    return _Sides(scores[good], scores[~good], tuple(parts[good].tolist()), tuple(parts[~good].tolist()))


def _row(
    s: VariantScores,
    pictures: Sequence[Picture],
    threshold: float | None,
    group: str,
    against: _Sides | None,
    is_reference: bool,
) -> Row:  # fmt: skip
    blank = Row(**s.facts(), reference=is_reference, pixels=s.pixels, notes=s.notes)
    if s.problem:
        return blank
    own = _sides(s.scores, pictures, group)
    try:
        by_picture = _metrics("picture", own, threshold, against)
        by_part = None
        if group:
            by_part = _metrics("part", own.by_part(), threshold, None if against is None else against.by_part())
        return _held(replace(blank, by_picture=by_picture, by_part=by_part), own, against)
    except EdgeError as exc:  # scores of NaN and their like: the row has no metrics, and the build goes on
        return replace(blank, problem=str(exc))


def _metrics(unit: Unit, own: _Sides, threshold: float | None, against: _Sides | None) -> Metrics:
    if threshold is None:
        return Metrics(unit=unit, good=len(own.good), defects=len(own.bad))
    found = detection.at_threshold(own.good, own.bad, threshold)
    independent = own.good_parts is None
    out = Metrics(
        unit=unit, good=found.good, defects=found.defects, false_rejects=found.false_rejects, misses=found.misses,
        false_rejects_interval=found.false_reject_interval if independent else None,
        misses_interval=found.miss_interval if independent else None,
    )  # fmt: skip
    if found.good and found.defects:
        out = _with_auroc(out, own, against)
    if against is None:
        return out
    flips = detection.verdict_flips(against.all(), own.all(), threshold=threshold)
    return replace(
        out, flips=flips.count, flips_to_defect=len(flips.good_to_defect),
        flips_upper=flips.upper if independent else None,
    )  # fmt: skip


def _with_auroc(out: Metrics, own: _Sides, against: _Sides | None) -> Metrics:
    if own.good_parts is None:
        area = detection.auroc_with_interval(own.good, own.bad)
    else:
        area = detection.bootstrap_auroc(
            own.good, own.bad, rng=np.random.default_rng(0), draws=_DRAWS,
            good_units=own.good_parts, bad_units=own.bad_parts,
        )  # fmt: skip
    out = replace(out, auroc=area.value, auroc_interval=(area.low, area.high), auroc_method=area.method)
    if against is None:
        return out
    change = detection.auroc_difference(
        (against.good, against.bad), (own.good, own.bad), rng=np.random.default_rng(0), draws=_DRAWS,
        good_units=own.good_parts, bad_units=own.bad_parts,
    )  # fmt: skip
    return replace(out, auroc_change=change.value, auroc_change_interval=(change.low, change.high))


def _held(row: Row, own: _Sides, against: _Sides | None) -> Row:
    """With the metrics that only make sense against the reference."""
    if against is None:
        return row if row.reference else replace(row, notes=(*row.notes, "no fp32 graph ran to hold it against"))
    row = replace(row, spearman=spearman(against.all(), own.all()))
    if not (len(own.good) and len(own.bad)):
        return row
    origin = float(np.median(against.good))
    kept = detection.kept_score(against.bad, own.bad, strongest=STRONGEST, origin=origin)
    notes = row.notes
    if kept.unseen:
        strongest = kept.count + kept.unseen
        notes = (
            *notes,
            f"kept: {kept.unseen} of the {strongest} strongest defects score no more than the median good picture in "
            "the reference and are left out",
        )
    return replace(row, kept_least=kept.least, kept_of=kept.count, notes=notes)
