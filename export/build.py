"""From a trained model to a bundle: graph, calibration, threshold, quality, file. Knows no family's insides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk import atomic, grouping, preprocess
from edge_sdk.bundle.signing import SigningKey
from edge_sdk.bundle.store import Bundle
from edge_sdk.calibration import CalibrationReport, Quantized, QuantizeOptions, Variant, quantize
from edge_sdk.decision import Decision, Evidence, conformal, nearest_supportable, parse_rate
from edge_sdk.errors import BadInput
from edge_sdk.export import evaluate, figures
from edge_sdk.export.family import Family, FloatGraph, Picture, PictureSet, Trained, TrainOptions
from edge_sdk.export.masks import Masks
from edge_sdk.export.pack import Parts, float_variant, pack, provenance
from edge_sdk.export.pictures import data_digest, held_out_count
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes.probe import default_threads

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
    key: SigningKey | None = None
    licence: str = ""
    evaluate: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Built:
    """A bundle and what was measured while it was made. title: of the family. calibration: what it saw and did.

    pictures: scored; group: how their parts were named, "" = not stated. scored, rows: empty where nothing was scored;
    unjudged says why, or why the rows say nothing of the threshold.
    """

    path: Path
    title: str
    trained: Trained
    decision: Decision
    calibration: CalibrationReport
    pictures: tuple[Picture, ...]
    group: str
    scored: tuple[evaluate.Scored, ...]
    rows: tuple[figures.Row, ...]
    unjudged: str = ""


Lap: TypeAlias = Callable[[str], None]
"""lap(name): called as a long step ends, for whoever measures how long it took."""


def _no_lap(name: str) -> None:
    """Nobody measures."""


def make(
    family: Family, data: PictureSet, options: TrainOptions, wanted: BuildOptions, *, folder: Path,
    progress: Progress = silent, lap: Lap = _no_lap,
) -> Built:  # fmt: skip
    """From pictures to a bundle, or on from the checkpoint in `folder`: the steps of `train` and of `demo`."""
    check_rate(data, options, wanted)  # before hours of training, not after; so with the folders
    for needed in (folder, wanted.out.parent):
        atomic.folder(needed)
    trained = family.train(data, options, folder=folder, progress=progress)
    lap("training")
    built = build(family, data, trained, wanted, progress=progress)
    lap("export, int8, quality")
    return built


def build(
    family: Family, data: PictureSet, trained: Trained, options: BuildOptions, *, progress: Progress = silent
) -> Built:
    """Graph, int8 and fp16, threshold, quality of every variant on every runtime here, and one file written at once."""
    made = variants(family, data, trained, progress=progress)
    decision = decide(data, trained, options)
    pictures = data.test or trained.held_out
    threshold = decision.threshold if data.test else None
    judged = _judged(made, pictures, threshold, data.group, trained, options, progress)
    parts = Parts(
        name=options.name, family=family.name, task=family.task, graph=made.graph, quantized=made.quantized,
        golden=_golden(trained, made.graph), decisions=(decision,),
        report=_report(judged, pictures, trained, made.quantized.report),
        provenance=provenance(
            data_digest=data_digest(data), samples=len(data.train), seed=trained.options.seed,
            licence=options.licence, notes={grouping.SEEN: _seen(data, trained)},
        ),
        extra={"training": dict(trained.facts)},
    )  # fmt: skip
    pack(parts, options.out, key=options.key, threads=trained.options.threads, progress=progress).close()
    return Built(
        path=options.out, title=family.title, trained=trained, decision=_in_file(options.out),
        calibration=made.quantized.report, pictures=tuple(pictures), group=data.group, scored=judged.scored,
        rows=judged.rows, unjudged=judged.problem,
    )  # fmt: skip


def _seen(data: PictureSet, trained: Trained) -> str:
    """What `threshold` later needs to tell new parts from those that the network and the map quantiles learned from."""
    held_out = {picture.path for picture in trained.held_out}
    return grouping.seen_note(grouping.content(p.path) for p in data.train if p.path not in held_out)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Made:
    """The graphs of one trained model."""

    graph: FloatGraph
    quantized: Quantized

    @property
    def all(self) -> tuple[Variant, ...]:
        """fp32 first, then what calibration made."""
        return (float_variant(self.graph), *self.quantized.variants)


def variants(family: Family, data: PictureSet, trained: Trained, *, progress: Progress = silent) -> Made:
    """The merged graph and what calibration makes of it, on as many threads as the training was given."""
    progress(0, 0, "merging the graph")
    graph = family.graph(trained)
    feeds = family.calibration(data, trained, count=CALIBRATION_SAMPLES)
    wanted = QuantizeOptions(
        float_tail=graph.float_tail,
        exclude=graph.float_in_int8,
        matched=graph.matched,
        threads=trained.options.threads or default_threads(),
    )
    return Made(graph=graph, quantized=quantize(graph.onnx, feeds, options=wanted, progress=progress))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Judged:
    """Scores and figures of all variants, or why there are none, or none of the threshold."""

    scored: tuple[evaluate.Scored, ...] = ()
    rows: tuple[figures.Row, ...] = ()
    problem: str = ""


NO_TEST_PICTURES = (
    "the threshold was not judged, as there are no test pictures: the held-out good parts set it, and verdicts on them "
    "would say nothing. Lay the pictures out as train/good, test/good (other good parts) and test/<kind of defect>"
)


def _judged(
    made: Made, pictures: Sequence[Picture], threshold: float | None, group: str, trained: Trained,
    options: BuildOptions, progress: Progress,
) -> _Judged:  # fmt: skip
    if not options.evaluate:
        return _Judged(problem="quality was not asked for")
    try:
        inputs = evaluate.prepared(pictures, made.graph.preprocessing, progress=progress)
        masks = Masks.of(pictures, made.graph.grid)
        scored = evaluate.score_all(made.all, inputs, masks=masks, threads=trained.options.threads, progress=progress)
        rows = figures.rows(scored, pictures, threshold, group=group)
        return _Judged(
            scored=tuple(scored), rows=tuple(rows), problem="" if threshold is not None else NO_TEST_PICTURES
        )
    except BadInput as exc:  # a test picture that went away during the training: the bundle is as good as before
        return _Judged(problem=str(exc))


def _in_file(path: Path) -> Decision:
    """The record as it stands in the file, digest filled in."""
    with Bundle.open(path) as bundle:
        if bundle.decision is None:
            raise BadInput("the bundle has no decision", where=str(path))
        return bundle.decision


def decide(data: PictureSet, trained: Trained, options: BuildOptions) -> Decision:
    """The conformal threshold of the held-out parts. A rate that was asked for and can't be held raises BoundNotMet."""
    parts = [p.part for p in trained.held_out]
    rate = parse_rate(options.rate) if options.rate else supported_rate(len(set(parts)), options.confidence)
    evidence = Evidence(
        grouped_by=data.group, variant="fp32", runtime=trained.scored_by,
        data_digest=grouping.data_digest((p.path, p.part if data.group else "", p.label) for p in trained.held_out),
        created_utc=provenance().created_utc,
    )  # fmt: skip
    return conformal(
        trained.scores, rate=rate, parts=parts if data.group else None, confidence=options.confidence,
        evidence=evidence,
    )  # fmt: skip


