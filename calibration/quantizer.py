"""`quantize`: the steps from a float graph to its variants, told in order. Knows no family and no runtime's options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, get_args

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.fp16 import NEVER_LARGER, to_half
from edge_sdk.calibration.layout import assert_equal, for_onnxruntime
from edge_sdk.calibration.lint import lint
from edge_sdk.calibration.match import Match, applied, fitted
from edge_sdk.calibration.observe import Feeds, Observed, Reader, again, extremes, observe
from edge_sdk.calibration.place import MATRIX_OPS, FirstConv, Plan, depthwise, place, plan, scales
from edge_sdk.calibration.ranges import SAFE_TOP, TOP, Range, RangeMethod, fit
from edge_sdk.calibration.saturation import unsafe_pairs
from edge_sdk.errors import BadUsage, CheckFailed
from edge_sdk.progress import Progress, silent
from edge_sdk.tensors import Array

VariantName = Literal["int8", "int8-w7", "fp16", "fp32"]
LayoutName = Literal["plain", "conv-relu-q", "conv-q-relu-q"]
VARIANTS: tuple[VariantName, ...] = ("int8", "int8-w7", "fp16", "fp32")
_WEIGHT_LIMITS = {"int8": TOP, "int8-w7": SAFE_TOP}
_COMPARED = 4  # samples, spread over all kinds, on which layouts are proven equal and errors are measured


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeOptions:
    """What to make of a float graph; every default of calibration stands here.

    variants: of "int8", "int8-w7" (weights in [-64, 64] where 16-bit sums could saturate), "fp16", "fp32" (cleaned).
    An int8 variant of a graph in which no operator became int8 is not made, and a note of the report says so.
    float_tail: nodes that stay float32 in every variant. exclude: nodes that stay float in the int8 variants.
    output_margin: widening (>= 1) of the ranges that float operators read, so that what goes beyond the samples (a
    defect) is not cut. first_conv: of `place.plan`. range_method: of `ranges.fit`. bias_correction: take what rounded
    weights add on average off the bias. matched: nodes inside the float tail whose output's mean and spread the int8
    variants get back by one gain and one shift each. threads: of ONNX Runtime while calibrating, None = its own choice.
    """

    variants: tuple[str, ...] = ("int8", "int8-w7", "fp16")
    float_tail: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    output_margin: float = 1.5
    first_conv: FirstConv = "auto"
    range_method: RangeMethod = "minmax"
    bias_correction: bool = True
    matched: tuple[str, ...] = ()
    threads: int | None = None

    def __post_init__(self) -> None:
        unknown = [v for v in self.variants if v not in VARIANTS]
        if unknown or not self.variants:
            raise BadUsage(f"variants are {', '.join(VARIANTS)}, not {', '.join(unknown) or 'none at all'}")
        if not (np.isfinite(self.output_margin) and self.output_margin >= 1.0):
            raise BadUsage(f"output_margin is a widening, at least 1, not {self.output_margin}")
        if self.first_conv not in get_args(FirstConv):
            raise BadUsage(f"first_conv is one of {get_args(FirstConv)}, not {self.first_conv!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One graph to ship. graph: ONNX bytes. int8_convolutions: how many Conv, Gemm and MatMul must run in int8."""

    variant: str
    layout: LayoutName
    graph: bytes
    int8_convolutions: int


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
    """One int8 operator. unsafe_pairs: by variant, share of weight pairs that can saturate without VNNI (0 = exact)."""

    node: str
    op: str
    unsafe_pairs: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationReport:
    """What calibration saw and did.

    samples: read. tensors, layers: of the int8 variants. float_nodes: convolutions left float. matches: by variant, of
    the tensors that were asked for. errors: by variant and output, relative L2 difference from the float graph on
    `compared` of the samples, evenly spread, by the letter of the standard. notes: sentences on what is unusual.
    """

    samples: int
    compared: int
    tensors: tuple[TensorRow, ...]
    layers: tuple[LayerRow, ...]
    float_nodes: tuple[str, ...]
    matches: Mapping[str, tuple[Match, ...]]
    errors: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """Variants in the order of the options (int8 ones in both layouts; see the report's notes on what was left out)."""

    variants: tuple[Variant, ...]
    report: CalibrationReport

    def get(self, variant: str, layout: str | None = None) -> Variant:
        """The variant of that name, in that layout if it matters. BadUsage if it was not made."""
        for made in self.variants:
            if made.variant == variant and layout in (None, made.layout):
                return made
        raise BadUsage(f"no variant {variant} in layout {layout} was made")


