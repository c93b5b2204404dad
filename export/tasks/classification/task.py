"""What exporting a classifier adds: the quality of every variant on every runtime. Knows no family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from edge_sdk import tasks
from edge_sdk.counted import counted
from edge_sdk.decision.record import Record
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.each_runtime import faults
from edge_sdk.export.family import Exported
from edge_sdk.export.option import TaskOptions
from edge_sdk.export.pack import axes_of, setup_of
from edge_sdk.export.sections import Block, Card, Section, Table, Text, sentence
from edge_sdk.export.tasks.base import NOT_EVALUATED, Built, Checked, Made
from edge_sdk.export.tasks.classification import evaluate, metrics, page
from edge_sdk.export.tasks.classification.options import ClassificationOptions
from edge_sdk.export.tasks.classification.samples import (
    MOST_UNLABELLED,
    CalibrationSamples,
    EvaluationSamples,
    check_folder,
    read_samples,
    reader_of,
)
from edge_sdk.export.tasks.tensor import TensorExport
from edge_sdk.golden import answers
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.onnx_file import read_facts
from edge_sdk.runtimes.protocol import CompileOptions
from edge_sdk.shown import not_a_folder, shown
from edge_sdk.tasks.base import MODEL, Setup
from edge_sdk.tasks.classification.scores import ClassificationSettings, looks_like_probabilities, output_of
from edge_sdk.tensors import BATCH, Array
from edge_sdk.verify import VerifyReport

TWICE = (
    "the class scores look like probabilities, and the bundle says they are logits: write --scores probabilities, or "
    "softmax is applied twice"
)
LABELS = "--labels"
"""Where of an error about labels; the command line puts the file's name there."""
_WRITE_LOGITS = "Write --scores logits"
_SIGMOID = (
    "Write --scores logits, or, if the scores are independent of each other (sigmoid, several labels a picture), use "
    "--task tensor"
)
_COLUMNS = (
    "Same samples for every row. Change: of the accuracy against the first row, paired. First class changed, shift of "
    "the confidence (of the first row's class, median), error (L2), spread ratio (standard deviations) and rank "
    "correlation (Spearman) of the class scores: against the first row. Layout: where Q and DQ stand around a "
    "convolution; the numbers are the same. Ran: on which device, and how many convolutions and products in which type."
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassificationEvaluation:
    """Metrics of all variants. labels: of the classes. where: which samples, in words. notes: what was left out, and
    what must be said of the samples. missing: why there are no rows, "" = there are."""

    labels: tuple[str, ...] = ()
    where: str = ""
    rows: tuple[metrics.Row, ...] = ()
    notes: tuple[str, ...] = ()
    missing: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "samples": self.where, "labels": list(self.labels), "rows": [row.to_json() for row in self.rows],
            "notes": list(self.notes), NOT_EVALUATED: self.missing,
        }  # fmt: skip

    def lines(self) -> Sequence[str | Table]:
        if self.missing:
            return (f"quality was not measured: {self.missing}",)
        return [self.where, page.quality(self.rows), *(f"note: {note}" for note in self.notes if note != TWICE)]


