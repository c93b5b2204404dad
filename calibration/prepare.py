"""From the user's float graph to one that can be quantized: cleaned, checked, observed in one pass over the samples.

Everything that no choice of engine, range or layout changes is done here, once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
from onnx import ModelProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.comparison import fidelity
from edge_sdk.calibration.lint.linter import lint
from edge_sdk.calibration.lint.rules import RUNTIMES
from edge_sdk.calibration.ops import operator
from edge_sdk.calibration.options import QuantizeOptions
from edge_sdk.calibration.rewrite.clean import NEWEST, OLDEST, Cleaned, clean, with_names
from edge_sdk.calibration.sizes import check_sample
from edge_sdk.calibration.statistics.observe import Feeds, Spread, again
from edge_sdk.calibration.statistics.observed_graph import ObservedGraph, ObserverOptions, observed_graph
from edge_sdk.calibration.usage import Usage, measured
from edge_sdk.errors import BadInput, BadUsage, CheckFailed, EdgeError
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes.onnx_file import read_facts
from edge_sdk.tensors import BATCH, Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """What can be said before all samples are read.

    model: the cleaned graph. first_pass: all samples, once. exclude, output_correction, keep_fp32: names of the cleaned
    graph. contracts: runtimes that take the float graph. axes: sizes of all free axes, one row of a batch.
    """

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """What every engine works on.

    base: the cleaned graph and its statistics. compared: the samples that errors are measured on. wanted: what the
    float graph answers on them. passed: how many samples there are. usage: of the pass. rewritten: what engines have
    made of the base and observed anew, by mode and excluded nodes: variants share it.
    """

    subject: Subject
    base: ObservedGraph
    compared: tuple[Feeds, ...]
    wanted: Sequence[Mapping[str, Array]]
    passed: int
    usage: Usage
    rewritten: dict[tuple[str, tuple[str, ...]], ObservedGraph] = field(default_factory=dict)

    @property
    def model(self) -> ModelProto:
        """The cleaned float graph."""
        return self.base.model

    @property
    def options(self) -> QuantizeOptions:
        return self.subject.options

    @property
    def samples(self) -> Iterable[Feeds]:
        """As often as asked."""
        return self.subject.samples


def subject_of(graph: bytes, samples: Iterable[Feeds], options: QuantizeOptions) -> Subject:
    """Clean the graph, and check it and the first sample.

    Raises BadInput (graph, sample), BadUsage (names of nodes, a one-time iterator), CheckFailed (a graph that no
    runtime takes, or that answers differently each time).
    """
    samples = again(samples)
    original = with_names(graphs.load(graph))
    _check_names(original, (*options.keep_fp32, *options.exclude, *options.output_correction))
    named = {*options.keep_fp32, *options.exclude, *options.output_correction}
    cleaned = clean(original, keep=named)
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
    return Subject(
        model=cleaned.model, samples=samples, first_pass=chain((first,), passing), options=options, keep_fp32=kept,
        exclude=left_out, output_correction=corrected, contracts=contracts,
        axes={**_sizes(cleaned.model, first), **options.axes, BATCH: 1}, notes=(*cleaned.notes, *refused),
    )  # fmt: skip


def observed(subject: Subject, *, progress: Progress = silent) -> Prepared:
    """All samples, observed once. Raises BadInput for a sample that does not fit."""
    options = subject.options
    observing = ObserverOptions(
        contracts=subject.contracts, float_nodes=subject.keep_fp32, first_conv=options.first_conv,
        histogram=options.trials.range_methods != ("minmax",) or options.range_search is not None,
        means=options.bias_correction,
        sizes=options.trials.equalise, halves="fp16" in options.variants, threads=options.threads,
    )  # fmt: skip
    total = len(subject.samples) if isinstance(subject.samples, Sized) else 0
    spread = Spread(options.trials.compared, total)
    with measured() as usage:
        base = observed_graph(
            subject.model, subject.first_pass, observing, exclude=subject.exclude, progress=progress, total=total,
            keep=spread,
        )  # fmt: skip
    compared = tuple(spread.samples())
    wanted = fidelity.outputs(subject.model, compared, options.threads)
    return Prepared(subject=subject, base=base, compared=compared, wanted=wanted, passed=spread.passed, usage=usage)


def prepare(
    graph: bytes, samples: Iterable[Feeds], options: QuantizeOptions, *, progress: Progress = silent
) -> Prepared:
    """Both steps. Raises as they do."""
    return observed(subject_of(graph, samples, options), progress=progress)


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
    violations = {runtime: [one for one in lint(data, (runtime,)) if not one.depends] for runtime in RUNTIMES}
    refused = {runtime: found[0] for runtime, found in violations.items() if found}
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
    try:
        same = fidelity.same_answers(original, cleaned.model, sample, threads)
    except EdgeError:  # folding made a graph that does not run
        same = False
    if same:
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