def quantize(
    graph: bytes,
    samples: Iterable[Mapping[str, Array]],
    *,
    options: QuantizeOptions = QuantizeOptions(),
    progress: Progress = silent,
) -> Quantized:
    """int8 and fp16 variants of a float32 ONNX graph, calibrated on `samples`.

    samples: feeds by input name; read once for the ranges and again for the comparison, one at a time, so that memory
    does not grow with their number. Raises BadInput (graph, samples), BadUsage (options, a one-time iterator),
    CheckFailed (a result that breaks the portable contract: never handed out).
    """
    samples = again(samples)
    original = graphs.load(graph)
    _check_names(original, (*options.float_tail, *options.exclude, *options.matched))
    model = graphs.clean(original)
    planned = plan(model, float_nodes=(*options.float_tail, *options.exclude), first_conv=options.first_conv)
    halves = _half_tensors(model) if "fp16" in options.variants else ()
    seen = _observe(model, samples, planned, halves, options, progress)
    ranges = {name: fit(o, options.range_method) for name, o in seen.items() if name in planned.points}
    steps = scales(planned, ranges, output_margin=options.output_margin)

    means = {name: o.means for name, o in seen.items()}
    variants: list[Variant] = []
    left_out: list[str] = []
    matches: dict[str, tuple[Match, ...]] = {}
    for name in options.variants:
        if name in _WEIGHT_LIMITS and not planned.operators:
            left_out.append(name)
        elif name in _WEIGHT_LIMITS:
            canonical = place(model, planned, steps, weight_limit=_WEIGHT_LIMITS[name], means=means)
            if options.matched:
                matches[name] = fitted(model, canonical, samples, options.matched, threads=options.threads)
                canonical = applied(canonical, matches[name])
            variants += _int8_variants(name, canonical, len(planned.operators))
        elif name == "fp16":
            variants.append(_variant(name, "plain", to_half(model, seen, float_nodes=options.float_tail), 0))
        else:
            variants.append(_variant(name, "plain", model, 0))
    compared = _spread(samples, max((o.samples for o in seen.values()), default=0))
    errors = _compare(model, variants, compared, options.threads)
    report = _report(model, planned, ranges, steps, seen, variants, matches, errors, len(compared))
    if left_out:
        why = f"no operator became int8, so {', '.join(left_out)} would be float: left out"
        report = replace(report, notes=(*report.notes, why))
    return Quantized(variants=tuple(variants), report=report)


def _observe(
    model: ModelProto,
    samples: Iterable[Feeds],
    planned: Plan,
    halves: tuple[str, ...],
    options: QuantizeOptions,
    progress: Progress,
) -> dict[str, Observed]:
    """Statistics of all tensors that need them, from the samples; the picture's own range is that of 0 and 255."""
    tensors = tuple(dict.fromkeys((*planned.points, *halves)))
    seen = observe(
        model,
        samples,
        tensors,
        histogram=options.range_method != "minmax",
        means_of=planned.convolved(model) if options.bias_correction else (),
        threads=options.threads,
        progress=progress,
    )
    if planned.pictures():
        whole = observe(model, extremes(model), planned.pictures(), threads=options.threads)
        seen |= {name: replace(seen[name], low=o.low, high=o.high) for name, o in whole.items()}
    return seen


