"""What the report page says of an anomaly bundle: cards, pictures, scores, tables. Knows metrics; no HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.counted import counted, percent
from edge_sdk.decision.threshold import Threshold
from edge_sdk.export.sections import Block, Card, Drawing, Drawings, Gallery, Section, Text, sentence
from edge_sdk.export.tasks.anomaly import plots, table
from edge_sdk.export.tasks.anomaly.examples import examples_of
from edge_sdk.export.tasks.anomaly.metrics import Row, reference
from edge_sdk.export.tasks.base import Built
from edge_sdk.verify import VerifyReport

if TYPE_CHECKING:
    from edge_sdk.export.tasks.anomaly.task import AnomalyEvaluation

_BY_PICTURE = (
    "Same pictures, same threshold for every row. Change and flips (verdicts that differ): against fp32 in the first "
    "runtime. Kept: lowest share of the fp32 score, counted from the median good picture, that the 20 strongest "
    "defects keep. Layout: where Q and DQ stand around a convolution, for OpenVINO and TensorRT or for ONNX Runtime; "
    "the numbers are the same. Ran: on which device, and how many convolutions and products in which type."
)
_BY_PART = (
    "Pictures of one part are not independent, so use these metrics. A part is rejected if one "
    "of its pictures is; a part with good and with defective pictures counts on both sides."
)


def headline(rows: Sequence[Row]) -> str:
    """AUROC and counts at the threshold, of the reference by picture; "" where nothing was evaluated."""
    row = next((r for r in rows if r.reference), None)
    found = None if row is None else row.by_picture
    if found is None or found.auroc is None or found.misses is None:
        return ""
    return (
        f"AUROC {found.auroc:.3f}; at the bundle's threshold {found.defects - found.misses} of {found.defects} defects "
        f"are found, {found.false_rejects} of {found.good} good ones rejected"
    )


def sections(built: Built, record: Threshold, verified: VerifyReport) -> list[Section]:
    """Example pictures, scores and threshold, and the tables by picture and by part."""
    evaluation: AnomalyEvaluation = built.evaluation
    shown = examples_of(built.path, verified, built.made.data.test)
    out = [
        Section(
            title="What it saw",
            blocks=(
                Text(
                    text="Test pictures that training never saw. The map is laid over the picture where it exceeds "
                    "half the threshold; boxes are regions above it."
                ),
                Gallery(examples=tuple(shown)),
            ),
        ),
        Section(title="Scores and threshold", blocks=_scores(evaluation, record)),
    ]
    if missing := _missing(evaluation):
        out.insert(0, Section(title="", blocks=(Text(text=missing, marked=True),)))
    rows = evaluation.rows
    notes = tuple(Text(text=note, small=True) for note in _notes(evaluation))
    if rows:
        words = Text(text=f"{table.unit_words(rows, 'picture')}. {_BY_PICTURE}")
        blocks: tuple[Block, ...] = (
            words, table.quality(rows, "picture"), *(() if evaluation.group else notes)
        )  # fmt: skip
        out.append(Section(title="Variants and runtimes, by picture", blocks=blocks))
    if rows and evaluation.group:
        words = Text(text=f"{table.unit_words(rows, 'part')}. {_BY_PART}")
        out.append(Section(title="Variants and runtimes, by part", blocks=(words, table.quality(rows, "part"), *notes)))
    return out


def _missing(evaluation: AnomalyEvaluation) -> str:
    if evaluation.rows:
        return sentence(evaluation.missing)
    return f"Quality was not measured: {evaluation.missing}"


def _scores(evaluation: AnomalyEvaluation, record: Threshold) -> tuple[Block, ...]:
    words = " ".join(f"{sentence(words)}." for words in (record.words, *record.warnings))
    drawings = _drawings(evaluation, record)
    return (*((Drawings(drawings=drawings),) if drawings else ()), Text(text=words, marked=True))


def _drawings(evaluation: AnomalyEvaluation, record: Threshold) -> tuple[Drawing, ...]:
    """Histogram and ROC of the reference row, by picture, where there is something to draw."""
    scored = reference(evaluation.scored)
    row = next((r for r in evaluation.rows if r.reference), None)
    if scored is None or row is None or row.by_picture is None:
        return ()
    found, labels = row.by_picture, np.array([p.label for p in evaluation.pictures])
    by_label = {str(label): scored.scores[labels == label] for label in dict.fromkeys(["good", *labels.tolist()])}
    svg = plots.histogram({k: v for k, v in by_label.items() if len(v)}, record.threshold)
    histogram = Drawing(svg=svg, caption="Every test picture by its raw score.")
    if found.auroc is None:
        return (histogram,)
    point = ((found.false_rejects or 0) / found.good, 1 - (found.misses or 0) / found.defects)
    svg = plots.roc(scored.scores[labels == "good"], scored.scores[labels != "good"], found.auroc, point)
    caption = "All possible thresholds, by picture; the red point is the one in the bundle."
    return (histogram, Drawing(svg=svg, caption=caption))


def _notes(evaluation: AnomalyEvaluation) -> list[str]:
    out = table.notes(evaluation.rows)
    bounds = [
        f.flips_upper for r in evaluation.rows if (f := r.by_part or r.by_picture) and f.flips_upper is not None
    ]  # fmt: skip
    if bounds:
        unit = "part" if evaluation.group else "picture"
        out.append(
            f"Flips: the true share is at most {percent(max(bounds))} (95 %) for this many {unit}s, in every row."
        )
    return out


def cards(rows: Sequence[Row], rate: float | None) -> list[Card]:
    """AUROC, defects found, good ones rejected: by part where parts were named, with the pictures in the words."""
    row = next((r for r in rows if r.reference), None)
    if row is None or (found := row.by_part or row.by_picture) is None:
        return []
    pictures, out = row.by_picture if row.by_part else None, []
    if found.auroc is not None:
        also = "" if pictures is None or pictures.auroc is None else f"; by picture {pictures.auroc:.3f}"
        words = f"by {found.unit}{_ends(found.auroc_interval, '.3f')}{also}"
        out.append(Card(value=f"{found.auroc:.3f}", name=f"image AUROC, {row.variant}", words=words))
    if found.misses is not None and found.defects:
        missed = found.misses_interval
        share = None if missed is None else (1 - missed[1], 1 - missed[0])
        also = "" if pictures is None or pictures.misses is None else _of_pictures(pictures.misses, pictures.defects)
        out.append(
            Card(
                value=f"{found.defects - found.misses} of {found.defects}", name=f"defective {found.unit}s found",
                words=f"at the bundle's threshold{_ends(share, '.0%')}{also}",
            )
        )  # fmt: skip
    if found.false_rejects is not None and found.good:
        also = "" if pictures is None else f"; {table.share(pictures.false_rejects, pictures.good)} pictures"
        asked = "" if rate is None else f"asked for {percent(rate)}"
        words = f"{asked}{_ends(found.false_rejects_interval, '.0%')}{also}".removeprefix("; ")
        out.append(
            Card(value=f"{found.false_rejects} of {found.good}", name=f"good {found.unit}s rejected", words=words)
        )
    if row.pixels is not None:
        where = f"{counted(row.pixels.regions, 'region')} in {counted(row.pixels.pictures, 'picture')}"
        words = f"AU-PRO {row.pixels.aupro:.3f}; {where}"
        out.append(Card(value=f"{row.pixels.auroc:.3f}", name=f"pixel AUROC, {row.variant}", words=words))
    return out


def _of_pictures(missed: int, defects: int) -> str:
    return f"; {defects - missed} of {defects} pictures"


def _ends(interval: tuple[float, float] | None, digits: str) -> str:
    return "" if interval is None else f"; 95 % interval {interval[0]:{digits}} to {interval[1]:{digits}}"
