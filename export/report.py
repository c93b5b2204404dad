"""report.html: what a bundle does, on one page that needs no network. Knows figures and pictures; trains nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk import atomic, preprocess
from edge_sdk.bundle.store import Bundle
from edge_sdk.export import plots
from edge_sdk.export.build import Built
from edge_sdk.export.evaluate import Row
from edge_sdk.export.family import Picture, Trained
from edge_sdk.export.speeds import Key
from edge_sdk.extras import need
from edge_sdk.predictors.anomaly import AnomalyDetector
from edge_sdk.profiling.run import ProfileReport
from edge_sdk.quality import detection
from edge_sdk.quality.intervals import clopper_pearson
from edge_sdk.results import AnomalyResult
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


def shots(detector: AnomalyDetector, pictures: Sequence[Picture], *, count: int = 12) -> list[Shot]:
    """Overlays: defects from the strongest to the weakest found, good parts, and last what was judged wrongly."""
    results = [(p, detector.predict(p.path)) for p in pictures]
    wrong = [(p, r) for p, r in results if r.is_defect != (p.label != "good")]
    right = [(p, r) for p, r in results if r.is_defect == (p.label != "good")]
    bad = sorted((x for x in right if x[0].label != "good"), key=lambda x: -x[1].score)
    good = sorted((x for x in right if x[0].label == "good"), key=lambda x: -x[1].score)
    spread = [bad[round(i * (len(bad) - 1) / 6)] for i in range(7)] if len(bad) >= 7 else bad
    chosen = [*spread, *good[:1], *good[-1:], *wrong[:3]]
    return [_shot(p, r) for p, r in chosen[:count]]


def _shot(picture: Picture, result: AnomalyResult) -> Shot:
    rgb = preprocess.to_rgb8(preprocess.decode(picture.path))
    drawn = result.plot(rgb)
    scale = 480 / max(drawn.shape[:2])
    if scale < 1:
        drawn = preprocess.resize(drawn, round(drawn.shape[1] * scale), round(drawn.shape[0] * scale))
    return Shot(
        uri=_data_uri(drawn), file=f"{picture.path.parent.name}/{picture.path.name}", truth=picture.label,
        score=f"{result.score:.3f}", verdict=result.verdict.label,
        wrong=result.is_defect != (picture.label != "good"),
    )  # fmt: skip


def _data_uri(rgb: NDArray[np.uint8]) -> str:
    data = cv2.imencode(".jpg", rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 84])[1]
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def write(path: Path, built: Built, trained: Trained, measured: Measured, pictures: Sequence[Shot]) -> None:
    """The page, and `report.json` beside it with every figure on it."""
    page = _page(built, trained, measured, pictures)
    jinja = need("jinja2", extra="export")
    environment = jinja.Environment(autoescape=True, undefined=jinja.StrictUndefined, trim_blocks=True)
    template = resources.files("edge_sdk.export").joinpath("report.html.j2").read_text("utf-8")
    atomic.write(path, environment.from_string(template).render(r=page))
    figures = {
        "rows": [row.to_json() for row in built.rows],
        "latency": {"/".join(k): v.to_json() for k, v in measured.latency.items()},
        "ratios": {"/".join(k): v for k, v in measured.ratios.items()},
        "decision": msgspec.to_builtins(built.decision), "machine": dict(measured.machine),
        "verify": measured.verified.to_json(), "training": dict(trained.facts),
    }  # fmt: skip
    atomic.write(path.with_suffix(".json"), json.dumps(figures, indent=1, default=str, ensure_ascii=False))


def _page(built: Built, trained: Trained, measured: Measured, pictures: Sequence[Shot]) -> dict[str, Any]:
    scores = built.scored[0].scores
    labels = np.array([p.label for p in built.pictures])
    by_label = {str(label): scores[labels == label] for label in dict.fromkeys(["good", *labels.tolist()])}
    good, bad = scores[labels == "good"], scores[labels != "good"]
    with Bundle.open(built.path) as bundle:
        manifest, size = bundle.manifest, built.path.stat().st_size
    return {
        "name": manifest.name,
        "lead": _lead(trained, manifest.provenance.created_utc, size, measured.machine),
        "cards": _cards(built, good, bad, measured),
        "shots": pictures,
        "histogram": plots.histogram(by_label, built.decision.threshold),
        "roc": plots.roc(good, bad, built.decision.threshold, detection.auroc(good, bad)) if len(bad) else "",
        "decision_words": " ".join([f"{built.decision.words}.", *(f"{w}." for w in built.decision.warnings)]),
        "header": HEADER,
        "rows": [_cells(row, measured) for row in built.rows],
        "table_notes": _notes(built, measured),
        "stage_header": ("variant", "runtime", "", "resize", "infer", "postprocess", "overhead", "total (median), ms"),
        "stage_rows": [_stages(key, told) for key, told in measured.latency.items()],
        "verified": measured.verified.text(),
        "training_curve": plots.curve(
            [(step, float(sum(values.values()))) for step, values in trained.history], "loss, all terms"
        ),
        "training_words": f"Training loss over {len(trained.history)} recorded steps.",
        "facts": "\n".join(f"{name}: {value}" for name, value in trained.facts.items()),
        "provenance": json.dumps(msgspec.to_builtins(manifest.provenance), indent=1, ensure_ascii=False),
        "licence": manifest.provenance.licence,
    }  # fmt: skip


def _lead(trained: Trained, when: str, size: int, machine: Mapping[str, str]) -> str:
    facts = " · ".join(f"{k} {v}" for k, v in machine.items())
    return (
        f"EfficientAD-{trained.options.size.upper()}, seed {trained.options.seed}, {size / 1e6:.1f} MB"
        f" with all variants. Made {when}. Machine: {facts}."
    )


def _cards(
    built: Built, good: NDArray[np.float64], bad: NDArray[np.float64], measured: Measured
) -> list[dict[str, str]]:
    t = built.decision.threshold
    rejected, missed = int((good > t).sum()), int((bad <= t).sum())
    out = []
    if len(bad):
        area = detection.auroc_with_interval(good, bad)
        words = f"95 % interval {area.low:.3f} to {area.high:.3f}"
        out.append({"value": f"{area.value:.3f}", "name": "image AUROC, fp32", "words": words})
        low, high = clopper_pearson(len(bad) - missed, len(bad))
        out.append({
            "value": f"{len(bad) - missed} of {len(bad)}", "name": "defects found",
            "words": f"at the bundle's threshold; 95 % interval {low:.0%} to {high:.0%}",
        })  # fmt: skip
    low, high = clopper_pearson(rejected, len(good))
    out.append({
        "value": f"{rejected} of {len(good)}", "name": "good parts rejected",
        "words": f"asked for {built.decision.requested_rate:.1%}; 95 % interval {low:.0%} to {high:.0%}",
    })  # fmt: skip
    fastest = min(measured.latency.items(), key=lambda kv: kv[1].total.p50, default=None)
    if fastest is not None:
        (variant, runtime), told = fastest
        out.append({
            "value": f"{told.total.p50:.1f} ms", "name": "fastest whole predict, median",
            "words": f"{variant} on {runtime}, {measured.machine.get('instruction set', '')}",
        })  # fmt: skip
    return out


HEADER = (
    "variant", "runtime", "ran", "MB", "AUROC [95 %]", "change", "flips", "kept", "false rejects", "misses",
    "median ms", "p90", "p99", "images/s", "speed to fp32",
)  # fmt: skip


def _cells(row: Row, measured: Measured) -> tuple[str, ...]:
    """One table line; "-" where there is nothing to say, never an invented zero."""
    if row.problem:
        return (row.variant, row.runtime, row.problem, *["-"] * (len(HEADER) - 3))
    speed = measured.latency.get((row.variant, row.runtime))
    area = "-" if row.auroc is None else f"{row.auroc:.3f} [{row.auroc_low:.3f}, {row.auroc_high:.3f}]"
    change = "-" if row.auroc_change is None else f"{100 * row.auroc_change:+.2f} pp"
    times = (
        ("-",) * 4
        if speed is None
        else (_short(speed, "p50"), _short(speed, "p90"), _short(speed, "p99"), f"{1000 / speed.total.mean:.0f}")
    )
    return (
        row.variant, row.runtime, f"{row.device} {row.precision}; {row.convolutions}", f"{row.size_bytes / 1e6:.2f}",
        area, change, "-" if row.flips is None else f"{row.flips} of {row.pictures}",
        "-" if row.kept_least is None else f"{row.kept_least:.2f}",
        "-" if row.false_rejects is None else f"{row.false_rejects} of {row.good}",
        "-" if row.misses is None or not row.defects else f"{row.misses} of {row.defects}",
        *times, measured.ratios.get((row.variant, row.runtime), "-"),
    )  # fmt: skip


def _short(speed: ProfileReport, name: str) -> str:
    """The figure, or how many calls it needs; the words in full are in report.json."""
    words = speed.words(name)
    return f"{speed.total.n} calls are too few" if words.startswith(f"{name}:") else words


def _stages(key: Key, told: ProfileReport) -> tuple[str, ...]:
    names = ("resize", "infer", "postprocess", "overhead", "total")
    return (*key, "", *(f"{told.stages[n].p50:.3f}" if n in told.stages else "-" for n in names))


def _notes(built: Built, measured: Measured) -> list[str]:
    pictures = built.rows[0].pictures if built.rows else 0
    out = [
        f"{pictures} test pictures. 'Kept' counts the score above the median good part. Flips have an upper bound of "
        f"{max((r.flips_upper or 0.0) for r in built.rows):.1%} (95 %) for this many pictures."
    ] if built.rows else []  # fmt: skip
    out.append(
        "Latency: batch 1, one call after the other, whole predict call; p90 and p99 only where enough calls were made "
        "for them. Speed to fp32: same runtime, both sides in one interleaved run in two processes."
    )
    out += [
        f"{k[0]} on {k[1]}: {v.stability.verdict} run, machine {v.noise.verdict}" for k, v in measured.latency.items()
    ]
    return out
