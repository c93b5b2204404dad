"""`quantize`: the steps from a float graph to its variants, in order. Knows no family and no runtime's options."""

from __future__ import annotations

import difflib
import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal, get_args

import numpy as np
from onnx import ModelProto, TensorProto, helper

from edge_sdk.calibration import fidelity, graphs, report
from edge_sdk.calibration.clean import NEWEST, OLDEST, Cleaned, clean, with_names
from edge_sdk.calibration.counts import with_true_counts
from edge_sdk.calibration.fp16 import to_half
from edge_sdk.calibration.insert import insert
from edge_sdk.calibration.layout import assert_equal, for_onnxruntime, written_for
from edge_sdk.calibration.lint import lint
from edge_sdk.calibration.observe import Feeds, Spread, TensorStatistics, again, extremes, observe
from edge_sdk.calibration.ops import operator
from edge_sdk.calibration.output_correction import OutputCorrection, applied, fitted
from edge_sdk.calibration.plan import FirstConv, QuantizationPlan, plan
from edge_sdk.calibration.ranges import SAFE_TOP, TOP, RangeMethod, fit
from edge_sdk.calibration.report import CalibrationReport, LayoutName, Quantized, Variant
from edge_sdk.calibration.rules import RUNTIMES
from edge_sdk.calibration.scales import scales
from edge_sdk.calibration.sizes import check_sample
from edge_sdk.errors import BadInput, BadUsage, CheckFailed
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes import targets
from edge_sdk.runtimes.onnx_file import read_facts
from edge_sdk.tensors import BATCH, Array

log = logging.getLogger(__name__)

VariantName = Literal["int8", "int8-w7", "fp16", "fp32"]
VARIANTS: tuple[VariantName, ...] = ("int8", "int8-w7", "fp16", "fp32")
_WEIGHT_LIMITS = {"int8": TOP, "int8-w7": SAFE_TOP}
_COMPARED = 4  # samples, spread over all kinds, on which layouts are proven equal and errors are measured
_CAREFUL_FIRST = ("openvino", "tensorrt", "onnxruntime")  # what OpenVINO can bear, every runtime can


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeOptions:
    """What to make of a float graph; every default of calibration stands here.

    variants: of "int8", "int8-w7" (weights in [-64, 64] where 16-bit sums could saturate), "fp16", "fp32" (cleaned).
    An int8 variant of a graph in which no operator became int8 is not made, and a note of the report says so.
    keep_fp32: nodes that stay float32 in every variant. exclude: nodes that stay float in the int8 variants.
    output_margin: widening (>= 1) of the ranges that float operators read, so that what goes beyond the samples (a
    defect) is not cut; None = 1.5 where keep_fp32 names such operators, else 1. first_conv: of `plan.plan`.
    range_method: of `ranges.fit`. bias_correction: take what rounded weights add on average off the bias.
    output_correction: nodes kept in fp32 whose output's mean and spread the int8 variants get back by one gain and one
    shift each. axes: the largest size of each free axis that the graph will run with; of one that is not named, its
    size in the first sample. threads: of ONNX Runtime while calibrating, None = its own choice. force: hand out an int8
    graph that is far from the float graph, with a note, instead of raising CheckFailed.
    """

    variants: tuple[str, ...] = ("int8", "int8-w7", "fp16")
    keep_fp32: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    output_margin: float | None = None
    first_conv: FirstConv = "auto"
    range_method: RangeMethod = "minmax"
    bias_correction: bool = True
    output_correction: tuple[str, ...] = ()
    axes: Mapping[str, int] = field(default_factory=dict, hash=False)
    threads: int | None = None
    force: bool = False

    def __post_init__(self) -> None:
        unknown = [v for v in self.variants if v not in VARIANTS]
        if unknown or not self.variants:
            raise BadUsage(f"variants are {', '.join(VARIANTS)}, not {', '.join(unknown) or 'none at all'}")
        if not (np.isfinite(self.margin) and self.margin >= 1.0):
            raise BadUsage(f"output_margin is a widening, at least 1, not {self.output_margin}")
        if self.range_method not in get_args(RangeMethod):
            raise BadUsage(f"range_method is one of {get_args(RangeMethod)}, not {self.range_method!r}")
        if self.first_conv not in get_args(FirstConv):
            raise BadUsage(f"first_conv is one of {get_args(FirstConv)}, not {self.first_conv!r}")

    @property
    def margin(self) -> float:
        """`output_margin`, decided."""
        return self.output_margin if self.output_margin is not None else (1.5 if self.keep_fp32 else 1.0)


