"""What exporting a segmenter adds: annotated pictures, golden samples, mIoU of every variant. Knows no family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from edge_sdk import tasks
from edge_sdk.bundle.manifest import Tolerance
from edge_sdk.counted import counted, listed
from edge_sdk.decision.record import Record
from edge_sdk.errors import BadInput
from edge_sdk.export.each_runtime import faults
from edge_sdk.export.option import TaskOptions
from edge_sdk.export.pack import axes_of, setup_of
from edge_sdk.export.sections import Block, Card, Section, Table, Text, sentence
from edge_sdk.export.tasks.base import (
    ANY_OUTPUT,
    NOT_EVALUATED,
    Built,
    Checked,
    ExportTask,
    Golden,
    Made,
    Reading,
)
from edge_sdk.export.tasks.segmentation import evaluate, examples, metrics, page
from edge_sdk.export.tasks.segmentation.annotations import AnnotatedPicture, CocoSegments, SegmentationData
from edge_sdk.export.tasks.segmentation.golden import golden
from edge_sdk.export.tasks.segmentation.options import SegmentationOptions
from edge_sdk.export.tasks.segmentation.reading import read_data
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes.variants import is_int8
from edge_sdk.tasks.base import Setup
from edge_sdk.tasks.segmentation.settings import ENCODER
from edge_sdk.verify import VerifyReport

NO_TEST_PICTURES = (
    "there are no test pictures. Lay annotated pictures that the training does not see out as images/test and "
    "labels/test"
)
_INT8_FEATURES = Tolerance(absolute=1e-6, relative=0.2, distance=0.15)
"""Of an int8 encoder's features. Each of its fifty layers passes on the steps by which kernels round otherwise: of the
small size, a distance of 0.02 to 0.08 and single values off by 0.05 to 0.10, while mIoU is the same to 0.1 points (the
decoder's answers, which are what counts, are held to the usual 0.1)."""
_COLUMNS = (
    "Same segments for every row. Box: one box prompt a segment, [min x, min y, max x + 1, max y + 1] in px, no "
    "jitter; point: one point at the segment's innermost pixel. mIoU: mean IoU over all segments of the mask that "
    "predict gives; by picture: mean over pictures of their mean; best mask (oracle): mIoU of the best of the "
    "alternative masks, chosen with the ground truth; truth on the mask grid: mIoU of the true segments, averaged over "
    "the cells of the mask grid and brought back; no network can be much better. Change: against the first row, "
    "paired. Intervals: bootstrap over "
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegmentationEvaluation:
    """Metrics of all variants. where: on which segments, in words. unit: what intervals are drawn over. segments: how
    many. controls: what needs no network. missing: why there are no rows, "" = there are."""

    where: str = ""
    unit: str = "pictures"
    segments: int = 0
    rows: tuple[metrics.Row, ...] = ()
    controls: metrics.Controls | None = None
    notes: tuple[str, ...] = ()
    missing: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "segments": self.segments, "where": self.where, "controls": msgspec.to_builtins(self.controls),
            "rows": [row.to_json() for row in self.rows], "notes": list(self.notes), NOT_EVALUATED: self.missing,
        }  # fmt: skip

    def lines(self) -> Sequence[str | Table]:
        if self.missing or self.controls is None:
            return (f"quality was not measured: {self.missing}",)
        by_class = self.by_class()
        return [
            self.where, page.controls_line(self.controls), page.quality(self.rows), *([by_class] if by_class else []),
            *(f"note: {note}" for note in self.notes),
        ]  # fmt: skip

    def by_class(self) -> Table | None:
        """The reference by size of segments and kind of picture."""
        reference = next((row for row in self.rows if row.reference), None)
        return None if reference is None or self.controls is None else page.classes(reference, self.controls)


class SegmentationExport(ExportTask):
    """Annotated pictures in; golden samples and the mIoU of every variant on every runtime out."""

    name: ClassVar[str] = "segmentation"
    title: ClassVar[str] = "promptable segmentation"
    options: ClassVar[type[TaskOptions]] = SegmentationOptions

    def read(self, path: Path | None, options: Any, how: Reading) -> SegmentationData | None:
        """As `read_data`; None where no folder is named, as for weights that are only exported."""
        return None if path is None else read_data(path, _options(options), progress=how.progress)

    def check(self, data: SegmentationData | None, options: Any) -> Checked:
        if data is None:
            return Checked(rows=(("pictures", "none"), ("evaluation", "none, as there are no pictures")))
        test = _evenly(data.test, _options(options).test_pictures)
        return Checked(
            rows=(
                ("training pictures", f"{len(data.train)} ({_marked(data.train)})" if data.train else "none"),
                ("test pictures", f"{len(test)} ({_marked(test)})" if test else "none: quality is not measured"),
            ),
            facts={"training_pictures": len(data.train), "test_pictures": len(test), "group": data.group},
            left_out=data.notes,
        )  # fmt: skip

    def golden(self, made: Made) -> Sequence[Golden]:
        data = made.data
        pictures = (data.test or data.train) if isinstance(data, SegmentationData) else ()
        return golden(pictures, made.exported, _setup(made))

    def evaluate(self, made: Made, records: Sequence[Record], *, progress: Progress = silent) -> SegmentationEvaluation:
        """mIoU with a box and with a point, of every variant on every runtime, beside what needs no network."""
        blank, options = SegmentationEvaluation(), _options(made.options)
        if not made.evaluate:
            return replace(blank, missing="quality was not asked for")
        if not isinstance(made.data, SegmentationData) or not made.data.test:
            return replace(blank, missing=NO_TEST_PICTURES)
        setup = _setup(made)
        assert setup.preprocessing is not None  # `SegmentationTask.check` refuses a model without
        pictures = _evenly(made.data.test, options.test_pictures)
        most = {role: axes_of(made.exported.graphs[role], setup.inputs[role]) for role in made.exported.graphs}
        try:
            segments = evaluate.segments_of(pictures, setup.preprocessing, least_area=options.least_area)
            if not len(segments):
                return replace(blank, missing=f"no segment of the test pictures has {options.least_area} px")
            scored = evaluate.score_all(
                {role: made.variants(role) for role in most}, pictures, setup,
                axes=evaluate.axes_for(most), least_area=options.least_area, threads=made.threads, progress=progress,
            )  # fmt: skip
        except BadInput as exc:  # pictures that went away during the training: the bundle is as good as before
            return replace(blank, missing=str(exc))
        rows = tuple(metrics.rows(scored, segments))
        where = (
            f"{counted(len(segments), 'segment')} of {options.least_area} px and more on "
            f"{counted(len(pictures), 'test picture')}"
        )
        return SegmentationEvaluation(
            where=where, unit="parts" if made.data.group else "pictures", segments=len(segments), rows=rows,
            controls=metrics.controls_of(segments), notes=tuple(faults(rows)),
        )  # fmt: skip

    def tolerances(self, role: str, variant: str) -> Mapping[str, Tolerance]:
        wide = role == ENCODER and is_int8(variant)
        return {ANY_OUTPUT: _INT8_FEATURES} if wide else super().tolerances(role, variant)

    def next_steps(self, bundle: str) -> Sequence[str]:
        return (f"edge-sdk predict {bundle} PHOTO --prompt point=X,Y --out FOLDER",)

    def headline(self, built: Built) -> str:
        return page.headline(built.evaluation.rows)

    def cards(self, built: Built) -> Sequence[Card]:
        found: SegmentationEvaluation = built.evaluation
        return page.cards(found.rows, found.controls, found.segments)

    def sections(self, built: Built, verified: VerifyReport) -> Sequence[Section]:
        found: SegmentationEvaluation = built.evaluation
        if found.missing or found.controls is None:
            return (Section(title="", blocks=(Text(text=f"Quality was not measured: {found.missing}", marked=True),)),)
        words = f"{sentence(found.where)}; {page.controls_line(found.controls)}. {_COLUMNS}{found.unit}."
        blocks: tuple[Block, ...] = (Text(text=words), page.quality(found.rows))
        notes = tuple(Text(text=sentence(note), small=True) for note in found.notes)
        out = [Section(title="Variants and runtimes", blocks=(*blocks, *notes))]
        if (by_class := found.by_class()) is not None:
            out.append(Section(title="By size and kind", blocks=(by_class,)))
        data, options = built.made.data, _options(built.made.options)
        pictures = _evenly(data.test, options.test_pictures) if isinstance(data, SegmentationData) else ()
        return (*examples.sections_of(built.path, verified, pictures, least_area=options.least_area), *out)


def _options(options: Any) -> SegmentationOptions:
    return options if isinstance(options, SegmentationOptions) else SegmentationOptions()


def _setup(made: Made) -> Setup:
    task = tasks.task(SegmentationExport.name)
    return setup_of(made.exported, task, family=made.family.name, where=made.family.name)


def _marked(pictures: Sequence[AnnotatedPicture]) -> str:
    """What is marked on pictures, as far as it is known without decoding a label map."""
    given = [annotator for one in pictures for annotator in one.annotators]
    coco = [one for one in given if isinstance(one, CocoSegments)]
    words = [counted(len(given) - len(coco), "label map")] if len(given) > len(coco) else []
    words += [counted(sum(len(one.segments) for one in coco), "segment")] if coco else []
    return listed(words, "and")


def _evenly(pictures: Sequence[AnnotatedPicture], most: int | None) -> Sequence[AnnotatedPicture]:
    """At most `most` pictures, spread evenly over those given."""
    if most is None or len(pictures) <= most:
        return pictures
    return [pictures[at] for at in np.linspace(0, len(pictures) - 1, most).astype(int)]
