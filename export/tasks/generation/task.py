"""The export part of the generation task: data, golden seeds, and the report of quality. Knows no family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from edge_sdk.counted import counted
from edge_sdk.decision.record import Record
from edge_sdk.errors import BadUsage
from edge_sdk.export.each_runtime import faults
from edge_sdk.export.option import TaskOptions
from edge_sdk.export.sections import Block, Card, Section, Table, Text
from edge_sdk.export.tasks.base import NOT_EVALUATED, Built, Checked, ExportTask, Golden, Made, Reading
from edge_sdk.export.tasks.generation import evaluate, eyes, page
from edge_sdk.export.tasks.generation.data import FEW, GenerationData, read, with_eyes
from edge_sdk.export.tasks.generation.evaluate import Row
from edge_sdk.export.tasks.generation.options import GenerationOptions
from edge_sdk.export.tasks.generation.real import real_of
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes.onnx_file import read_facts
from edge_sdk.shown import shown
from edge_sdk.tasks.base import MODEL
from edge_sdk.tasks.generation.asked import Asked, GenerationSettings, label_of
from edge_sdk.tasks.generation.generator import BATCH_ROWS, noise_shape, rows_at_once
from edge_sdk.tensors import BATCH, TensorSpec
from edge_sdk.verify import VerifyReport

GOLDEN_SEED = 2**62
"""Of golden pictures, far from the seeds that people try first."""
GOLDEN = 3


CHECKED, CHECKED_PIXELS, LEAST_CHECKED = 512, 512 * 32 * 32, 64
"""Pictures that are drawn to find a collapse where quality is not asked for; of large ones fewer, so that about so many
pixels are drawn, but never less than the least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationEvaluation:
    """Measures of all variants. against: what pictures were measured against, in words. missing: why quality was not
    measured, "" = it was."""

    rows: tuple[Row, ...] = ()
    against: str = ""
    missing: str = ""

    @property
    def collapsed(self) -> Mapping[str, str]:
        """By variant, which figure broke; of rows that `load` would use here, as others tell of this CPU alone."""
        return {
            row.variant: f"on {row.runtime}, {row.collapsed}"
            for row in self.rows if row.collapsed and not row.unusable
        }  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        rows = [row.to_json() for row in self.rows]
        return {"against": self.against, "rows": rows, "refused": dict(self.collapsed), NOT_EVALUATED: self.missing}

    def lines(self) -> Sequence[str | Table]:
        first = (f"quality was not measured: {self.missing}",) if self.missing else (self.against,)
        return [*first, *([page.quality(self.rows)] if self.rows else [])]