def quantize(
    graph: bytes,
    samples: Iterable[Mapping[str, Array]],
    *,
    options: QuantizeOptions = QuantizeOptions(),
    progress: Progress = silent,
) -> Quantized:
    """int8 and fp16 variants of a float32 ONNX graph, calibrated on `samples`.

    samples: feeds by input name; read once, one at a time, and once more where output corrections are asked for, so
    that memory does not grow with their number. Where a fault of one runtime costs that runtime an operator, it gets a
    plan and a graph of its own (`Variant.runtimes`). Raises BadInput (graph, samples), BadUsage (options, a one-time
    iterator), CheckFailed (a graph that no runtime takes, or an int8 graph that is far from the float one).
    """
    work = _Work.of(graph, again(samples), options)
    seen, spread = work.observe(progress)
    ranges = {name: fit(one, options.range_method) for name, one in seen.items() if one.bounded}
    planned = work.planned(seen)
    steps = [scales(one.plan, ranges, output_margin=options.margin) for one in planned]
    made = _int8_graphs(work, planned, steps, seen)
    corrections = _corrections(work, made)
    variants: list[Variant] = []
    for name in options.variants:
        if name in _WEIGHT_LIMITS:
            variants += [variant for one in made if one.key[0] == name for variant in one.variants(corrections)]
        else:
            half = to_half(work.model, seen, keep_fp32=work.keep_fp32) if name == "fp16" else work.model
            variants.append(_plain(name, half, work.contracts))
    variants, unclaimed = with_true_counts(variants, work.axes)
    errors, notes = _compare(work, variants, kept := spread.samples())
    left_out = [name for name in options.variants if all(variant.variant != name for variant in variants)]
    if left_out:
        notes.append(f"no operator became int8, so {', '.join(left_out)} would be float: left out")
    rows = report.tensor_rows(zip((one.plan for one in planned), steps, strict=True), ranges)
    found = CalibrationReport(
        samples=spread.passed,
        compared=len(kept),
        tensors=rows,
        layers=report.layer_rows(work.model, (v for v in variants if v.variant in _WEIGHT_LIMITS)),
        float_nodes=report.left_float(work.model, [one.plan for one in planned]),
        matches={name: one for (name, number), one in corrections.items() if number == 0},
        errors=errors,
        notes=(*work.notes, *report.dead_notes(seen, rows), *report.half_notes(work.model), *unclaimed, *notes),
    )
    return Quantized(variants=tuple(variants), report=found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Planned:
    """A plan and the contracts that it serves, careful ones first."""

    plan: QuantizationPlan
    contracts: tuple[str, ...]

    def for_layout(self, layout: LayoutName) -> tuple[str, ...] | None:
        """`Variant.runtimes` of this plan in that layout; None if none of its runtimes wants it."""
        if set(self.contracts) == set(RUNTIMES):
            return ()
        mine = tuple(one for one in self.contracts if one in written_for(layout))
        return mine or None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Work:
    """What is quantized, cleaned, and for whom. keep_fp32, exclude, output_correction: names of the cleaned graph.
    axes: sizes of all free axes, one row of a batch."""

    original: ModelProto
    model: ModelProto
    samples: Iterable[Feeds]
    first_pass: Iterator[Feeds]
    options: QuantizeOptions
    keep_fp32: tuple[str, ...]
    exclude: tuple[str, ...]
    output_correction: tuple[str, ...]
    contracts: tuple[str, ...]
    axes: Mapping[str, int]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, graph: bytes, samples: Iterable[Feeds], options: QuantizeOptions) -> _Work:
        """Everything that can be said of the graph before all samples run, and by the first sample."""
        original = with_names(graphs.load(graph))
        _check_names(original, (*options.keep_fp32, *options.exclude, *options.output_correction))
        cleaned = clean(original)
        _check_outputs(cleaned.model)
        contracts, refused = _contracts(cleaned.model)
        passing = iter(samples)
        first = next(passing, None)
        if first is None:
            raise BadInput("there are no calibration samples", hint="Give at least one, better some hundred")
        check_sample(cleaned.model, {name: np.shape(array) for name, array in first.items()})
        cleaned = _unchanged(original, cleaned, first, options.threads)
        kept, left_out, corrected = (
            tuple(cleaned.names[name] for name in names if name in cleaned.names)
            for names in (options.keep_fp32, options.exclude, options.output_correction)
        )
        return cls(
            original=original, model=cleaned.model, samples=samples, first_pass=chain((first,), passing),
            options=options, keep_fp32=kept, exclude=left_out, output_correction=corrected, contracts=contracts,
            axes={**_sizes(cleaned.model, first), **options.axes, BATCH: 1}, notes=(*cleaned.notes, *refused),
        )  # fmt: skip

    def plans(self, unbounded: frozenset[str] = frozenset()) -> dict[str, QuantizationPlan]:
        """By contract."""
        return {
            target: plan(
                self.model,
                (target,),
                float_nodes=(*self.keep_fp32, *self.exclude),
                first_conv=self.options.first_conv,
                unbounded=unbounded,
            )
            for target in _CAREFUL_FIRST if target in self.contracts
        }  # fmt: skip

    def observe(self, progress: Progress) -> tuple[dict[str, TensorStatistics], Spread]:
        """Statistics of all tensors that need them, and the samples to compare on, in one pass. The picture's own range
        is that of 0 and 255."""
        plans, options = self.plans().values(), self.options
        halves = _half_tensors(self.model) if "fp16" in options.variants else ()
        points = dict.fromkeys(name for one in plans for name in one.points)
        channels = {name: axis for one in plans for name, axis in one.channel_axes(self.model).items()}
        total = len(self.samples) if isinstance(self.samples, Sized) else 0
        keep = Spread(_COMPARED, total)
        seen = observe(
            self.model,
            self.first_pass,
            tuple(dict.fromkeys((*points, *halves))),
            histogram=options.range_method != "minmax",
            channel_axes=channels if options.bias_correction else {},
            threads=options.threads,
            progress=progress,
            total=total,
            keep=keep,
        )
        pictures = tuple(dict.fromkeys(name for one in plans for name in one.pictures()))
        if pictures:
            part, ends = extremes(self.model, pictures)
            whole = observe(part, ends, pictures, threads=options.threads)
            seen |= {name: replace(seen[name], low=o.low, high=o.high) for name, o in whole.items()}
        return seen, keep

    def planned(self, seen: Mapping[str, TensorStatistics]) -> list[_Planned]:
        """The plans that differ, each with its contracts; none that leaves everything in float."""
        unbounded = {name for name, o in seen.items() if not o.bounded}
        if unbounded:  # and what was not observed has no range either
            unbounded |= graphs.tensor_names(self.model) - seen.keys()
        groups: list[tuple[QuantizationPlan, list[str]]] = []
        for target, found in self.plans(frozenset(unbounded)).items():
            same = next((names for one, names in groups if one == found), None)
            if same is not None:
                same.append(target)
            elif found.operators:
                groups.append((found, [target]))
        return [_Planned(plan=one, contracts=tuple(names)) for one, names in groups]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Int8:
    """One int8 graph in the canonical layout, before output correction. key: variant and number of the plan."""

    key: tuple[str, int]
    planned: _Planned
    canonical: ModelProto

    def variants(self, corrections: Mapping[tuple[str, int], tuple[OutputCorrection, ...]]) -> list[Variant]:
        """In the layouts that its runtimes want, equal bit by bit."""
        found = corrections.get(self.key, ())
        model = applied(self.canonical, found) if found else self.canonical
        digest = hashlib.sha256(graphs.dump(model)).hexdigest()[:16]
        layouts: tuple[LayoutName, ...] = ("conv-relu-q", "conv-q-relu-q")
        made, planned = [], len(self.planned.plan.operators)
        for layout in layouts:
            runtimes = self.planned.for_layout(layout)
            if runtimes is not None:
                written = model if layout == "conv-relu-q" else for_onnxruntime(model)
                variant = Variant(
                    variant=self.key[0], layout=layout, graph=graphs.dump(written), runtimes=runtimes, plan=digest,
                    int8_convolutions=planned, int8_planned=planned,
                )  # fmt: skip
                made.append(_linted(variant))
        return made


