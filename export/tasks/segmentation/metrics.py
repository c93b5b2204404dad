"""From the IoU of segments to the metrics of a table: means, intervals, change. Knows numbers; no runtime, no picture.

Segments of one picture are not independent, least of all those of several annotators: every interval is a bootstrap
over parts (over pictures, where no parts were stated).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk.export.each_runtime import RanOn
from edge_sdk.export.tasks.segmentation.evaluate import KINDS, Segments, SegmentScores

Interval: TypeAlias = tuple[float, float]
DRAWS = 2000
"""Of a bootstrap, with seed 0."""
AREAS: Mapping[str, tuple[float, float]] = {
    "below 1 %": (0.0, 0.01), "1 to 10 %": (0.01, 0.1), "10 % and more": (0.1, 1.1),
}  # fmt: skip
"""Classes of segments by their share of the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptMetrics:
    """Of one kind of prompt. miou: mean IoU over segments, 0..1, of the mask that `predict` gives; interval: its 95 %
    interval. by_picture: mean over pictures of their mean. oracle: mean IoU of the best alternative. by_area, by_kind:
    (mean IoU, segments) of each class that has any. change: of `miou` against the reference, with its paired interval;
    None in the reference."""

    miou: float
    interval: Interval
    by_picture: float
    oracle: float
    by_area: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    by_kind: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    change: float | None = None
    change_interval: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(RanOn):
    """One line of the table. reference: the others are held against this row. by_role: the variant of each role. box,
    point: by kind of prompt; None where it did not run (`problem`). truth_on_grid: mIoU of the segments themselves,
    averaged over the cells of the mask grid; None = not measured in this row."""

    reference: bool = False
    by_role: Mapping[str, str] = field(default_factory=dict)
    truth_on_grid: float | None = None
    box: PromptMetrics | None = None
    point: PromptMetrics | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON object."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """Mean IoU of two answers to a box that need no network: the whole box, and the ellipse inside it. A model that is
    no better has learned nothing. by_area, by_kind: both and the number of segments, by the classes of `PromptMetrics`.
    """

    box: float
    ellipse: float
    by_area: Mapping[str, tuple[float, float, int]] = field(default_factory=dict)
    by_kind: Mapping[str, tuple[float, float, int]] = field(default_factory=dict)


def controls_of(segments: Segments) -> Controls:
    """Of one segment or more."""
    by_area, by_kind = (
        {
            name: (float(found[:, 0].mean()), float(found[:, 1].mean()), len(found))
            for name, chosen in classes.items() if len(found := segments.controls[chosen])
        }
        for classes in (_areas(segments), _kinds(segments))
    )  # fmt: skip
    whole, ellipse = segments.controls.mean(axis=0)
    return Controls(box=float(whole), ellipse=float(ellipse), by_area=by_area, by_kind=by_kind)


def rows(scored: Sequence[SegmentScores], segments: Segments) -> list[Row]:
    """The table, each row held against the first fp32 one that ran."""
    reference = next((one for one in scored if one.variant == "fp32" and one.chosen is not None), None)
    return [_row(one, reference, segments) for one in scored]


def _row(one: SegmentScores, reference: SegmentScores | None, segments: Segments) -> Row:
    if one.chosen is None or one.oracle is None:
        return Row(**one.facts())
    other = None if reference is None or reference is one else reference.chosen
    box, point = (
        _metrics(one.chosen[:, i], one.oracle[:, i], None if other is None else other[:, i], segments)
        for i in range(len(KINDS))
    )
    return Row(
        **one.facts(), reference=one is reference, by_role=one.by_role, box=box, point=point,
        truth_on_grid=None if one.truth_on_grid is None else float(one.truth_on_grid.mean()),
    )  # fmt: skip


def _metrics(
    chosen: NDArray[np.float64], oracle: NDArray[np.float64], other: NDArray[np.float64] | None, segments: Segments
) -> PromptMetrics:
    counts = np.bincount(segments.picture)
    sums = np.bincount(segments.picture, weights=chosen)
    return PromptMetrics(
        miou=float(chosen.mean()), interval=bootstrap(chosen, segments), oracle=float(oracle.mean()),
        by_picture=float((sums[counts > 0] / counts[counts > 0]).mean()), by_area=_means(chosen, _areas(segments)),
        by_kind=_means(chosen, _kinds(segments)),
        change=None if other is None else float((chosen - other).mean()),
        change_interval=None if other is None else bootstrap(chosen - other, segments),
    )  # fmt: skip


def _means(values: NDArray[np.float64], classes: Mapping[str, NDArray[np.bool_]]) -> dict[str, tuple[float, int]]:
    return {name: (float(values[chosen].mean()), int(chosen.sum())) for name, chosen in classes.items() if chosen.any()}


def _areas(segments: Segments) -> dict[str, NDArray[np.bool_]]:
    return {name: (low <= segments.area) & (segments.area < high) for name, (low, high) in AREAS.items()}


def _kinds(segments: Segments) -> dict[str, NDArray[np.bool_]]:
    """Which segments are on pictures of each kind; {} where no kind was stated."""
    names = np.asarray(segments.kinds)[segments.picture] if len(segments) else np.empty(0, str)
    return {str(kind): names == kind for kind in np.unique(names) if kind}


def bootstrap(values: NDArray[np.float64], segments: Segments) -> Interval:
    """95 % interval of the mean over segments: percentiles over DRAWS draws of parts. Of one part nothing is known of
    the spread, and the interval is everything: 0..1, or -1..1 where values are negative."""
    _, part_of_picture = np.unique(np.asarray(segments.parts), return_inverse=True)
    part = part_of_picture[segments.picture]
    used, part = np.unique(part, return_inverse=True)
    if len(used) < 2:
        return (-1.0 if (values < 0).any() else 0.0), 1.0
    sums, counts = np.bincount(part, weights=values), np.bincount(part)
    drawn = np.random.default_rng(0).integers(0, len(used), (DRAWS, len(used)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975), method="inverted_cdf")
    return float(low), float(high)
