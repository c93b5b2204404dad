"""A float graph together with what passed through it: everything that a plan and its scales need. Makes no int8 graph.

One pass over the samples observes the tensors of every plan that may be asked for later, so that leaving a node out of
int8 is a new plan and no new pass.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from onnx import ModelProto, TensorProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.layout import written_for
from edge_sdk.calibration.lint.rules import RUNTIMES
from edge_sdk.calibration.ops import operator
from edge_sdk.calibration.plan import FirstConv, QuantizationPlan, plan
from edge_sdk.calibration.statistics.observe import Feeds, Spread, TensorStatistics, extremes, observe
from edge_sdk.calibration.statistics.ranges import Range, fit
from edge_sdk.progress import Progress, silent

_CAREFUL_FIRST = ("openvino", "tensorrt", "onnxruntime")
"""What OpenVINO can bear, every runtime can."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planned:
    """A plan and the contracts that it serves, careful ones first."""

    plan: QuantizationPlan
    contracts: tuple[str, ...]

    def for_layout(self, layout: str) -> tuple[str, ...] | None:
        """`Variant.runtimes` of this plan in that layout; None if none of its runtimes wants it."""
        if set(self.contracts) == set(RUNTIMES):
            return ()
        mine = tuple(one for one in self.contracts if one in written_for(layout))
        return mine or None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ObserverOptions:
    """What to plan for and what to look at. contracts: runtimes that take the float graph. float_nodes: nodes that stay
    float in every plan. histogram: for range methods besides minmax. means: per channel, to correct biases. sizes: per
    channel, to equalise them. halves: whether to observe what fp16 must know."""

    contracts: tuple[str, ...]
    float_nodes: tuple[str, ...] = ()
    first_conv: FirstConv = "auto"
    histogram: bool = False
    means: bool = True
    sizes: bool = False
    halves: bool = False
    threads: int | None = None

    def plans(
        self, model: ModelProto, exclude: Sequence[str] = (), unbounded: frozenset[str] = frozenset(),
        tops: Mapping[str, float] = MappingProxyType({}),
    ) -> dict[str, QuantizationPlan]:  # fmt: skip
        """By contract. exclude: further nodes that stay float. unbounded, tops: of `plan.plan`."""
        return {
            target: plan(
                model, (target,), float_nodes=(*self.float_nodes, *exclude), first_conv=self.first_conv,
                unbounded=unbounded, tops=tops,
            )
            for target in _CAREFUL_FIRST if target in self.contracts
        }  # fmt: skip

    def channel_axes(self, model: ModelProto, plans: Iterable[QuantizationPlan]) -> dict[str, int]:
        """Of the tensors whose channels are observed one by one."""
        wanted = plans if self.means or self.sizes else ()
        return {name: axis for one in wanted for name, axis in one.channel_axes(model).items()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ObservedGraph:
    """A graph, how it was observed, and the statistics of its tensors."""

    model: ModelProto
    observing: ObserverOptions
    seen: Mapping[str, TensorStatistics]

    def planned(self, exclude: Sequence[str] = ()) -> list[Planned]:
        """The plans that differ, each with its contracts; none that leaves everything in float. No pass is needed: a
        tensor that only this `exclude` would quantize was not observed, and stays float."""
        unbounded = frozenset(name for name, one in self.seen.items() if not one.bounded)
        tops = {name: max(-one.low, one.high) for name, one in self.seen.items() if one.bounded}
        plans = self.observing.plans(self.model, exclude, unbounded, tops)
        while unobserved := {name for one in plans.values() for name in one.points} - self.seen.keys():
            unbounded |= unobserved
            plans = self.observing.plans(self.model, exclude, unbounded, tops)
        groups: list[tuple[QuantizationPlan, list[str]]] = []
        for target, found in plans.items():
            same = next((names for one, names in groups if one == found), None)
            if same is not None:
                same.append(target)
            elif found.operators:
                groups.append((found, [target]))
        return [Planned(plan=one, contracts=tuple(names)) for one, names in groups]

    def ranges(self, method: str) -> dict[str, Range]:
        """Of every tensor that a scale can hold. method: of `ranges.fit`."""
        return {name: fit(one, method) for name, one in self.seen.items() if one.bounded}

    def rewritten(self, model: ModelProto, samples: Iterable[Feeds], changed: Collection[str]) -> ObservedGraph:
        """The same with another graph of the same nodes, by one pass for the tensors that are not what they were.

        changed: names of tensors, none made of a picture alone; those that were not observed before stay so.
        """
        names = tuple(name for name in self.seen if name in changed)
        axes = self.observing.channel_axes(self.model, self.observing.plans(self.model).values())
        seen = observe(
            model, samples, names, histogram=self.observing.histogram, channel_axes=axes,
            threads=self.observing.threads,
        )  # fmt: skip
        return replace(self, model=model, seen={**self.seen, **seen})


def observed_graph(
    model: ModelProto,
    samples: Iterable[Feeds],
    observing: ObserverOptions,
    *,
    exclude: Sequence[str] = (),
    progress: Progress = silent,
    total: int = 0,
    keep: Spread | None = None,
) -> ObservedGraph:
    """One pass over `samples`. exclude: nodes that the first plan leaves float; plans without it are observed as well.

    The picture's own range is that of 0 and 255. total, keep: as of `observe.observe`. Raises as that.
    """
    plans = [*observing.plans(model).values(), *(observing.plans(model, exclude).values() if exclude else ())]
    points = dict.fromkeys(name for one in plans for name in one.points)
    halves = _half_tensors(model) if observing.halves else ()
    seen = observe(
        model, samples, tuple(dict.fromkeys((*points, *halves))), histogram=observing.histogram,
        channel_axes=observing.channel_axes(model, plans), sizes=observing.sizes, threads=observing.threads,
        progress=progress, total=total, keep=keep,
    )  # fmt: skip
    pictures = tuple(dict.fromkeys(name for one in plans for name in one.pictures()))
    if pictures:
        part, ends = extremes(model, pictures)
        whole = observe(part, ends, pictures, threads=observing.threads)
        seen |= {name: replace(seen[name], low=one.low, high=one.high) for name, one in whole.items()}
    return ObservedGraph(model=model, observing=observing, seen=seen)


def _half_tensors(model: ModelProto) -> tuple[str, ...]:
    """What must be observed to know that half numbers hold it: all but what can't exceed its own input."""
    index = graphs.Index.of(model)
    nodes = [n for n in model.graph.node if not operator(n).never_larger]
    return tuple(name for n in nodes for name in n.output if index.types.get(name) == TensorProto.FLOAT)
