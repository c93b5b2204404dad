"""`quantize`: the steps from a float graph to its variants, in order. Knows no family, no engine's insides."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import ModelProto, helper

from edge_sdk.calibration import candidates, graphs, report
from edge_sdk.calibration.bound import check
from edge_sdk.calibration.bound.accuracy import LARGEST_ERROR, AccuracyBound, Drop
from edge_sdk.calibration.bound.check import BoundCheck
from edge_sdk.calibration.candidates import Kept
from edge_sdk.calibration.comparison import fidelity
from edge_sdk.calibration.comparison.counts import with_true_counts
from edge_sdk.calibration.comparison.operator_errors import operator_errors
from edge_sdk.calibration.comparison.scale_rows import scale_rows
from edge_sdk.calibration.int8_graph import Int8Graph, float_variant
from edge_sdk.calibration.layout import assert_equal
from edge_sdk.calibration.macs import GraphCost, cost
from edge_sdk.calibration.options import QuantizeOptions
from edge_sdk.calibration.prepare import Prepared, observed, subject_of
from edge_sdk.calibration.report import CalibrationReport, Quantized, Search, Variant
from edge_sdk.calibration.rewrite.fp16 import stays_float, to_half
from edge_sdk.calibration.saturation.prediction import predictions
from edge_sdk.calibration.statistics.output_correction import OutputCorrection, applied, fitted
from edge_sdk.errors import BadInput, CheckFailed
from edge_sdk.progress import Progress, silent
from edge_sdk.tensors import Array

log = logging.getLogger(__name__)

DEFAULTS = QuantizeOptions()
NO_SEARCHES: tuple[Search, ...] = ()
ALONE = 4
"""Samples at most on which each operator's own error is measured: it is a mean over many values already."""
Graphs = Mapping[str, Sequence[Int8Graph]]
"""By variant."""
Corrections = Mapping[tuple[str, int], tuple[OutputCorrection, ...]]
"""By `Int8Graph.key`."""


def quantize(
    graph: bytes,
    samples: Iterable[Mapping[str, Array]],
    *,
    options: QuantizeOptions = DEFAULTS,
    bound: AccuracyBound | None = None,
    progress: Progress = silent,
) -> Quantized:
    """int8 and fp16 variants of a float32 ONNX graph, calibrated on `samples`.

    samples: feeds by input name; read once, one at a time, and once more where output corrections are asked for, and
    for each graph of an engine that rewrites the float graph, so that memory does not grow with their number. Where a
    fault of one runtime costs that runtime an operator, it gets a plan and a graph of its own (`Variant.runtimes`).
    bound: operators stay float until each int8 variant loses no more; without one, until it is `Trials.within`, as far
    as the time allows. Raises BadInput (graph, samples, a metric that raises), BadUsage (options, a one-time iterator),
    CheckFailed (a graph that no runtime takes, or an int8 graph that is far from the float one), BoundNotMet (with the
    best that was found), NotThere (no engine is installed).
    """
    subject = subject_of(graph, samples, options)
    real = check.of_float(subject, bound) if bound else 0.0
    return finished(observed(subject, progress=progress), bound=bound, real=real, progress=progress)


