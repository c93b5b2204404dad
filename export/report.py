"""report.html: what a bundle does, on one page that needs no network. Knows figures and pictures; trains nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk import atomic, preprocess
from edge_sdk.bundle.manifest import Provenance
from edge_sdk.bundle.store import Bundle
from edge_sdk.export import plots, table
from edge_sdk.export.build import Built
from edge_sdk.export.family import Picture, Trained
from edge_sdk.export.figures import Row, reference
from edge_sdk.export.speeds import Key
from edge_sdk.export.table import Table
from edge_sdk.extras import need
from edge_sdk.grouping import SEEN
from edge_sdk.loading import load
from edge_sdk.predictors.anomaly import AnomalyDetector
from edge_sdk.profiling.run import ProfileReport
from edge_sdk.results import AnomalyResult
from edge_sdk.shown import shown
from edge_sdk.verify import VerifyReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One picture with its map, as a data address for the page."""

    uri: str
    file: str
    truth: str
    score: str
    verdict: str
    wrong: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the page shows besides the build: latency by row, speed ratios to fp32 with their interval, verification."""

    latency: Mapping[Key, ProfileReport]
    ratios: Mapping[Key, str]
    verified: VerifyReport
    machine: Mapping[str, str]


def shots_of(bundle: Path, verified: VerifyReport, pictures: Sequence[Picture]) -> list[Shot]:
    """`shots` by what `load` takes here; where something answers wrongly, by the first that doesn't; by none if all
    do."""
    right = next((row for row in verified.rows if row.passed), None)
    if right is None:
        return []
    variant, runtime = (None, None) if verified.passed else (right.variant, right.runtime)
    with load(bundle, variant=variant, runtime=runtime) as detector:
        return shots(detector, pictures)


def shots(detector: AnomalyDetector, pictures: Sequence[Picture], *, count: int = 12) -> list[Shot]:
    """Overlays: defects from the strongest to the weakest found, good parts, and last the worst mistakes: good ones
    with the highest scores, defects with the lowest."""
    results = [(p, detector.predict(p.path)) for p in pictures]
    rejected = sorted((x for x in results if x[1].is_defect and x[0].label == "good"), key=lambda x: -x[1].score)
    missed = sorted((x for x in results if not x[1].is_defect and x[0].label != "good"), key=lambda x: x[1].score)
    right = [(p, r) for p, r in results if r.is_defect == (p.label != "good")]
    bad = sorted((x for x in right if x[0].label != "good"), key=lambda x: -x[1].score)
    good = sorted((x for x in right if x[0].label == "good"), key=lambda x: -x[1].score)
    spread = [bad[round(i * (len(bad) - 1) / 6)] for i in range(7)] if len(bad) >= 7 else bad
    chosen = [*spread, *good[:1], *good[-1:], *rejected[:1], *missed[:2]]
    return [_shot(p, r) for p, r in chosen[:count]]


def _shot(picture: Picture, result: AnomalyResult) -> Shot:
    drawn = result.plot()
    scale = 480 / max(drawn.shape[:2])
    if scale < 1:
        drawn = preprocess.resize(drawn, round(drawn.shape[1] * scale), round(drawn.shape[0] * scale))
    return Shot(
        uri=_data_uri(drawn), file=shown(f"{picture.path.parent.name}/{picture.path.name}"), truth=picture.label,
        score=f"{result.score:.3f}", verdict=result.verdict.label,
        wrong=result.is_defect != (picture.label != "good"),
    )  # fmt: skip


def _data_uri(rgb: NDArray[np.uint8]) -> str:
    data = cv2.imencode(".jpg", rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 84])[1]
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One large figure with its name and what stands behind it."""

    value: str
    name: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything that the template shows, in its order. Drawings are SVG, "" = nothing to draw.

    by_part: None where no group was stated. unjudged: a sentence on figures that are not there.
    """

    name: str
    lead: str
    cards: tuple[Card, ...]
    shots: tuple[Shot, ...]
    histogram: str
    roc: str
    decision_words: str
    unjudged: str
    by_picture: Table
    by_part: Table | None
    counted: str
    counted_parts: str
    notes: tuple[str, ...]
    speeds: Table
    speed_notes: tuple[str, ...]
    stages: Table
    verified: bool
    verified_text: str
    calibration: Table
    calibration_words: str
    training_curve: str
    training_words: str
    facts: str
    provenance: str
    licence: str


def write(path: Path, built: Built, measured: Measured, pictures: Sequence[Shot]) -> None:
    """The page, and `report.json` beside it with every figure on it."""
    page = _page(built, measured, pictures)
    jinja = need("jinja2", extra="export")
    environment = jinja.Environment(autoescape=True, undefined=jinja.StrictUndefined, trim_blocks=True)
    template = resources.files("edge_sdk.export").joinpath("report.html.j2").read_text("utf-8")
    atomic.write(path, environment.from_string(template).render(r=page))
    figures = {
        "rows": [row.to_json() for row in built.rows], "unjudged": built.unjudged, "group": built.group,
        "latency": {"/".join(k): v.to_json() for k, v in measured.latency.items()},
        "ratios": {"/".join(k): v for k, v in measured.ratios.items()},
        "decision": msgspec.to_builtins(built.decision), "machine": dict(measured.machine),
        "verify": measured.verified.to_json(), "training": built.trained.told(),
        "calibration": msgspec.to_builtins(built.calibration),
    }  # fmt: skip
    atomic.write(path.with_suffix(".json"), json.dumps(figures, indent=1, default=str, ensure_ascii=False))


def _page(built: Built, measured: Measured, pictures: Sequence[Shot]) -> Page:
    with Bundle.open(built.path) as bundle:
        manifest = bundle.manifest
    made, trained = manifest.provenance, built.trained
    histogram, roc = _drawings(built)
    return Page(
        name=manifest.name,
        lead=_lead(built, made.created_utc, measured.machine),
        cards=tuple(_cards(built, measured)),
        shots=tuple(pictures),
        histogram=histogram,
        roc=roc,
        decision_words=" ".join(f"{_sentence(words)}." for words in (built.decision.words, *built.decision.warnings)),
        unjudged=_unjudged(built),
        by_picture=table.quality(built.rows, "picture"),
        by_part=table.quality(built.rows, "part") if built.group else None,
        counted=table.unit_words(built.rows, "picture"),
        counted_parts=table.unit_words(built.rows, "part"),
        notes=tuple(_notes(built)),
        speeds=_speeds(built.rows, measured),
        speed_notes=tuple(_speed_notes(measured.latency)),
        stages=_stages(measured.latency),
        verified=measured.verified.passed,
        verified_text=measured.verified.text(),
        calibration=table.calibration(built.calibration),
        calibration_words=table.calibration_words(built.calibration),
        training_curve=_curve(trained),
        training_words=f"Training loss over {len(trained.history)} recorded steps.",
        facts="\n".join(f"{name}: {value}" for name, value in trained.told().items()),
        provenance=_provenance(made),
        licence=made.licence,
    )


def _unjudged(built: Built) -> str:
    if built.rows:
        return _sentence(built.unjudged)
    return f"Quality was not measured: {built.unjudged}"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _lead(built: Built, when: str, machine: Mapping[str, str]) -> str:
    facts = " · ".join(f"{k} {v}" for k, v in machine.items())
    options, size = built.trained.options, built.path.stat().st_size
    return (
        f"{built.title}, size {options.size}, seed {options.seed}, {size / 1e6:.1f} MB with all variants. "
        f"Made {when}. Machine: {facts}."
    )


def _drawings(built: Built) -> tuple[str, str]:
    """Histogram and ROC of the reference row, by picture; "" where there is nothing to draw."""
    scored = reference(built.scored)
    row = next((r for r in built.rows if r.reference), None)
    if scored is None or row is None or row.by_picture is None:
        return "", ""
    told, labels = row.by_picture, np.array([p.label for p in built.pictures])
    by_label = {str(label): scored.scores[labels == label] for label in dict.fromkeys(["good", *labels.tolist()])}
    histogram = plots.histogram({k: v for k, v in by_label.items() if len(v)}, built.decision.threshold)
    if told.auroc is None:
        return histogram, ""
    point = ((told.false_rejects or 0) / told.good, 1 - (told.misses or 0) / told.defects)
    return histogram, plots.roc(scored.scores[labels == "good"], scored.scores[labels != "good"], told.auroc, point)


def _curve(trained: Trained) -> str:
    losses = [(step, float(sum(values.values()))) for step, values in trained.history]
    return plots.curve(losses, "loss, all terms") if losses else ""


def _cards(built: Built, measured: Measured) -> list[Card]:
    row = next((r for r in built.rows if r.reference), None)
    out = [] if row is None else _quality_cards(row, built.decision.requested_rate)
    fastest = min(measured.latency.items(), key=lambda kv: kv[1].total.p50, default=None)
    if fastest is not None:
        (variant, runtime), told = fastest
        words = f"{variant} on {runtime}, {measured.machine.get('instruction set', '')}; machine {told.noise.verdict}"
        out.append(Card(value=f"{told.total.p50:.2g} ms", name="fastest whole predict, median", words=words))
    return out


def _quality_cards(row: Row, rate: float | None) -> list[Card]:
    """AUROC, defects found, good ones rejected: by part where parts were named, with the pictures in the words."""
    told, out = row.by_part or row.by_picture, []
    if told is None:
        return []
    pictures = row.by_picture if row.by_part else None
    if told.auroc is not None:
        also = "" if pictures is None or pictures.auroc is None else f"; by picture {pictures.auroc:.3f}"
        words = f"by {told.unit}{_ends(told.auroc_interval, '.3f')}{also}"
        out.append(Card(value=f"{told.auroc:.3f}", name=f"image AUROC, {row.variant}", words=words))
    if told.misses is not None and told.defects:
        missed = told.misses_interval
        found = None if missed is None else (1 - missed[1], 1 - missed[0])
        also = "" if pictures is None or pictures.misses is None else _of_pictures(pictures.misses, pictures.defects)
        out.append(
            Card(
                value=f"{told.defects - told.misses} of {told.defects}", name=f"defective {told.unit}s found",
                words=f"at the bundle's threshold{_ends(found, '.0%')}{also}",
            )
        )  # fmt: skip
    if told.false_rejects is not None and told.good:
        also = "" if pictures is None else f"; {table.share(pictures.false_rejects, pictures.good)} pictures"
        asked = "" if rate is None else f"asked for {rate:.1%}"
        words = f"{asked}{_ends(told.false_rejects_interval, '.0%')}{also}".removeprefix("; ")
        out.append(Card(value=f"{told.false_rejects} of {told.good}", name=f"good {told.unit}s rejected", words=words))
    if row.pixels is not None:
        words = f"AU-PRO {row.pixels.aupro:.3f}; {row.pixels.regions} regions in {row.pixels.pictures} pictures"
        out.append(Card(value=f"{row.pixels.auroc:.3f}", name=f"pixel AUROC, {row.variant}", words=words))
    return out


def _of_pictures(missed: int, defects: int) -> str:
    return f"; {defects - missed} of {defects} pictures"


def _ends(interval: tuple[float, float] | None, digits: str) -> str:
    return "" if interval is None else f"; 95 % interval {interval[0]:{digits}} to {interval[1]:{digits}}"


def _speeds(rows: Sequence[Row], measured: Measured) -> Table:
    """How fast a variant is on a runtime, for those that were timed; two layouts of one variant were timed as one."""
    first = {(row.variant, row.runtime): row for row in reversed(rows)}
    cells = tuple(
        (*key, f"{first[key].size_bytes / 1e6:.2f}", *_speed(speed), measured.ratios.get(key, "-"))
        for key, speed in measured.latency.items()
    )
    return Table(header=("variant", "runtime", "MB", *SPEED), rows=cells)


SPEED = ("median ms", "p90", "p99", "images/s", "speed to fp32")


def _speed(speed: ProfileReport) -> tuple[str, ...]:
    return (_short(speed, "p50"), _short(speed, "p90"), _short(speed, "p99"), f"{1000 / speed.total.mean:.0f}")


def _short(speed: ProfileReport, name: str) -> str:
    """The figure, or how many calls it needs; the words in full are in report.json."""
    words = speed.words(name)
    return f"{speed.total.n} calls are too few" if words.startswith(f"{name}:") else words


def _stages(latency: Mapping[Key, ProfileReport]) -> Table:
    names = ("resize", "infer", "postprocess", "overhead", "total")
    rows = tuple(
        (*key, *(f"{told.stages[n].p50:.3f}" if n in told.stages else "-" for n in names))
        for key, told in latency.items()
    )
    return Table(header=("variant", "runtime", *names[:-1], "total (median), ms"), rows=rows)


def _notes(built: Built) -> list[str]:
    out = table.notes(built.rows)
    bounds = [f.flips_upper for r in built.rows if (f := r.by_part or r.by_picture) and f.flips_upper is not None]
    if bounds:
        unit = "part" if built.group else "picture"
        out.append(f"Flips: the true share is at most {max(bounds):.1%} (95 %) for this many {unit}s, in every row.")
    return out


def _speed_notes(latency: Mapping[Key, ProfileReport]) -> list[str]:
    """How the figures were taken, and how quiet the machine was: one sentence where that is the same for all."""
    words: dict[str, list[str]] = {}
    for (variant, runtime), told in latency.items():
        verdict = f"{told.stability.verdict} run on a {told.noise.verdict} machine"
        words.setdefault(verdict, []).append(f"{variant} on {runtime}")
    return [
        "One call after the other. p90 and p99 only where enough calls were made for them; in brackets the upper end "
        "of what they may be. Speed to fp32: same runtime, both sides in one interleaved run in two processes.",
        *(f"{', '.join(rows)}: {verdict}." for verdict, rows in words.items()),
    ]


def _provenance(made: Provenance) -> str:
    """As JSON, without the licence, which stands below it, and without the sums of the training pictures."""
    told = msgspec.to_builtins(made)
    del told["licence"]
    told["notes"] = {name: value for name, value in made.notes.items() if name != SEEN}
    return json.dumps(told, indent=1, ensure_ascii=False)