class GenerationExport(ExportTask):
    """Reads pictures; packs seeds as golden samples; measures what is drawn against the pictures."""

    name: ClassVar[str] = "generation"
    title: ClassVar[str] = "One-step generator"
    options: ClassVar[type[TaskOptions]] = GenerationOptions

    def read(self, path: Path | None, options: GenerationOptions, how: Reading) -> GenerationData | None:
        seen_by = eyes.stated(options.features)
        if path is not None:
            return with_eyes(read(path, size=options.size, progress=how.progress), seen_by)
        if options.features is not None:
            raise BadUsage("there are no pictures to compare with", where="--features", hint="Name DATA, too")
        return None

    def check(self, data: GenerationData | None, options: Any) -> Checked:
        if data is None:
            return Checked()
        count, sides = len(data.pictures), f"{data.side} x {data.side}"
        kind = "grey" if data.channels == 1 else "RGB"
        classes = ", ".join(map(shown, data.names[:8])) + ", ..." * (len(data.names) > 8)
        rows = [("pictures", f"{count}, {sides} px, {kind}")]
        rows += [("classes", f"{len(data.names)}: {classes}")] if data.names else []
        notes = []
        if count < FEW:
            notes.append(f"{counted(count, 'picture')} are few: they will be learned by heart; give some hundred")
        facts = {"pictures": count, "side": data.side, "channels": data.channels, "classes": list(data.names)}
        return Checked(rows=tuple(rows), facts=facts, left_out=data.left_out, notes=tuple(notes))

    def golden(self, made: Made) -> Sequence[Golden]:
        """Seeds, with classes in turn."""
        names = made.exported.settings.labels  # type: ignore[attr-defined]
        found = []
        for index in range(max(GOLDEN, min(len(names), 5))):
            asked = Asked(seed=GOLDEN_SEED, index=index, label=label_of(None, names, index=index))
            label = f"{names[asked.label]}, picture {index}" if asked.label is not None else f"picture {index}"
            found.append(Golden(source=asked.stored(), label=label))
        return found

    def evaluate(self, made: Made, records: Sequence[Record], *, progress: Progress = silent) -> GenerationEvaluation:
        """Pictures of every variant on every runtime, beside fp32's and beside the real ones."""
        data: GenerationData | None = made.data
        settings = made.exported.settings
        assert isinstance(settings, GenerationSettings)  # `pack.setup_of` checked it before the calibration
        options: GenerationOptions = made.options
        measured = data is not None and made.evaluate
        real = None
        if data is not None and measured:
            progress(0, 0, "learning to see the pictures")
            real = real_of(data, seed=made.trained.options.seed, folder=made.trained.folder)
        graph = made.exported.graphs[MODEL]
        facts = read_facts(graph.onnx, where=MODEL)
        shape = noise_shape(facts.inputs, settings)
        count = options.samples if measured else _checked(facts.outputs, settings)
        at_once = rows_at_once(facts.inputs, settings) or graph.axes.get(BATCH, BATCH_ROWS)
        rows = evaluate.rows_of(
            made.variants(), settings, shape, real, count=count, rows=at_once, threads=made.threads, progress=progress
        )
        found = GenerationEvaluation(rows=tuple(rows))
        if data is None or not measured:
            return replace(found, missing="quality was not asked for" if data is not None else "there are no pictures")
        assert real is not None
        numbers = f"{counted(count, 'drawn picture')} beside {counted(len(data.pictures), 'real one')}"
        return replace(found, against=f"{numbers}, in {real.seen_by}")

    def refused(self, evaluation: GenerationEvaluation) -> Mapping[str, str]:
        return evaluation.collapsed

    def lines(self, built: Built) -> Sequence[str]:
        found: GenerationEvaluation = built.evaluation
        return [f"warning: {note}" for note in (*evaluate.doubts(found.rows), *faults(found.rows))]

    def next_steps(self, bundle: str) -> Sequence[str]:
        return (f"edge-sdk generate {bundle} -n 64 --seed 7 --out OUT_FOLDER",)

    def headline(self, built: Built) -> str:
        return page.headline(built.evaluation.rows)

    def cards(self, built: Built) -> Sequence[Card]:
        return page.cards(built.evaluation.rows)

    def sections(self, built: Built, verified: VerifyReport) -> Sequence[Section]:
        found: GenerationEvaluation = built.evaluation
        words = (found.missing and f"Quality was not measured: {found.missing}") or found.against
        refused = [f"Not packed: {variant}, since {why}." for variant, why in built.refused.items()]
        marked = [Text(text=words, marked=True) for words in (*refused, *evaluate.doubts(found.rows))]
        blocks: tuple[Block, ...] = (Text(text=f"{words}. {_COLUMNS}"), *marked, page.quality(found.rows))
        return (Section(title="Variants and runtimes", blocks=blocks),) if found.rows else ()


def _checked(outputs: Sequence[TensorSpec], settings: GenerationSettings) -> int:
    """Pictures that are drawn to find a collapse."""
    height, width = next(one.shape[1:3] for one in outputs if one.name == settings.image_output)
    return min(CHECKED, max(LEAST_CHECKED, CHECKED_PIXELS // (int(height) * int(width))))


_COLUMNS = (
    "Frechet distance, recall and precision are taken in features of these pictures; all rows draw from the same "
    "seeds, and PSNR and structural similarity compare picture by picture with the first row."
)