def _int8_graphs(
    work: _Work, planned: Sequence[_Planned], steps: Sequence[Mapping[str, np.float32]],
    seen: Mapping[str, TensorStatistics],
) -> list[_Int8]:  # fmt: skip
    means = {name: one.means for name, one in seen.items() if one.bounded}
    return [
        _Int8(
            key=(name, number),
            planned=one,
            canonical=insert(work.model, one.plan, found, weight_limit=_WEIGHT_LIMITS[name], means=means),
        )
        for name in work.options.variants if name in _WEIGHT_LIMITS
        for number, (one, found) in enumerate(zip(planned, steps, strict=True))
    ]  # fmt: skip


def _corrections(work: _Work, made: Sequence[_Int8]) -> dict[tuple[str, int], tuple[OutputCorrection, ...]]:
    if not work.output_correction or not made:
        return {}
    graphs_by_key = {one.key: one.canonical for one in made}
    return fitted(work.model, graphs_by_key, work.samples, work.output_correction, threads=work.options.threads)


def _sizes(model: ModelProto, sample: Feeds) -> dict[str, int]:
    """The free axes of a graph as one sample has them, at least 1: a sample without detections has an empty one. Axes
    without a name are named as `read_facts` names them."""
    specs = read_facts(graphs.dump(model), where="graph").inputs
    shapes = {spec: np.shape(sample[spec.name]) for spec in specs if spec.name in sample}
    pairs = (pair for spec, shape in shapes.items() for pair in zip(spec.shape, shape))
    return {name: max(size, 1) for name, size in pairs if isinstance(name, str)}


