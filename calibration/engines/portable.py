"""The engine of this product: ranges, scales and biases by its own arithmetic, Q/DQ by the portable contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edge_sdk.calibration.insert import insert
from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.calibration.prepare import Prepared
from edge_sdk.calibration.ranges import Range, Weights
from edge_sdk.calibration.scales import scales
from edge_sdk.calibration.watched import Watched
from edge_sdk.runtimes.variants import KINDS


class Portable:
    """Knows every range method."""

    name = "portable"

    def missing(self) -> str:
        return ""

    def modes(self, prepared: Prepared) -> tuple[str, ...]:
        return ("",)

    def graphs(
        self, prepared: Prepared, mode: str, variant: str, exclude: Sequence[str]
    ) -> Iterator[tuple[str, list[Int8Graph]]]:
        for method in prepared.options.range_methods:
            ranges = prepared.base.ranges(method)
            yield method, written(prepared.base, ranges, variant, exclude, margin=prepared.options.margin)


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
