"""The engine of this product: ranges, scales and biases by its own arithmetic, Q/DQ by the portable contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from edge_sdk.calibration.insert import insert
from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.calibration.prepare import Prepared
from edge_sdk.calibration.ranges import Range, RangeMethod, Weights
from edge_sdk.calibration.scales import scales
from edge_sdk.calibration.watched import Watched
from edge_sdk.runtimes.variants import KINDS


class Portable:
    """A method is a range method."""

    name = "portable"

    def missing(self) -> str:
        return ""

    def methods(self, prepared: Prepared) -> tuple[str, ...]:
        return prepared.options.range_methods

    def graphs(self, prepared: Prepared, method: str, variant: str, exclude: Sequence[str]) -> list[Int8Graph]:
        ranges = prepared.base.ranges(cast(RangeMethod, method))
        return written(prepared.base, ranges, variant, exclude, margin=prepared.options.margin)


def written(
    watched: Watched, ranges: Mapping[str, Range], variant: str, exclude: Sequence[str], *, margin: float,
    weights: Mapping[str, Weights] | None = None,
) -> list[Int8Graph]:  # fmt: skip
    """The int8 graphs of a watched float graph, one for each plan.

    margin: `QuantizeOptions.margin`. weights: int8 weights that another algorithm has chosen, by node; biases of those
    nodes are taken as they are.
    """
    means = {name: one.means for name, one in watched.seen.items() if one.bounded}
    made = []
    for number, planned in enumerate(watched.planned(exclude)):
        steps = scales(planned.plan, ranges, output_margin=margin)
        model = insert(
            watched.model, planned.plan, steps, weight_limit=KINDS[variant].weight_limit, means=means,
            given=weights or {},
        )  # fmt: skip
        made.append(Int8Graph(variant=variant, number=number, planned=planned, model=model, steps=steps, ranges=ranges))
    return made