def _contracts(model: ModelProto) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The runtimes that take the float graph, and a sentence on each that does not. CheckFailed if none is left."""
    data = graphs.dump(model)
    refused = {runtime: found[0] for runtime in RUNTIMES if (found := lint(data, (runtime,)))}
    if len(refused) == len(RUNTIMES):
        first = next(iter(refused.values()))
        raise CheckFailed(f"no runtime takes the graph: {first.rule} {first.what}", where=first.node, hint=first.hint)
    notes = (f"not for {runtime}: {first.rule} {first.node}: {first.what}" for runtime, first in refused.items())
    return tuple(one for one in RUNTIMES if one not in refused), tuple(notes)


def _unchanged(original: ModelProto, cleaned: Cleaned, sample: Feeds, threads: int | None) -> Cleaned:
    """`cleaned` if it answers what the original answers, else the graph without folding if that does."""
    if not fidelity.repeats(original, sample, threads):  # rule L55 doesn't look into branches
        raise CheckFailed(
            "the graph answers one sample differently each time", hint="Export the model for inference (model.eval())"
        )
    if fidelity.same_answers(original, cleaned.model, sample, threads):
        return cleaned
    plain = clean(original, optimise=False)
    if not fidelity.same_answers(original, plain.model, sample, threads):
        have, made = graphs.opset_of(original), graphs.opset_of(plain.model)
        how = f"converting the graph from opset {have} to {made}" if have != made else "sorting the graph's nodes"
        raise CheckFailed(
            f"{how} changes what it answers", hint=f"Export the model with an opset of {OLDEST} to {NEWEST}"
        )
    return replace(plain, notes=(*plain.notes, "folding constants would change what the graph answers: left out"))


def _check_outputs(model: ModelProto) -> None:
    """BadInput for an output that no node makes: Q/DQ can't be written before it, and it tells a caller nothing."""
    inputs, constants = {one.name for one in model.graph.input}, {one.name for one in model.graph.initializer}
    for name in (one.name for one in model.graph.output):
        if name in inputs or name in constants:
            what = "an input, passed through" if name in inputs else "a constant: no input changes it"
            raise BadInput(f"the graph's output {name} is {what}", hint="Export the model without that output")


def _check_names(model: ModelProto, names: tuple[str, ...]) -> None:
    nodes = [n.name for n in model.graph.node if n.name]
    if unknown := sorted(set(names) - set(nodes)):
        near = difflib.get_close_matches(unknown[0], nodes, n=3, cutoff=0.4)
        products = [n.name for n in model.graph.node if operator(n).kind == "matrix" and n.name]
        raise BadUsage(
            f"the graph has no node {', '.join(unknown)}",
            hint=f"Did you mean {' or '.join(near)}" if near else f"It has {_some(products or nodes)}",
        )


def _some(names: Sequence[str], most: int = 8) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _half_tensors(model: ModelProto) -> tuple[str, ...]:
    """What must be watched to know that half numbers hold it: all but what can't exceed its own input."""
    index = graphs.Index.of(model)
    nodes = [n for n in model.graph.node if not operator(n).never_larger]
    return tuple(name for n in nodes for name in n.output if index.types.get(name) == TensorProto.FLOAT)


