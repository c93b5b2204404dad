"""What exporting an anomaly detector adds: good parts, their threshold, its evaluation. Knows no family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from edge_sdk import grouping
from edge_sdk.bundle.manifest import Preprocessing, Tolerance
from edge_sdk.counted import counted
from edge_sdk.decision.record import Record
from edge_sdk.decision.threshold import Threshold
from edge_sdk.errors import BadInput, BadUsage, CheckFailed
from edge_sdk.export.anomaly.data import AnomalyData, AnomalyTrained, Picture, content_of
from edge_sdk.export.option import TaskOptions
from edge_sdk.export.sections import Card, Section, Table
from edge_sdk.export.tasks.anomaly import decide, evaluate, metrics, page, table, threshold_scores
from edge_sdk.export.tasks.anomaly.golden import golden
from edge_sdk.export.tasks.anomaly.masks import Masks
from edge_sdk.export.tasks.anomaly.options import AnomalyOptions
from edge_sdk.export.tasks.anomaly.pictures import read_pictures
from edge_sdk.export.tasks.anomaly.shares import divided
from edge_sdk.export.tasks.base import (
    ANY_OUTPUT,
    NOT_EVALUATED,
    TOLERANCES,
    Built,
    Checked,
    ExportTask,
    Golden,
    Made,
    Reading,
    Sources,
)
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes.variants import is_int8
from edge_sdk.shown import shown
from edge_sdk.tasks.anomaly.detector import AnomalySettings
from edge_sdk.tasks.anomaly.evidence import Scored, highest, look_at
from edge_sdk.verify import VerifyReport

NO_TEST_PICTURES = (
    "the threshold was not evaluated, as there are no test pictures: the held-out good parts set it, and verdicts on "
    "them would say nothing. Lay the pictures out as train/good, test/good (other good parts) and "
    "test/<kind of defect>"
)
_INT8 = {"map": Tolerance(absolute=1e-6, relative=0.06), "score": Tolerance(absolute=1e-6, relative=0.04)}
"""Of int8 maps, single cells differ by up to 2.1 %; of scores, which average cells, by 1.2 %. Where sums saturate, a
map is off by 10 % and more, a score by 8 %, unless so few do that nothing is wrong (docs/results/verify_margins.json).
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnomalyEvaluation:
    """Scores and metrics of all variants on `pictures`. missing: why there are no rows, or none of the threshold.

    group: how parts were named, "" = not stated. scored, rows: empty where nothing was scored.
    """

    pictures: tuple[Picture, ...] = ()
    group: str = ""
    scored: tuple[evaluate.VariantScores, ...] = ()
    rows: tuple[metrics.Row, ...] = ()
    missing: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "pictures": dict(Counter(p.label for p in self.pictures)), "rows": [row.to_json() for row in self.rows],
            NOT_EVALUATED: self.missing,
        }  # fmt: skip

    def lines(self) -> Sequence[str | Table]:
        if not self.rows:
            return (f"quality was not measured: {self.missing}",)
        out: list[str | Table] = [f"by picture: {table.unit_words(self.rows, 'picture')}"]
        out.append(table.quality(self.rows, "picture"))
        if self.missing:
            out.append(f"note: {self.missing}")
        elif self.group:
            out += ["", f"by part: {table.unit_words(self.rows, 'part')}", table.quality(self.rows, "part")]
        return [*out, *(f"note: {note}" for note in table.notes(self.rows))]