class ClassificationExport(TensorExport):
    """Accuracy on labelled samples; without labels, how far each variant agrees with the float graph. Golden samples
    are those of the tensor task."""

    name: ClassVar[str] = "classification"
    title: ClassVar[str] = "classification"
    options: ClassVar[type[TaskOptions]] = ClassificationOptions

    def check(self, data: Any, options: Any) -> Checked:
        """Whether the samples for the evaluation are there. Raises BadInput."""
        test = _options(options).test
        if test is not None and not test.is_dir():
            raise not_a_folder(test, "Name a folder of samples")
        return Checked(rows=(("evaluation", str(test) if test else "the calibration samples, without labels"),))

    def check_exported(self, exported: Exported, options: Any) -> None:
        """Whether there are as many labels as classes, and samples for the evaluation in folders that are called by
        the labels. Raises BadInput, BadUsage."""
        settings, stated = exported.settings, _options(options)
        if not isinstance(settings, ClassificationSettings):
            return
        _check_labels(settings, exported)
        if stated.test is not None and stated.test.is_dir():
            setup = setup_of(exported, tasks.task(self.name), family="", where=shown(stated.test))
            check_folder(stated.test, settings.labels, reader_of(setup), group=stated.group)

    def check_answers(self, exported: Exported, first: Callable[[str], Mapping[str, Array]]) -> tuple[str, ...]:
        """Whether the first sample's scores are what the settings say. Raises BadUsage."""
        settings = exported.settings
        if not isinstance(settings, ClassificationSettings):
            return ()
        graph = exported.graphs[MODEL]
        options = CompileOptions(reference=True, axes=axes_of(graph, read_facts(graph.onnx, where=MODEL).inputs))
        session = registry.runtime("onnxruntime").compile(graph.onnx, options)
        try:
            scores = np.atleast_2d(answers(session, first(MODEL))[output_of(settings, session.outputs).name])
        finally:
            session.close()
        likely = looks_like_probabilities(scores)
        if settings.scores == "logits":
            return (TWICE,) if likely else ()
        if not likely and np.isfinite(scores).all():
            sums, least = scores.astype(np.float64).sum(-1), float(scores.min())
            raise BadUsage(
                f"the output of the first sample is no set of probabilities: its sum is {sums[0]:.6g}, its least value "
                f"{least:.6g}",
                where="--scores probabilities", hint=_WRITE_LOGITS if least < 0 or scores.max() > 1 else _SIGMOID,
            )  # fmt: skip
        return ()

    def evaluate(
        self, made: Made, records: Sequence[Record], *, progress: Progress = silent
    ) -> ClassificationEvaluation:
        """Accuracy, confusion and change where the samples are labelled; agreement with the first fp32 graph always."""
        settings = made.exported.settings
        assert isinstance(settings, ClassificationSettings)  # `pack.setup_of` checked it before the calibration
        blank = ClassificationEvaluation(labels=settings.labels)
        if not made.evaluate:
            return replace(blank, missing="quality was not asked for")
        setup = setup_of(made.exported, tasks.task(self.name), family=made.family.name, where=made.family.name)
        try:
            samples = _samples(made, setup, settings, progress)
            scored = evaluate.score_all(
                made.variants(), samples, output_of(settings, setup.outputs[MODEL]).name, settings.scores,
                count=len(samples), axes=_axes(made, setup), threads=made.threads, progress=progress,
            )  # fmt: skip
        except BadInput as exc:  # samples that went away during the calibration: the bundle is as good as before
            return replace(blank, missing=str(exc))
        twice = settings.scores == "logits" and any(
            one.scores is not None and looks_like_probabilities(one.scores) for one in scored
        )
        rows = tuple(metrics.rows(scored, samples.truth, samples.parts))
        return replace(
            blank, rows=rows, where=_where(samples),
            notes=(*((TWICE,) if twice else ()), *faults(rows), *samples.notes, *_independence(samples)),
        )  # fmt: skip

    def lines(self, built: Built) -> Sequence[str]:
        return [f"warning: {note}" for note in built.evaluation.notes if note == TWICE]

    def next_steps(self, bundle: str) -> Sequence[str]:
        return (f"edge-sdk predict {bundle} FOLDER",)

    def headline(self, built: Built) -> str:
        return page.headline(built.evaluation.rows)

    def cards(self, built: Built) -> Sequence[Card]:
        return page.cards(built.evaluation.rows)

    def sections(self, built: Built, verified: VerifyReport) -> Sequence[Section]:
        found: ClassificationEvaluation = built.evaluation
        if found.missing:
            return (Section(title="", blocks=(Text(text=f"Quality was not measured: {found.missing}", marked=True),)),)
        notes = tuple(Text(text=sentence(note), small=True) for note in found.notes)
        blocks: tuple[Block, ...] = (Text(text=f"{sentence(found.where)}. {_COLUMNS}"), page.quality(found.rows))
        out = [Section(title="Variants and runtimes", blocks=(*blocks, *notes))]
        reference = next((row for row in found.rows if row.reference and row.quality is not None), None)
        if reference is not None and reference.quality is not None:
            words = Text(text=f"{reference.variant} on {reference.runtime}.")
            table = page.confusion(reference.quality, found.labels)
            out.append(Section(title="Which classes are mixed up", blocks=(words, table)))
        return out


def _check_labels(settings: ClassificationSettings, exported: Exported) -> None:
    """Raise BadInput where the output has another number of classes; what else is wrong with it, the task says."""
    outputs = read_facts(exported.graphs[MODEL].onnx, where=MODEL).outputs
    found = [spec for spec in outputs if settings.output in ("", spec.name)]
    classes = found[0].shape[-1] if len(found) == 1 and found[0].shape else ""
    if isinstance(classes, int) and classes != len(settings.labels):
        raise BadInput(
            f"{counted(len(settings.labels), 'label')}, the output {shown(found[0].name)} scores "
            f"{counted(classes, 'class', 'classes')}",
            where=LABELS, hint="Write one line for each class",
        )  # fmt: skip


def _options(options: Any) -> ClassificationOptions:
    return options if isinstance(options, ClassificationOptions) else ClassificationOptions()


def _samples(made: Made, setup: Setup, settings: ClassificationSettings, progress: Progress) -> EvaluationSamples:
    stated = _options(made.options)
    if stated.test is None:
        samples = made.family.samples(made.data, made.trained, made.exported, MOST_UNLABELLED)
        return CalibrationSamples(samples=samples(MODEL))
    reader = reader_of(setup, scratch=made.trained.folder)
    return read_samples(stated.test, settings.labels, reader, group=stated.group, progress=progress)


def _axes(made: Made, setup: Setup) -> Mapping[str, int]:
    """The largest size of each free axis; samples run a row at a time."""
    axes = axes_of(made.exported.graphs[MODEL], setup.inputs[MODEL])
    return {name: 1 if name == BATCH else size for name, size in axes.items()}


def _where(samples: EvaluationSamples) -> str:
    labelled = "labelled" if samples.truth is not None else "not labelled"
    return f"{counted(len(samples), 'sample')}, {labelled}: {samples.where}"


def _independence(samples: EvaluationSamples) -> tuple[str, ...]:
    if samples.truth is None or samples.parts:
        return ()
    return ("each sample was taken for a part of its own: of parts with several samples the intervals are too narrow",)