def _plain(name: str, model: ModelProto, contracts: tuple[str, ...]) -> Variant:
    runtimes = () if set(contracts) == set(RUNTIMES) else contracts
    return _linted(
        Variant(variant=name, layout="plain", graph=graphs.dump(model), int8_convolutions=0, runtimes=runtimes)
    )


def _linted(variant: Variant) -> Variant:
    """The last gate: what the linter rejects is not handed out, for no runtime that would take the graph.

    The layout is judged for ONNX Runtime alone, where the wrong one runs in float: to TensorRT it costs a step, which
    an excluded Relu may ask for.
    """
    takers = [runtime for runtime in RUNTIMES if targets.takes(runtime, variant)]
    if faults := lint(variant.graph, takers, layout="onnxruntime" in takers):
        first = faults[0]
        raise CheckFailed(
            f"{len(faults)} violations of the portable contract, the first is {first.rule}: {first.what}",
            where=f"{variant.variant}, {first.node}",
            hint=first.hint,
        )
    return variant


def _compare(
    work: _Work, variants: Sequence[Variant], samples: list[Feeds]
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Run every graph by the letter of the standard: graphs of one plan must be equal bit for bit. Errors against float
    by variant and output, the largest of several plans. CheckFailed for one that is another graph, unless forced."""
    threads = work.options.threads
    wanted = fidelity.outputs(work.model, samples, threads)
    firsts: dict[tuple[str, str], list[dict[str, Array]]] = {}
    found: dict[str, dict[str, float]] = {}
    notes: list[str] = []
    for variant in variants:
        model = graphs.parsed(variant.graph)
        got = fidelity.outputs(model, samples, threads)
        twin = firsts.setdefault((variant.variant, variant.plan), got)
        for number, (left, right) in enumerate(zip(twin, got, strict=True)):
            assert_equal(left, right, where=f"{variant.variant}, compared sample {number}")
        if twin is not got:
            continue
        errors, missing = fidelity.errors(wanted, got)
        before = found.get(variant.variant, {})
        found[variant.variant] = before | {name: max(error, before.get(name, 0.0)) for name, error in errors.items()}
        notes += [f"{variant.variant}: output {name} was not compared: {why}" for name, why in missing.items()]
        if bad := {name: error for name, error in errors.items() if error > fidelity.LARGEST_ERROR}:
            notes.append(_too_far(work, variant, model, samples, bad))
    compared = dict.fromkeys(name for errors in found.values() for name in errors)
    notes += [note for name in compared if (note := _measured_by([one[name] for one in wanted], name))]
    return found, list(dict.fromkeys(notes))


def _too_far(work: _Work, variant: Variant, model: ModelProto, samples: list[Feeds], bad: Mapping[str, float]) -> str:
    """The sentence on a variant that is not the float graph any more; raised, unless forced."""
    output, error = max(bad.items(), key=lambda item: item[1])
    layer = fidelity.first_bad_layer(work.model, model, samples, work.options.threads)
    how_far, where = _by(error, output, work.model), f", first at layer {layer}" if layer else ""
    what = f"{variant.variant} differs from the float graph {how_far} on its own calibration samples{where}"
    if not work.options.force:
        raise CheckFailed(
            what, where=variant.variant,
            hint=f"Leave {'that layer' if layer else 'some layers'} out of int8 (exclude=, --exclude NODE), calibrate "
            "on more samples, or accept the error (force=True, --force)",
        )  # fmt: skip
    log.warning(what)
    return what


def _measured_by(wanted: Sequence[Array], name: str) -> str:
    """What the difference of an output is, where it isn't what it is of floats."""
    if not fidelity.is_share(wanted):
        return ""
    share = f"the difference of {name} is the share of its values that differ"
    return f"{share}, or how far they are off if that is less" if fidelity.is_picture(wanted) else f"{share}: no floats"


def _by(error: float, output: str, model: ModelProto) -> str:
    """How much an output differs, in words."""
    if not np.isfinite(error):
        return f"where values of output {output} are NaN or infinite"
    kind = next(o.type.tensor_type.elem_type for o in model.graph.output if o.name == output)
    held = helper.tensor_dtype_to_np_dtype(kind)
    far = np.issubdtype(held, np.floating) or fidelity.is_picture([np.empty(0, held)])
    return f"by {error:.0%} in output {output}" if far else f"in {error:.0%} of the values of output {output}"