def finished(
    prepared: Prepared, exclude: Sequence[str] = (), *, bound: AccuracyBound | None = None, real: float = 0.0,
    progress: Progress = silent,
) -> Quantized:  # fmt: skip
    """All variants of a prepared graph: no sample is read but for corrections and rewriting engines.

    exclude: nodes that stay float in int8, besides the options' own. real: the float graph's metric, where `bound` has
    one. Raises as `quantize`.
    """
    exclude, options = (*prepared.subject.exclude, *exclude), prepared.options
    kept = candidates.best(prepared, exclude, progress)
    asked, bound = bound is not None, bound or _usual_bound(options, kept)
    checking = BoundCheck(prepared=prepared, bound=bound, real=real) if bound else None
    graphs, searches = kept.graphs, NO_SEARCHES
    if checking:
        graphs, searches = check.within(checking, kept, progress)
    corrections = _corrections(prepared, graphs)
    variants, notes = with_true_counts(_variants(prepared, graphs, corrections), prepared.subject.axes)
    if checking:
        searches = check.checked(checking, searches, variants)
        # An unasked bound is a goal: what misses it is noted, and refused only as any graph that is far (`_compare`).
        # One that was asked for is the user's own measure of far, and replaces that one.
        notes += check.refuse_unmet(checking, searches, force=options.force or not asked)
    reals = {name: made[0].real for name, made in graphs.items() if made}
    compared = _compare(prepared, variants, reals, far=options.force or asked)
    left_out = [name for name in options.variants if all(variant.variant != name for variant in variants)]
    if left_out:
        notes.append(f"no operator became int8, so {', '.join(left_out)} would be float: left out")
    found = _report(prepared, kept, graphs, corrections, compared, variants, notes)
    if options.trials.scales:
        found = _with_scales(found, prepared, variants)
    return Quantized(variants=tuple(variants), report=replace(found, searches=searches))


def _with_scales(found: CalibrationReport, prepared: Prepared, variants: Sequence[Variant]) -> CalibrationReport:
    """The report with how outputs moved, here and, where weights can saturate, on CPUs without VNNI."""
    predicted = predictions(prepared, variants)
    rows = tuple(one.row(prepared.wanted) for one in predicted)
    return replace(found, scales=scale_rows(prepared, variants, predicted), saturation=rows)


def _usual_bound(options: QuantizeOptions, kept: Kept) -> AccuracyBound | None:
    """What holds where the user states no bound; None where every variant keeps it as it is, may be far, or can't be
    compared."""
    within, errors = options.trials.within, [found[0].error for found in kept.candidates.values()]
    if within is None or options.force or max(errors, default=0.0) <= within:
        return None
    if not all(map(math.isfinite, errors)):
        return None  # shapes that depend on the values: no operator in float would make such an output comparable
    return AccuracyBound(drop=Drop(amount=100.0 * within, unit="%"), search_s=options.trials.search_s)


def _report(
    prepared: Prepared, kept: Kept, graphs: Graphs, corrections: Corrections, compared: _Compared,
    variants: Sequence[Variant], notes: Sequence[str],
) -> CalibrationReport:  # fmt: skip
    made = [one for of_variant in graphs.values() for one in of_variant]
    rows = report.tensor_rows((one.planned.plan, one.steps, one.ranges) for one in made)
    return CalibrationReport(
        samples=prepared.passed,
        compared=len(prepared.compared),
        tensors=rows,
        layers=report.layer_rows(
            prepared.model, (v for v in variants if v.variant in prepared.options.int8_variants),
            _operator_errors(prepared, graphs),
        ),
        kinds=report.kind_rows(_costs(prepared, graphs)),
        left_float=report.left_float(prepared.model, [one.planned for one in made]),
        output_corrections={name: one for (name, number), one in corrections.items() if number == 0},
        errors=compared.errors,
        notes=(
            *prepared.subject.notes, *report.dead_notes(prepared.base.seen, rows), *report.half_notes(prepared.model),
            *notes, *compared.notes, *_half_notes(prepared),
        ),
        attempts=kept.attempts,
        pass_seconds=prepared.usage.seconds,
        pass_peak_bytes=prepared.usage.peak_bytes,
    )  # fmt: skip


def _operator_errors(prepared: Prepared, graphs: Graphs) -> dict[str, dict[str, float]]:
    """By variant, of its first plan: plans differ in where Q/DQ stand behind operators, not before them.

    Beside `Int8Graph.real`: a graph with rescaled channels answers as the one before, but its layers don't.
    """
    samples = prepared.compared[:ALONE]
    return {
        variant: operator_errors(made[0].real, made[0].model, samples, prepared.options.threads)
        for variant, made in graphs.items() if made
    }  # fmt: skip


def _costs(prepared: Prepared, graphs: Graphs) -> dict[str, list[GraphCost]]:
    try:
        return {
            variant: [cost(one.model, prepared.subject.axes) for one in made]
            for variant, made in graphs.items()
            if made
        }
    except BadInput:  # sizes that depend on values
        return {}


