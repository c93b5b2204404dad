"""Ranges chosen one tensor at a time by what they do to the outputs: a sweep over a graph that was kept.

No range method is best for all tensors of a graph: where a few channels of a depthwise convolution's input are large,
minmax leaves the others a few steps; where large values decide, a percentile cuts what counts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, numpy_helper

from edge_sdk.calibration.comparison import distance
from edge_sdk.calibration.insert import scale_name
from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.calibration.prepare import Prepared
from edge_sdk.calibration.source import Ranges, Source
from edge_sdk.calibration.statistics.scales import scales
from edge_sdk.progress import Progress, silent

GOOD_ENOUGH = 2e-3
"""Largest error of a graph that is not tuned: rounding of the outputs themselves is of that size."""
_GAIN = 0.995  # a smaller gain is chance: other samples would not show it
_APART = 1.03  # ranges nearer than this give the same integers but for a few


def tuned(prepared: Prepared, source: Source, start: Ranges, *, until: float, progress: Progress = silent) -> Ranges:
    """`start` with the range of each group of tensors that makes the largest output error smallest, others unchanged.

    One sweep, those groups first of which the methods disagree most. until: time.monotonic() at which to stop.
    """
    made = source.graphs(start)
    now, best = dict(start), distance.worst(distance.errors(prepared, made))
    offers = _offers(made, [source.ranges(label) for label in source.labels], start)
    for number, (tensors, ranges) in enumerate(offers):
        progress(number, len(offers), f"{source.variant}: ranges tried one tensor at a time")
        for other in ranges:
            if best <= GOOD_ENOUGH or time.monotonic() >= until:
                return now
            tried = {**now, **{name: other[name] for name in tensors if name in other}}
            found = _error(prepared, source, made, tried)
            if found < best * _GAIN:
                now, best = tried, found
    progress(len(offers), len(offers), f"{source.variant}: ranges tried one tensor at a time")
    return now


def _offers(
    made: Sequence[Int8Graph], on_offer: Sequence[Ranges], start: Ranges
) -> list[tuple[tuple[str, ...], list[Ranges]]]:
    """By group of tensors that share a scale: the ranges that differ from where the sweep starts."""
    groups: dict[str, dict[str, None]] = {}
    for one in made:
        for point in one.planned.plan.points.values():
            if point.role in ("inner", "tail"):
                groups.setdefault(point.group, {})[point.tensor] = None
    rows = []
    for tensors in map(tuple, groups.values()):
        tops = [_top(start, tensors)]
        ranges = []
        for other in on_offer:
            top = _top(other, tensors)
            if top > 0.0 and all(not 1 / _APART < top / seen < _APART for seen in tops if seen > 0.0):
                tops.append(top)
                ranges.append(other)
        if ranges:
            rows.append((max(tops) / max(min(tops), 1e-30), tensors, ranges))
    rows.sort(key=lambda row: -row[0])
    return [(tensors, ranges) for _, tensors, ranges in rows]


def _top(ranges: Ranges, tensors: Sequence[str]) -> float:
    return max((ranges[name].top for name in tensors if name in ranges), default=0.0)


def _error(prepared: Prepared, source: Source, made: Sequence[Int8Graph], ranges: Ranges) -> float:
    """The largest output error with other ranges: only scales change, so that no weight is rounded again."""
    worst = 0.0
    for one in made:
        steps = scales(one.planned.plan, ranges, output_margin=source.margin)
        worst = max(worst, distance.worst(distance.of_model(prepared, _rescaled(one, steps))))
    return worst


def _rescaled(one: Int8Graph, steps: Mapping[str, np.float32]) -> ModelProto:
    """The graph with other scales of its activations."""
    points = one.planned.plan.points
    changed = {scale_name(points[name].group): step for name, step in steps.items() if step != one.steps[name]}
    copy = ModelProto()
    copy.CopyFrom(one.model)
    for constant in copy.graph.initializer:
        if constant.name in changed:
            constant.CopyFrom(numpy_helper.from_array(np.asarray(changed[constant.name], np.float32), constant.name))
    return copy
