"""What calibration saw and did, as plain rows. Knows no samples; runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.comparison.score_scale import ScoreScale
from edge_sdk.calibration.macs import GraphCost
from edge_sdk.calibration.ops import DEQUANTIZE, depthwise, operator
from edge_sdk.calibration.plan import QuantizationPlan
from edge_sdk.calibration.saturation.loss import unsafe_pairs
from edge_sdk.calibration.statistics.observe import TensorStatistics
from edge_sdk.calibration.statistics.observed_graph import Planned
from edge_sdk.calibration.statistics.output_correction import OutputCorrection
from edge_sdk.calibration.statistics.ranges import Range
from edge_sdk.calibration.statistics.weights import by_output
from edge_sdk.counted import counted
from edge_sdk.errors import BadUsage

LayoutName = Literal["plain", "conv-relu-q", "conv-q-relu-q"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One graph to ship. graph: ONNX bytes. int8_planned: how many Conv, Gemm and MatMul are planned in int8.
    int8_convolutions: how many of them ran in int8 where it was measured, the fewest: what `CompileOptions` may ask
    for on every runtime that it is for.

    runtimes: planned for these alone (by contract: "tensorrt" is TensorRT-RTX as well); () = whichever takes the
    layout. plan: digest of what is int8 with which scales: graphs of one variant and one plan answer alike, bit by bit.
    """

    variant: str
    layout: LayoutName
    graph: bytes
    int8_convolutions: int
    int8_planned: int = 0
    runtimes: tuple[str, ...] = ()
    plan: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRow:
    """One quantized tensor: values seen (low, high), largest exact magnitude (top), step (scale), share cut."""

    tensor: str
    role: str
    low: float
    high: float
    top: float
    scale: float
    cut: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """One int8 operator. unsafe_pairs: by variant, share of weight pairs that can saturate without VNNI (0 = exact).
    errors: by variant, what it loses by itself (`comparison.operator_errors`)."""

    node: str
    op: str
    unsafe_pairs: Mapping[str, float]
    errors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRow:
    """Multiply-adds of one kind of operator (`macs.Kind`) in one run of one variant, and those of them in int8."""

    variant: str
    kind: str
    macs: int
    int8_macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One candidate that was tried for one int8 variant.

    engine, mode: of `candidates.Candidate`. ranges: the range method, `candidates.TUNED`, or the label of a search from
    outside. errors: by output, of its first plan, against the float graph on
    the compared samples; empty where it was the only candidate. seconds, peak_bytes: of making it (`usage.Usage`),
    without the pass that all share; what candidates of one engine and mode share counts for their first. why: what it
    failed with. kept: whether the variant is made of it.
    """

    variant: str
    engine: str
    mode: str
    ranges: str
    errors: Mapping[str, float]
    seconds: float
    peak_bytes: int | None
    why: str = ""
    kept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One set of operators that was tried in a search. int8_operators: how many are int8, of the plan that has most.
    float_nodes: what the search left float. value: the metric, or without one the difference of the outputs. error: the
    difference of the outputs. met: whether the bound holds. speed: by runtime, how many times as fast as float32."""

    int8_operators: int
    float_nodes: tuple[str, ...]
    value: float
    error: float
    met: bool
    speed: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revert:
    """Operators that became float together. alone: difference of the outputs with these in int8 and all others float.
    before, after: with all rows above in float, without and with these. None: there was no time to measure it."""

    nodes: tuple[str, ...]
    alone: float | None
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What was done to keep an accuracy bound for one variant. real: the float graph's value; 0 without a metric. best:
    what the variant is made of, or the nearest to the bound. points: none beats another in both value and int8
    operators. values: of `best`, as each runtime here answers. tries: how many graphs were measured. of_outputs: there
    is no metric, so that values are relative differences of outputs."""

    variant: str
    metric: str
    drop: str
    real: float
    met: bool
    best: Point
    points: tuple[Point, ...]
    reverts: tuple[Revert, ...]
    tries: int
    seconds: float
    out_of_time: bool
    values: Mapping[str, float] = field(default_factory=dict)
    of_outputs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleRow:
    """How one output of one variant moved from the float graph's on the compared samples. by: "ONNX semantics", the
    runtime that answered, or a runtime "without VNNI, predicted", which answered some of the samples alone."""

    variant: str
    by: str
    output: str
    scale: ScoreScale


@dataclass(frozen=True, slots=True, kw_only=True)
class SaturatedLayer:
    """One operator without VNNI. pairs_cut: share of its sums of two products that leave 16 bits on the samples.
    error: relative L2 of what its outputs lose by that, given what it reads there."""

    node: str
    pairs_cut: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """What one variant answers in `runtime` on a CPU without VNNI, predicted on `samples` of the compared samples.

    errors: by output, difference from the float graph, as in `CalibrationReport.errors`. layers: the operators of which
    some pair of weights can saturate.
    """

    variant: str
    runtime: str
    samples: int
    errors: Mapping[str, float]
    layers: tuple[SaturatedLayer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationReport:
    """What calibration saw and did.

    samples: read, in pass_seconds; pass_peak_bytes: the process's largest resident size meanwhile. attempts: what was
    tried for the int8 variants. searches: for an accuracy bound. scales: how outputs moved, where that was asked for;
    saturation: of the same, without VNNI, where weights can saturate.
    tensors, layers: of the int8 variants. kinds: multiply-adds of these, of the plan that has fewest in int8; empty
    where the sizes of the graph depend on values. left_float: what stays float somewhere, and why.
    output_corrections: by variant. errors: by variant and output, difference from the float graph on `compared` of the
    samples, evenly spread, by the letter of the standard (`fidelity.error`: relative L2, or the share of values that
    differ where an output holds no floats); of several plans the largest; without outputs that can't be compared.
    notes: sentences on what is unusual.
    """

    samples: int
    compared: int
    tensors: tuple[TensorRow, ...]
    layers: tuple[LayerRow, ...]
    left_float: Mapping[str, str]
    output_corrections: Mapping[str, tuple[OutputCorrection, ...]]
    errors: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]
    attempts: tuple[Attempt, ...] = ()
    searches: tuple[Search, ...] = ()
    scales: tuple[ScaleRow, ...] = ()
    saturation: tuple[Saturation, ...] = ()
    kinds: tuple[KindRow, ...] = ()
    pass_seconds: float = 0.0
    pass_peak_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """Variants in the order of the options (int8 ones in both layouts; see the report's notes on what was left out)."""

    variants: tuple[Variant, ...]
    report: CalibrationReport

    def get(self, variant: str, layout: str | None = None, *, runtime: str | None = None) -> Variant:
        """The first variant of that name, in that layout and for that runtime if they matter; else BadUsage.

        Where runtimes have plans of their own, OpenVINO's comes first: it is the one that every runtime can bear.
        """
        for made in self.variants:
            fits = runtime is None or not made.runtimes or runtime in made.runtimes
            if made.variant == variant and layout in (None, made.layout) and fits:
                return made
        raise BadUsage(f"no variant {variant} in layout {layout} was made for {runtime or 'any runtime'}")


def tensor_rows(
    plans: Iterable[tuple[QuantizationPlan, Mapping[str, np.float32], Mapping[str, Range]]],
) -> tuple[TensorRow, ...]:
    """One row a tensor, of the first plan that has it, with that plan's scales and ranges."""
    rows: dict[str, TensorRow] = {}
    for plan, scales, ranges in plans:
        for name, point in plan.points.items():
            found = ranges.get(name)
            low, high, top, cut = (
                (0.0, 255.0, 255.0, 0.0) if found is None else (found.low, found.high, found.top, found.cut)
            )
            row = TensorRow(
                tensor=name, role=point.role, low=low, high=high, top=top, scale=float(scales[name]), cut=cut
            )
            rows.setdefault(name, row)
    return tuple(rows.values())


def layer_rows(
    model: ModelProto, variants: Iterable[Variant], errors: Mapping[str, Mapping[str, float]] = MappingProxyType({})
) -> tuple[LayerRow, ...]:
    """One row for each operator that is int8 in some variant, in graph order. errors: by variant and node."""
    shares: dict[str, dict[str, float]] = {}
    for variant in variants:
        made = graphs.parsed(variant.graph)
        weights = {t.name: t for t in made.graph.initializer}
        sources = {n.output[0]: n.input[0] for n in made.graph.node if n.op_type == DEQUANTIZE}
        for node in made.graph.node:
            stored = weights.get(sources.get(node.input[1], "")) if operator(node).kind == "matrix" else None
            if stored is None or variant.variant in shares.get(node.name, ()):
                continue
            values = numpy_helper.to_array(stored)
            safe = depthwise(node, values.shape)
            shares.setdefault(node.name, {})[variant.variant] = 0.0 if safe else unsafe_pairs(by_output(node, values))
    return tuple(
        LayerRow(
            node=n.name, op=n.op_type, unsafe_pairs=shares[n.name],
            errors={variant: found[n.name] for variant, found in errors.items() if n.name in found},
        )
        for n in model.graph.node if n.name in shares
    )  # fmt: skip


def kind_rows(costs: Mapping[str, Sequence[GraphCost]]) -> tuple[KindRow, ...]:
    """By kind of operator, the largest first. costs: by variant, of its plans."""
    rows = []
    for variant, found in costs.items():
        fewest = min(found, key=lambda one: one.int8_share)
        for kind, total in fewest.by_kind.items():
            int8 = sum(one.macs for one in fewest.nodes.values() if one.kind == kind and one.int8)
            rows.append(KindRow(variant=variant, kind=kind, macs=total, int8_macs=int8))
    return tuple(rows)


def left_float(model: ModelProto, made: Iterable[Planned]) -> dict[str, str]:
    """Convolutions and products that not every plan has in int8, in the order of the graph, each with the reason; and
    for which runtimes, where another one has it in int8."""
    plans = list(made)
    found: dict[str, str] = {}
    for node in model.graph.node:
        reasons = [(one.plan.left_float[node.name], one.contracts) for one in plans if node.name in one.plan.left_float]
        if not reasons:
            continue
        everywhere = all(node.name in one.plan.left_float for one in plans)
        runtimes = sorted({name for _, contracts in reasons for name in contracts})
        found[node.name] = reasons[0][0] if everywhere else f"{reasons[0][0]}; for {', '.join(runtimes)} alone"
    return found


def dead_notes(seen: Mapping[str, TensorStatistics], rows: Iterable[TensorRow]) -> list[str]:
    """A sentence on each quantized tensor that tells calibration nothing."""
    return [
        f"{row.tensor} is zero on every sample" if seen.get(row.tensor) is None or seen[row.tensor].count
        else f"{row.tensor} is empty on every sample"
        for row in rows if row.top == 0.0
    ]  # fmt: skip


def half_notes(model: ModelProto) -> list[str]:
    """Why operators of a graph in half precision don't become int8: Q/DQ of float16 is no portable form of it."""
    index = graphs.Index.of(model)
    half = [
        node.name for node in model.graph.node
        if operator(node).kind == "matrix" and index.types.get(node.input[0]) == TensorProto.FLOAT16
    ]  # fmt: skip
    if not half:
        return []
    count = counted(len(half), "operator")
    return [f"{count} in float16, such as {half[0]}, can't become int8: export the model in float32"]