def _half_notes(prepared: Prepared) -> list[str]:
    if "fp16" not in prepared.options.variants:
        return []
    return stays_float(prepared.model, prepared.base.seen, prepared.subject.keep_fp32)


def _corrections(prepared: Prepared, graphs: Graphs) -> Corrections:
    made = {one.key: one.model for of_variant in graphs.values() for one in of_variant}
    if not prepared.subject.output_correction or not made:
        return {}
    threads = prepared.options.threads
    return fitted(prepared.model, made, prepared.samples, prepared.subject.output_correction, threads=threads)


def _variants(prepared: Prepared, graphs: Graphs, corrections: Corrections) -> list[Variant]:
    """In the order of the options."""
    out: list[Variant] = []
    for name in dict.fromkeys(prepared.options.variants):
        if name in graphs:
            out += [variant for one in graphs[name] for variant in _corrected(one, corrections).variants()]
        elif name not in prepared.options.int8_variants:
            model, kept_fp32 = prepared.model, prepared.subject.keep_fp32
            if name == "fp16":
                model = to_half(model, prepared.base.seen, keep_fp32=kept_fp32)
            out.append(float_variant(name, model, prepared.subject.contracts))
    return out


def _corrected(one: Int8Graph, corrections: Corrections) -> Int8Graph:
    found = corrections.get(one.key, ())
    return one.corrected(applied(one.model, found)) if found else one


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """errors: by variant and output, the largest of several plans. notes: what is to be said of them."""

    errors: Mapping[str, Mapping[str, float]]
    notes: Sequence[str]


def _compare(
    prepared: Prepared, variants: Sequence[Variant], reals: Mapping[str, ModelProto], *, far: bool
) -> _Compared:
    """Run every graph by the letter of the standard: graphs of one plan must be equal bit for bit.

    reals: by variant, `Int8Graph.real`. far: whether a graph may be far from the float one, with a note: forced, or a
    bound of the user's own holds. CheckFailed for one otherwise.
    """
    threads, wanted = prepared.options.threads, prepared.wanted
    firsts: dict[tuple[str, str], list[dict[str, Array]]] = {}
    found: dict[str, dict[str, float]] = {}
    notes: list[str] = []
    for variant in variants:
        model = graphs.parsed(variant.graph)
        got = fidelity.outputs(model, prepared.compared, threads)
        twin = firsts.setdefault((variant.variant, variant.plan), got)
        for number, (left, right) in enumerate(zip(twin, got, strict=True)):
            assert_equal(left, right, where=f"{variant.variant}, compared sample {number}")
        if twin is not got:
            continue
        errors, missing = fidelity.errors(wanted, got)
        before = found.get(variant.variant, {})
        found[variant.variant] = before | {name: max(error, before.get(name, 0.0)) for name, error in errors.items()}
        notes += [f"{variant.variant}: output {name} was not compared: {why}" for name, why in missing.items()]
        if bad := {name: error for name, error in errors.items() if error > LARGEST_ERROR}:
            real = reals.get(variant.variant, prepared.model)
            notes.append(_too_far(prepared, variant, real, model, bad, far=far))
    compared = dict.fromkeys(name for errors in found.values() for name in errors)
    notes += [note for name in compared if (note := _measured_by([one[name] for one in wanted], name))]
    return _Compared(errors=found, notes=tuple(dict.fromkeys(notes)))


def _too_far(
    prepared: Prepared, variant: Variant, real: ModelProto, model: ModelProto, bad: Mapping[str, float], *, far: bool
) -> str:
    """The sentence on a variant that is not the float graph any more; raised, unless it may be `far`."""
    output, error = max(bad.items(), key=lambda item: item[1])
    layer = fidelity.first_bad_layer(real, model, prepared.compared, prepared.options.threads)
    how_far, where = _by(error, output, prepared.model), f", first at layer {layer}" if layer else ""
    what = f"{variant.variant} differs from the float graph {how_far} on its own calibration samples{where}"
    if not far:
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
