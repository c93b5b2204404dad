"""An accuracy bound kept: every int8 variant is searched for, measured on each runtime, or given up by name.

Between the search, which knows plans, and the runtimes, which know graphs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edge_sdk.calibration.bound.accuracy import AccuracyBound
from edge_sdk.calibration.bound.search import Group, search
from edge_sdk.calibration.candidates import Candidate, Kept
from edge_sdk.calibration.comparison import distance
from edge_sdk.calibration.comparison.running import opened, takers, times_faster
from edge_sdk.calibration.int8_graph import Int8Graph, float_variant
from edge_sdk.calibration.prepare import Prepared, Subject
from edge_sdk.calibration.report import Point, Search, Variant
from edge_sdk.counted import counted
from edge_sdk.errors import BoundNotMet
from edge_sdk.progress import Progress, silent


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoundCheck:
    """A bound together with what it is measured against. real: the float graph's value; 0 without a metric."""

    prepared: Prepared
    bound: AccuracyBound
    real: float

    def of_graphs(self, made: Sequence[Int8Graph]) -> float:
        """The value of one variant's graphs before they are packed: on the first runtime here, else the distance."""
        if self.bound.metric is None:
            return distance.worst(distance.errors(self.prepared, made))
        variants = [variant for one in made for variant in one.variants()]
        runtime, graph = next(iter(takers(variants, made[0].variant).items()), ("", None))
        if graph is None:
            raise BoundNotMet(
                f"no runtime here takes {made[0].variant} and answers it rightly, so that no metric can be measured",
                hint="Install onnxruntime, or bound the difference of the outputs: --max-drop 2%",
            )
        return self.of_variant(graph, runtime)

    def of_variant(self, variant: Variant, runtime: str) -> float:
        """As one runtime answers: the metric, or the largest difference of an output on the compared samples."""
        with opened(variant, runtime, axes=self.prepared.subject.axes, threads=self.prepared.options.threads) as answer:
            if self.bound.metric is not None:
                return self.bound.measured(answer)
            got = [answer(feeds) for feeds in self.prepared.compared]
        return distance.worst(distance.of_answers(self.prepared, got))


def of_float(subject: Subject, bound: AccuracyBound) -> float:
    """The metric of the float graph, 0 without a metric: measured before all samples are read, since a metric that
    raises is better found at once. Raises as `AccuracyBound.measured`."""
    if bound.metric is None:
        return 0.0
    real = float_variant("fp32", subject.model, subject.contracts)
    runtime = next(iter(takers([real], "fp32")), "onnxruntime")
    with opened(real, runtime, axes=subject.axes, threads=subject.options.threads) as answer:
        return bound.measured(answer)


def within(
    checking: BoundCheck, kept: Kept, progress: Progress = silent
) -> tuple[dict[str, Sequence[Int8Graph]], tuple[Search, ...]]:
    """By variant, graphs with as many operators in int8 as the bound leaves, and what was done for it.

    A variant whose bound is not met is the nearest to it that was found: `refuse_unmet` says so.
    """
    prepared, bound = checking.prepared, checking.bound
    until = time.monotonic() + bound.search_s
    graphs: dict[str, Sequence[Int8Graph]] = {}
    searches: list[Search] = []
    alone: Mapping[Group, float] = {}
    for number, (variant, candidates) in enumerate(kept.candidates.items()):
        share = time.monotonic() + (until - time.monotonic()) / (len(kept.candidates) - number)
        start = _start(checking, candidates)
        found, alone = search(
            prepared, start, bound, real=checking.real, value=checking.of_graphs, until=share, known=alone,
            progress=progress,
        )  # fmt: skip
        graphs[variant] = _written(start, found.best) or candidates[0].graphs
        searches.append(_with_speed(prepared, found, start))
    return graphs, tuple(searches)


def _start(checking: BoundCheck, candidates: Sequence[Candidate]) -> Candidate:
    """The candidate that was kept if it meets the bound as it is; else the best whose operators may become float again,
    if there is one (`Source.revertible`)."""
    first = candidates[0]
    if first.source.revertible or checking.bound.met(checking.of_graphs(first.graphs), checking.real):
        return first
    return min((one for one in candidates if one.source.revertible), key=lambda one: one.error, default=first)


def _written(start: Candidate, point: Point) -> list[Int8Graph]:
    return start.source.without(point.float_nodes).graphs(start.ranges)


def _with_speed(prepared: Prepared, found: Search, start: Candidate) -> Search:
    """The search with the speed of its points, on each runtime of this machine's CPU."""
    real = float_variant("fp32", prepared.model, prepared.subject.contracts)
    made = [[v for one in _written(start, point) for v in one.variants()] for point in found.points]
    by_runtime: dict[str, list[float]] = {}
    for runtime in takers([real], "fp32"):
        graphs = [takers(variants, found.variant).get(runtime) for variants in made]
        if graphs and all(graph is not None for graph in graphs):
            by_runtime[runtime] = times_faster(
                real, [graph for graph in graphs if graph is not None], runtime, prepared.compared[0],
                axes=prepared.subject.axes, threads=prepared.options.threads,
            )  # fmt: skip
    points = tuple(
        replace(point, speed={runtime: ratios[number] for runtime, ratios in by_runtime.items()})
        for number, point in enumerate(found.points)
    )
    same = next((point for point in points if point.float_nodes == found.best.float_nodes), found.best)
    return replace(found, points=points, best=same)


def checked(checking: BoundCheck, searches: Sequence[Search], variants: Sequence[Variant]) -> tuple[Search, ...]:
    """Each search with the value of the finished variant on every runtime here; met only if all of them keep it."""
    out = []
    for found in searches:
        values = {
            runtime: checking.of_variant(graph, runtime)
            for runtime, graph in takers(variants, found.variant).items()
        }  # fmt: skip
        met = found.met and all(checking.bound.met(value, checking.real) for value in values.values())
        out.append(replace(found, values=values, met=met))
    return tuple(out)


def refuse_unmet(checking: BoundCheck, searches: Sequence[Search], *, force: bool) -> list[str]:
    """A sentence on each variant that does not meet the bound. Raises BoundNotMet with the first, unless forced."""
    unmet = [found for found in searches if not found.met]
    words = [_unmet(checking, found) for found in unmet]
    if unmet and not force:
        raise BoundNotMet(
            words[0], where=unmet[0].variant,
            hint="Allow more (--max-drop), search longer (--search-time), calibrate on more samples, leave the variant "
            "out (--variant), or take the best that was found (--force)",
        )  # fmt: skip
    return words


def _unmet(checking: BoundCheck, found: Search) -> str:
    best, bound = found.best, checking.bound
    allowed = (
        f"a difference of {bound.drop}" if bound.metric is None
        else f"{bound.drop} below {found.real:.4g}, the float graph's {bound.name}"
    )  # fmt: skip
    worst = {name: value for name, value in found.values.items() if not bound.met(value, checking.real)}
    where = f" ({', '.join(f'{bound.worded(value)} on {name}' for name, value in worst.items())})" if worst else ""
    if best.value == float("inf"):
        where += ": an output's shape depends on the values, so that no difference is known; name a --metric"
    until = "until the time was up" if found.out_of_time else f"in {counted(found.tries, 'try', 'tries')}"
    return (
        f"no int8 graph within {allowed} was found {until}; the nearest has {counted(best.int8_operators, 'operator')} "
        f"in int8 and {'a difference of ' if bound.metric is None else ''}{bound.worded(best.value)}{where}"
    )
