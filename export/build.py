"""From a trained model to a bundle: graph, calibration, threshold, quality, file. Knows no family's insides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.bundle.signing import SigningKey
from edge_sdk.bundle.store import Bundle
from edge_sdk.calibration import QuantizeOptions, Variant, quantize
from edge_sdk.decision import Decision, Evidence, conformal, nearest_supportable, parse_rate
from edge_sdk.errors import BadInput
from edge_sdk.export import evaluate
from edge_sdk.export.family import Family, FloatGraph, Picture, PictureSet, Trained
from edge_sdk.export.pack import Parts, pack, provenance
from edge_sdk.export.pictures import data_digest
from edge_sdk.progress import Progress, silent

DEFAULT_RATE = Fraction(1, 100)
CALIBRATION_SAMPLES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What a user states about one bundle. rate: false-reject rate, exact ("1%"); None = 1 %, or the lowest that the
    held-out parts support if that is higher, which the record then says. confidence: 0..1, None = on average."""

    name: str
    out: Path
    rate: str | None = None
    confidence: float | None = None
    group: str = ""
    key: SigningKey | None = None
    licence: str = ""
    evaluate: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Built:
    """A bundle and what was measured while it was made. rows: empty where there were no pictures to judge."""

    path: Path
    decision: Decision
    graph: FloatGraph
    variants: tuple[Variant, ...]
    pictures: tuple[Picture, ...]
    scored: tuple[evaluate.Scored, ...]
    rows: tuple[evaluate.Row, ...]


def build(
    family: Family, data: PictureSet, trained: Trained, options: BuildOptions, *, progress: Progress = silent
) -> Built:
    """Graph, int8 and fp16, threshold, quality of every variant on every runtime here, and one file written at once."""
    progress(0, 0, "merging the graph")
    graph = family.graph(trained)
    feeds = family.calibration(data, trained, count=CALIBRATION_SAMPLES)
    wanted = QuantizeOptions(float_tail=graph.float_tail, exclude=graph.float_in_int8)
    quantized = quantize(graph.onnx, feeds, options=wanted, progress=progress)
    variants = (Variant(variant="fp32", layout="plain", graph=graph.onnx, int8_convolutions=0), *quantized.variants)
    decision = decide(trained, options, digest=data_digest(data))
    judged = data.test or trained.held_out
    scored: Sequence[evaluate.Scored] = ()
    rows: Sequence[evaluate.Row] = ()
    if options.evaluate:
        inputs = evaluate.prepared(judged, graph.preprocessing, progress=progress)
        scored = evaluate.score_all(variants, inputs, progress=progress)
        rows = evaluate.rows(scored, [p.label for p in judged], decision.threshold)
    parts = Parts(
        name=options.name, family=family.name, task=family.task, graph=graph, quantized=quantized,
        golden=_golden(trained, graph), decisions=(decision,),
        report=_report(rows, judged, trained, quantized.report),
        provenance=provenance(
            data_digest=data_digest(data), samples=len(data.train), seed=trained.options.seed, licence=options.licence
        ),
        extra={"training": dict(trained.facts)},
    )  # fmt: skip
    pack(parts, options.out, key=options.key, progress=progress).close()
    return Built(
        path=options.out, decision=_in_file(options.out), graph=graph, variants=variants,
        pictures=tuple(judged), scored=tuple(scored), rows=tuple(rows),
    )  # fmt: skip


def _in_file(path: Path) -> Decision:
    """The record as it stands in the file, digest filled in."""
    with Bundle.open(path) as bundle:
        if bundle.decision is None:
            raise BadInput("the bundle has no decision", where=str(path))
        return bundle.decision


def decide(trained: Trained, options: BuildOptions, *, digest: str) -> Decision:
    """The conformal threshold of the held-out parts. A rate that was asked for and can't be held raises BoundNotMet."""
    parts = [p.part for p in trained.held_out]
    rate = parse_rate(options.rate) if options.rate else supported_rate(len(set(parts)), options.confidence)
    evidence = Evidence(
        grouped_by=options.group, variant="fp32", runtime="torch", data_digest=digest,
        created_utc=provenance().created_utc,
    )  # fmt: skip
    return conformal(
        trained.scores, rate=rate, parts=parts if options.group else None, confidence=options.confidence,
        evidence=evidence,
    )  # fmt: skip


def supported_rate(parts: int, confidence: float | None) -> Fraction:
    """1 %, or the lowest rate that `parts` good parts support if that is higher."""
    return max(DEFAULT_RATE, nearest_supportable(parts, confidence=confidence).rate)


def check_rate(data: PictureSet, holdout: float, options: BuildOptions) -> None:
    """Before training: whether the parts that will be held out support the rate asked for. Raises BoundNotMet."""
    if options.rate is None:
        return
    parts = len({p.part for p in data.train})
    kept = max(1, round(parts * holdout))
    conformal(np.arange(kept, dtype=np.float64), rate=parse_rate(options.rate), confidence=options.confidence)


def _golden(trained: Trained, graph: FloatGraph) -> list[tuple[str, NDArray[np.uint8]]]:
    """Two good parts and one damaged by us: a strip of the picture moved and turned, so that the map has a peak."""
    first, second = trained.held_out[0], trained.held_out[-1]
    good = [
        preprocess.to_rgb8(preprocess.decode(p.path), bit_depth=graph.preprocessing.bit_depth) for p in (first, second)
    ]
    return [("good", good[0]), ("good", good[1]), ("damaged on purpose", _damaged(good[0]))]


def _damaged(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    out: NDArray[np.uint8] = rgb.copy()
    h, w = out.shape[0] // 5, out.shape[1] // 5
    y, x = 2 * out.shape[0] // 5, 2 * out.shape[1] // 5
    out[y : y + h, x : x + w] = 255 - rgb[y : y + h, x : x + w][::-1, ::-1]
    return out


def _report(
    rows: Sequence[evaluate.Row], judged: Sequence[Picture], trained: Trained, calibration: Any
) -> dict[str, Any]:
    kinds: dict[str, int] = {}
    for picture in judged:
        kinds[picture.label] = kinds.get(picture.label, 0) + 1
    return {
        "schema": "edge-sdk.report/1", "pictures": kinds, "rows": [row.to_json() for row in rows],
        "history": [{"step": step, **values} for step, values in trained.history],
    }  # fmt: skip
