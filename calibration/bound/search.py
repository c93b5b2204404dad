"""Which operators must stay float so that an accuracy bound holds: sensitivity by group, bisection, then pruning.

Each try is a new plan and no new pass over the samples. That more float operators never lose accuracy is assumed while
bisecting; what is handed out was measured itself, whatever was assumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_sdk.calibration.bound.accuracy import AccuracyBound
from edge_sdk.calibration.candidates import Candidate
from edge_sdk.calibration.comparison import distance
from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.calibration.prepare import Prepared
from edge_sdk.calibration.report import Point, Revert, Search
from edge_sdk.calibration.source import Source
from edge_sdk.counted import counted
from edge_sdk.progress import Progress, silent

MOST_GROUPS = 64
"""Operators are reverted one by one up to this number of them, else together with their neighbours."""
SENSITIVITY_SAMPLES = 2
Group = tuple[str, ...]
Value = Callable[[Sequence[Int8Graph]], float]
"""What graphs of one variant are worth: the metric, or without one their distance."""


@dataclass(slots=True, kw_only=True)
class _Searcher:
    """One variant's search. start: what it begins with. tried: value of each set of float nodes. until: when to stop,
    by time.monotonic."""

    prepared: Prepared
    start: Candidate
    bound: AccuracyBound
    real: float
    value: Value
    until: float
    progress: Progress
    tried: dict[frozenset[str], Point] = field(default_factory=dict)

    @property
    def variant(self) -> str:
        return self.start.source.variant

    def graphs(self, exclude: Sequence[str]) -> list[Int8Graph]:
        """With the same ranges as what failed the bound."""
        return self.start.source.without(exclude).graphs(self.start.ranges)

    def distance(self, made: Sequence[Int8Graph]) -> float:
        """The largest difference of any output of any plan."""
        return distance.worst(distance.errors(self.prepared, made))

    def point(self, exclude: Sequence[str]) -> Point:
        """One try, measured once."""
        key = frozenset(exclude)
        if key not in self.tried:
            made = self.graphs(exclude)
            count = max((len(one.planned.plan.operators) for one in made), default=0)
            error = self.distance(made)
            value = self.real if not made else error if self.bound.metric is None else self.value(made)
            self.tried[key] = Point(
                int8_operators=count, float_nodes=tuple(exclude), value=value, error=error,
                met=count > 0 and self.bound.met(value, self.real),
            )  # fmt: skip
            self.progress(len(self.tried), 0, f"{self.variant}: tries, {counted(count, 'operator')} in int8")
        return self.tried[key]

    @property
    def time_is_up(self) -> bool:
        return time.monotonic() >= self.until

    def sensitivities(self, groups: Sequence[Group]) -> dict[Group, float]:
        """Difference of the outputs with one group in int8 and all others in float; of as many as the time allows.

        Of one plan, on a few samples: it orders the groups, and what is handed out is measured on all of them.
        """
        every = [name for group in groups for name in group]
        found: dict[Group, float] = {}
        for number, group in enumerate(groups):
            if self.time_is_up:
                break
            made = self.graphs([name for name in every if name not in group])[:1]
            errors = [distance.of_model(self.prepared, one.model, SENSITIVITY_SAMPLES) for one in made]
            found[group] = max(map(distance.worst, errors), default=0.0)
            self.progress(number + 1, len(groups), f"{self.variant}: sensitivity of operators")
        return found


def search(
    prepared: Prepared, start: Candidate, bound: AccuracyBound, *, real: float, value: Value, until: float,
    known: Mapping[Group, float] | None = None, progress: Progress = silent,
) -> tuple[Search, Mapping[Group, float]]:  # fmt: skip
    """The largest int8 graph found that meets the bound, and the sensitivities that were measured.

    real: the float graph's value. until: time.monotonic() at which to stop. known: sensitivities of another variant of
    this graph, which are near enough to order the groups.
    """
    began = time.monotonic()
    one = _Searcher(prepared=prepared, start=start, bound=bound, real=real, value=value, until=until, progress=progress)
    whole = one.point(())
    alone: Mapping[Group, float] = known or {}
    chosen: tuple[Group, ...] | None = () if whole.met else None
    if not whole.met and whole.int8_operators:
        groups = grouped(start.source)
        alone = alone or one.sensitivities(groups)
        order = sorted(groups, key=lambda group: -alone.get(group, 0.0))
        chosen = _fewest(one, order)
        if chosen is not None:
            chosen = _pruned(one, chosen)
    best = whole if chosen is None else one.point(_names(chosen))
    if chosen is None:
        for point in one.tried.values():
            if point.int8_operators and bound.better(point.value, best.value):
                best = point
    found = Search(
        variant=one.variant, metric=bound.name, drop=str(bound.drop), real=real, met=best.met, best=best,
        points=front(one.tried.values(), bound), reverts=_reverts(one, chosen or (), alone), tries=len(one.tried),
        seconds=time.monotonic() - began, out_of_time=one.time_is_up,
        of_outputs=bound.metric is None,
    )  # fmt: skip
    return found, alone


def grouped(source: Source) -> list[Group]:
    """The int8 operators in the order of the graph, each a group of its own; neighbours together if they are many."""
    planned = {name for one in source.observed.planned(source.exclude) for name in one.plan.operators}
    names = [node.name for node in source.observed.model.graph.node if node.name in planned]
    parts = np.array_split(np.array(names, dtype=object), min(MOST_GROUPS, len(names))) if names else []
    return [tuple(str(name) for name in part) for part in parts]


def _fewest(one: _Searcher, order: Sequence[Group]) -> tuple[Group, ...] | None:
    """The shortest head of `order` to keep float for the bound, by bisection; None if that leaves no int8 operator."""
    low, high = 0, len(order)  # all in float meets any bound, and is no int8 graph
    while high - low > 1 and not one.time_is_up:
        middle = (low + high) // 2
        low, high = (low, middle) if one.point(_names(order[:middle])).met else (middle, high)
    return tuple(order[:high]) if high < len(order) else None


def _pruned(one: _Searcher, chosen: tuple[Group, ...]) -> tuple[Group, ...]:
    """`chosen` without the groups that can be int8 after all, the least sensitive first."""
    for group in reversed(chosen):
        if one.time_is_up or len(chosen) == 1:
            break
        fewer = tuple(other for other in chosen if other != group)
        if one.point(_names(fewer)).met:
            chosen = fewer
    return chosen


def _names(groups: Sequence[Group]) -> tuple[str, ...]:
    return tuple(name for group in groups for name in group)


def _reverts(one: _Searcher, chosen: Sequence[Group], alone: Mapping[Group, float]) -> tuple[Revert, ...]:
    """What each group bought: the difference of the outputs before and after it became float, the ones above it are."""
    rows = []
    before: float | None = one.tried[frozenset()].error
    for number, group in enumerate(chosen):
        key = _names(chosen[: number + 1])
        known = one.tried.get(frozenset(key))
        after = known.error if known else None if one.time_is_up else one.distance(one.graphs(key))
        rows.append(Revert(nodes=group, alone=alone.get(group), before=before, after=after))
        before = after
    return tuple(rows)


def front(points: Iterable[Point], bound: AccuracyBound) -> tuple[Point, ...]:
    """The points that no other one beats in both value and number of int8 operators, most operators first."""
    kept: list[Point] = []
    sign = 1.0 if bound.better(0.0, 1.0) else -1.0
    for point in sorted(points, key=lambda point: (-point.int8_operators, sign * point.value)):
        if not kept or bound.better(point.value, kept[-1].value):
            kept.append(point)
    return tuple(kept)
