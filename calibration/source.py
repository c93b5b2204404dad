"""What the int8 graphs of one variant are written from, whichever engine prepared it. Runs nothing, reads no sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from onnx import ModelProto

from edge_sdk.calibration.insert import insert
from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.calibration.statistics.observed_graph import ObservedGraph
from edge_sdk.calibration.statistics.ranges import Range, Weights
from edge_sdk.calibration.statistics.scales import scales
from edge_sdk.runtimes.variants import KINDS

Ranges = Mapping[str, Range]
"""By tensor."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """An observed float graph, and what an engine has decided of it.

    real: the float graph that layers of the int8 graphs are held against: the observed one with its rescaled channels,
    or the one before where the observed one holds biases that are corrected for int8.
    exclude: nodes that stay float. margin: `QuantizeOptions.margin`. methods: of `ranges.fit`, on offer. own: ranges of
    the engine's own by their label. weights: int8 weights that the engine has chosen, by node; biases of those nodes
    are taken as they are. revertible: whether an operator may become float again: it may not where the engine corrected
    biases for all operators in int8, and rounded weights.
    """

    observed: ObservedGraph
    real: ModelProto
    variant: str
    exclude: tuple[str, ...]
    margin: float
    methods: tuple[str, ...]
    own: Mapping[str, Ranges] = field(default_factory=dict)
    weights: Mapping[str, Weights] = field(default_factory=dict)
    revertible: bool = True

    @property
    def labels(self) -> tuple[str, ...]:
        """Ways to choose ranges, in the order of preference where errors are equal."""
        return (*self.own, *self.methods)

    def ranges(self, label: str) -> Ranges:
        return self.own[label] if label in self.own else self.observed.ranges(label)

    def without(self, names: Sequence[str]) -> Source:
        """The same with further nodes in float: no pass is needed."""
        return replace(self, exclude=(*self.exclude, *names))

    def graphs(self, ranges: Ranges) -> list[Int8Graph]:
        """In the canonical layout: one for each plan that differs, none where nothing becomes int8."""
        seen = self.observed.seen if self.observed.observing.means else {}
        means = {name: one.means for name, one in seen.items() if one.bounded}
        made = []
        for number, planned in enumerate(self.observed.planned(self.exclude)):
            steps = scales(planned.plan, ranges, output_margin=self.margin)
            model = insert(
                self.observed.model, planned.plan, steps, weight_limit=KINDS[self.variant].weight_limit, means=means,
                given=self.weights,
            )  # fmt: skip
            made.append(
                Int8Graph(
                    variant=self.variant, number=number, planned=planned, model=model, real=self.real,
                    steps=steps, ranges=ranges,
                )
            )  # fmt: skip
        return made