def _spread(samples: Iterable[Feeds], count: int) -> list[Feeds]:
    """_COMPARED of the `count` samples, evenly spread: callers give one kind after the other, good parts first."""
    wanted = {(2 * k + 1) * count // (2 * _COMPARED) for k in range(_COMPARED)}
    return [feeds for number, feeds in enumerate(islice(samples, max(wanted) + 1)) if number in wanted]


def _check_names(model: ModelProto, names: tuple[str, ...]) -> None:
    unknown = sorted(set(names) - {n.name for n in model.graph.node})
    if unknown:
        raise BadUsage(f"the graph has no node {', '.join(unknown)}", do="edge-sdk inspect lists the nodes")


def _half_tensors(model: ModelProto) -> tuple[str, ...]:
    """What must be watched to know that half numbers hold it: all but what can't exceed its own input."""
    index = graphs.Index.of(model)
    nodes = [n for n in model.graph.node if n.op_type not in NEVER_LARGER]
    return tuple(name for n in nodes for name in n.output if index.types.get(name) == TensorProto.FLOAT)


def _variant(name: str, layout: LayoutName, model: ModelProto, count: int) -> Variant:
    """The last gate: what the linter rejects is not handed out."""
    data = graphs.dump(model)
    # The second layout is written for ONNX Runtime alone: its activations are uint8.
    faults = lint(data, ("onnxruntime",) if layout == "conv-q-relu-q" else ())
    if faults:
        first = faults[0]
        raise CheckFailed(
            f"{len(faults)} violations of the portable contract, the first is {first.rule}: {first.what}",
            where=f"{name}, {first.node}",
            do=first.do,
        )
    return Variant(variant=name, layout=layout, graph=data, int8_convolutions=count)


def _int8_variants(name: str, canonical: ModelProto, count: int) -> list[Variant]:
    """Both layouts of one int8 graph."""
    return [
        _variant(name, "conv-relu-q", canonical, count),
        _variant(name, "conv-q-relu-q", for_onnxruntime(canonical), count),
    ]


def _report(
    model: ModelProto,
    planned: Plan,
    ranges: Mapping[str, Range],
    steps: Mapping[str, np.float32],
    seen: Mapping[str, Observed],
    variants: list[Variant],
    matches: Mapping[str, tuple[Match, ...]],
    errors: Mapping[str, Mapping[str, float]],
    compared: int,
) -> CalibrationReport:
    tensors = []
    for name, point in planned.points.items():
        found = ranges.get(name)
        low, high, top, cut = (
            (0.0, 255.0, 255.0, 0.0) if found is None else (found.low, found.high, found.top, found.cut)
        )
        tensors.append(
            TensorRow(tensor=name, role=point.role, low=low, high=high, top=top, scale=float(steps[name]), cut=cut)
        )
    convolutions = [n.name for n in model.graph.node if n.op_type in MATRIX_OPS]
    notes = [f"{r.tensor} is zero on every sample" for r in tensors if r.top == 0.0]
    return CalibrationReport(
        samples=max((o.samples for o in seen.values()), default=0),
        compared=compared,
        tensors=tuple(tensors),
        layers=_layers(model, planned, variants),
        float_nodes=tuple(n for n in convolutions if n not in planned.operators),
        matches=matches,
        errors=errors,
        notes=tuple(notes),
    )


def _layers(model: ModelProto, planned: Plan, variants: list[Variant]) -> tuple[LayerRow, ...]:
    shares: dict[str, dict[str, float]] = {name: {} for name in planned.operators}
    for variant in variants:
        if variant.layout != "conv-relu-q":
            continue
        made = graphs.load(variant.graph)
        weights = {t.name: t for t in made.graph.initializer}
        sources = {n.output[0]: n.input[0] for n in made.graph.node if n.op_type == "DequantizeLinear"}
        for node in made.graph.node:
            if node.name in shares:
                stored = numpy_helper.to_array(weights[sources[node.input[1]]])
                rows = stored if stored.ndim > 2 or node.op_type == "Gemm" else stored.T
                safe = depthwise(node, stored.shape)
                shares[node.name][variant.variant] = 0.0 if safe else unsafe_pairs(rows)
    ops = {n.name: n.op_type for n in model.graph.node}
    return tuple(LayerRow(node=name, op=ops[name], unsafe_pairs=share) for name, share in shares.items())


def _compare(
    model: ModelProto, variants: list[Variant], compared: list[Feeds], threads: int | None
) -> dict[str, dict[str, float]]:
    """Run every graph by the letter of the standard: layouts must be equal bit for bit; the errors against float."""
    wanted = _outputs(model, compared, threads)
    made: dict[str, list[dict[str, Array]]] = {}
    for variant in variants:
        got = _outputs(graphs.load(variant.graph), compared, threads)
        if variant.variant in made:
            for number, (left, right) in enumerate(zip(made[variant.variant], got, strict=True)):
                assert_equal(left, right, where=f"{variant.variant}, compared sample {number}")
        made.setdefault(variant.variant, got)
    names = [o.name for o in model.graph.output]
    return {
        variant: {name: _relative([w[name] for w in wanted], [g[name] for g in got]) for name in names}
        for variant, got in made.items()
    }


def _outputs(model: ModelProto, compared: list[Feeds], threads: int | None) -> list[dict[str, Array]]:
    reader = Reader.of_outputs(model, threads=threads)
    return [reader.run(feeds, where=f"compared sample {number}") for number, feeds in enumerate(compared)]


def _relative(wanted: list[Array], got: list[Array]) -> float:
    gap = sum(
        float(np.sum((w.astype(np.float64) - g.astype(np.float64)) ** 2)) for w, g in zip(wanted, got, strict=True)
    )
    norm = sum(float(np.sum(w.astype(np.float64) ** 2)) for w in wanted)
    return float(np.sqrt(gap / norm)) if norm > 0.0 else float(np.sqrt(gap))