def supported_rate(parts: int, confidence: float | None) -> Fraction:
    """1 %, or the lowest rate that `parts` good parts support if that is higher."""
    return max(DEFAULT_RATE, nearest_supportable(parts, confidence=confidence).rate)


def check_rate(data: PictureSet, options: TrainOptions, wanted: BuildOptions) -> None:
    """Before training: whether the parts that will be held out support the rate asked for. Raises BoundNotMet."""
    kept = held_out_count(len({p.part for p in data.train}), options.holdout)
    if wanted.rate is not None:
        parts = [str(number) for number in range(kept)] if data.group else None
        conformal(np.arange(kept, dtype=float), rate=parse_rate(wanted.rate), parts=parts, confidence=wanted.confidence)


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
    judged: _Judged, pictures: Sequence[Picture], trained: Trained, calibration: CalibrationReport
) -> dict[str, Any]:
    """What the bundle's own report.json holds. unjudged: why there are no rows, or no verdicts in them."""
    return {
        "schema": "edge-sdk.report/1", "pictures": dict(Counter(p.label for p in pictures)),
        "rows": [row.to_json() for row in judged.rows], "unjudged": judged.problem,
        "calibration": msgspec.to_builtins(calibration),
        "history": [{"step": step, **values} for step, values in trained.history],
    }  # fmt: skip