class AnomalyExport(ExportTask):
    """Good parts in, a threshold with its evidence and the metrics of every variant on every runtime out."""

    name: ClassVar[str] = "anomaly"
    title: ClassVar[str] = "anomaly detection"
    options: ClassVar[type[TaskOptions]] = AnomalyOptions

    def read(self, path: Path | None, options: AnomalyOptions, how: Reading) -> AnomalyData:
        """As `read_pictures`; the good ones divided by what they are for."""
        if path is None:
            raise BadUsage("no folder of good parts was named", hint="edge-sdk train FAMILY FOLDER_OF_GOOD_PHOTOS")
        decide.check_wanted(options)
        pictures = read_pictures(path, group=options.group, how=how)
        return divided(pictures, holdout=options.holdout, quantiles=options.quantiles, seed=how.seed)

    def check(self, data: AnomalyData, options: AnomalyOptions) -> Checked:
        """Looks whether the held-out parts support the rate. Raises BoundNotMet where they don't."""
        decide.check_wanted(options)
        foreseen, shares, pictures = decide.foreseen(data, options), data.shares, data.pictures
        parts = len({p.part for p in data.train})
        grouped = f"of {counted(parts, 'part')}, by {data.group}" if data.group else "each taken for a part, no --group"
        fields = ("requested_rate", "confidence", "parts", "rank", "expected_rate", "rate_interval", "lowest_rate")
        short = "" if options.rate is not None else decide.short_of_default(foreseen, options.holdout)
        return Checked(
            rows=(
                ("good pictures", f"{len(data.train)} ({grouped})"),
                ("  to train on", str(len(shares.training))),
                ("  to scale the map", str(len(shares.scaling))),
                ("  for the threshold", str(len(shares.held_out))),
                ("test pictures", str(len(data.test) or "none: the threshold will be set, not evaluated")),
                ("unreadable", str(len(pictures.unreadable))),
                ("false-reject rate", decide.rate_words(foreseen)),
            ),
            facts={
                **shares.facts(), "group": data.group, "test_pictures": len(data.test),
                "unreadable": len(pictures.unreadable), "threshold": {n: getattr(foreseen, n) for n in fields},
            },
            left_out=(
                *(f"left out: {shown(file)}: {why}" for file, why in pictures.unreadable),
                *(f"note: {note}" for note in pictures.notes),
            ),
            notes=(f"note: {short}",) if short else (),
        )  # fmt: skip

    def sources(self, data: AnomalyData, trained: AnomalyTrained) -> Sources:
        """With what `edge-sdk threshold` later needs to tell new parts from those that were learned from."""
        seen = grouping.seen_note(content_of(picture) for picture in data.learned(trained))
        return Sources(digest=data.digest, samples=len(data.train), notes={grouping.SEEN: seen})

    def golden(self, made: Made) -> Sequence[Golden]:
        return golden(made.data, made.trained, _record(made))

    def tolerances(self, role: str, variant: str) -> Mapping[str, Tolerance]:
        return {ANY_OUTPUT: TOLERANCES[variant], **(_INT8 if is_int8(variant) else {})}

    def decide(self, made: Made, *, progress: Progress = silent) -> tuple[Threshold, ...]:
        """The threshold of the held-out parts: for all graphs, or for the training's own scores where quality is not
        wanted. Raises BoundNotMet."""
        trained: AnomalyTrained = made.trained
        scores = threshold_scores.of(trained.scores, trained.scored_by, ())
        if made.evaluate:
            scores = threshold_scores.highest(
                trained, made.variants()[1:], made.data.store, _record(made), threads=made.threads, progress=progress
            )
        return (decide.decide(made.data, trained, made.options, scores),)

    def evaluate(self, made: Made, records: Sequence[Record], *, progress: Progress = silent) -> AnomalyEvaluation:
        """On the test pictures; without any on the held-out parts, and then the threshold is not evaluated."""
        data: AnomalyData = made.data
        pictures = data.test or made.trained.held_out
        blank = AnomalyEvaluation(pictures=tuple(pictures), group=data.group)
        if not made.evaluate:
            return replace(blank, missing="quality was not asked for")
        threshold = _threshold(records).threshold if data.test else None
        try:
            inputs = evaluate.prepared(pictures, data.store, _record(made), progress=progress)
            masks = Masks.of(pictures, _settings(made).grid)
            scored = evaluate.score_all(made.variants(), inputs, masks=masks, threads=made.threads, progress=progress)
            rows = metrics.rows(scored, pictures, threshold, group=data.group)
        except BadInput as exc:  # a test picture that went away during the training: the bundle is as good as before
            return replace(blank, missing=str(exc))
        return replace(
            blank, scored=tuple(scored), rows=tuple(rows), missing="" if threshold is not None else NO_TEST_PICTURES
        )

    def lines(self, built: Built) -> Sequence[str]:
        record = threshold_of(built)
        short = (
            "" if built.made.options.rate is not None else decide.short_of_default(record, built.made.options.holdout)
        )
        return [
            f"threshold: a picture is rejected when its score is above {record.threshold:.6g}",
            f"  {record.words}",
            f"  {look_at(highest_of(built))}",
            *([f"note: {short}"] if short else []),
            *(f"warning: {w}" for w in record.warnings),
        ]

    def facts(self, built: Built) -> Mapping[str, Any]:
        return {
            "decision": msgspec.to_builtins(threshold_of(built)),
            "highest": [one.to_json() for one in highest_of(built)],
        }

    def next_steps(self, bundle: str) -> Sequence[str]:
        return (f"edge-sdk predict {bundle} FOLDER_OF_NEW_PHOTOS --out OUT_FOLDER",)

    def headline(self, built: Built) -> str:
        return page.headline(built.evaluation.rows)

    def cards(self, built: Built) -> Sequence[Card]:
        return page.cards(built.evaluation.rows, threshold_of(built).requested_rate)

    def sections(self, built: Built, verified: VerifyReport) -> Sequence[Section]:
        return page.sections(built, threshold_of(built), verified)


def threshold_of(built: Built) -> Threshold:
    """The record in force, as it stands in the file."""
    return _threshold(built.records)


def highest_of(built: Built) -> tuple[Scored, ...]:
    """Of the good pictures behind the threshold those with the highest scores, to be looked at."""
    trained: AnomalyTrained = built.made.trained
    return highest((picture.path for picture in trained.held_out), trained.scores)


def _threshold(records: Sequence[Record]) -> Threshold:
    for record in reversed(records):
        if isinstance(record, Threshold):
            return record
    raise CheckFailed("the bundle has no threshold", hint="Report it: every anomaly bundle gets one")


def _settings(made: Made) -> AnomalySettings:
    settings = made.exported.settings
    assert isinstance(settings, AnomalySettings)  # `pack.setup_of` checked it before the calibration
    return settings


def _record(made: Made) -> Preprocessing:
    if made.exported.preprocessing is None:
        raise CheckFailed(f"the family {made.family.name} exports no preprocessing", hint="An anomaly bundle needs it")
    return made.exported.preprocessing
