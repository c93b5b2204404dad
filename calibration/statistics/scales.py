"""From ranges to the symmetric int8 scale of each point of a plan. Pure; knows no graph and no samples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge_sdk.calibration.plan import QuantizationPlan
from edge_sdk.calibration.statistics.ranges import SMALLEST_SCALE, Range
from edge_sdk.errors import BadInput
from edge_sdk.runtimes.variants import TOP


def scales(plan: QuantizationPlan, ranges: Mapping[str, Range], *, output_margin: float = 1.0) -> dict[str, np.float32]:
    """The float32 scale of every point. output_margin: how much wider the ranges before the float tail are made."""
    tops: dict[str, float] = {}
    for point in plan.points.values():
        if point.role == "exact-picture":
            top = float(TOP)
        else:
            top = ranges[point.tensor].top * (output_margin if point.role == "tail" else 1.0)
        tops[point.group] = max(tops.get(point.group, 0.0), top)
    found = {group: scale_of(top) for group, top in tops.items()}
    for output, source in plan.averages.items():
        after, before = plan.points[output].group, plan.points[source].group
        if after != before:
            found[after] = _untied(found[after], found[before])
    return {tensor: found[point.group] for tensor, point in plan.points.items()}


def scale_of(top: float, *, limit: int = TOP) -> np.float32:
    """The float32 scale that puts `top` on `limit`; 1 / limit for an all-zero tensor (any positive scale is exact)."""
    if not np.isfinite(top) or top < 0.0:
        raise BadInput(f"a range of {top} has no scale")
    scale = np.float32(top / limit) if top > 0.0 else np.float32(1.0 / limit)
    return max(scale, np.float32(SMALLEST_SCALE))


def _untied(scale: np.float32, source: np.float32) -> np.float32:
    """`scale`, widened a little if a mean of values on the source's grid could fall half-way on its own.

    Half-way values are where runtimes round differently: with a ratio of small whole numbers a quarter of all means
    of four are such ties, and with one of p / n still up to one in 2 n.
    """
    while _simple(float(source) / float(scale)):
        scale = np.float32(float(scale) * 1.0137)
    return scale


def _simple(ratio: float) -> bool:
    """Whether more than 2 % of all means could be ties: the ratio is a fraction of up to 25, or near one of up to 8."""
    near = (n * (2e-3 if n <= 8 else 1e-4) for n in range(1, 26))
    return ratio > 0.05 and any(abs(ratio * n - round(ratio * n)) < d for n, d in enumerate(near, start=1))
