"""From a trained model to a bundle: graph, calibration, threshold, quality, file. Knows no family's insides."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk import atomic, grouping, locks, preprocess
from edge_sdk.bundle.signing import SigningKey, TrustPolicy
from edge_sdk.bundle.store import Bundle
from edge_sdk.calibration import CalibrationReport, Quantized, QuantizeOptions, Variant, quantize
from edge_sdk.decision import Decision, Evidence, conformal, nearest_supportable, needed_parts, parse_rate
from edge_sdk.errors import BadInput, BadUsage, BoundNotMet, Stopped
from edge_sdk.evidence import Judged, highest
from edge_sdk.export import evaluate, figures, promise
from edge_sdk.export.family import Family, FloatGraph, Picture, PictureSet, Trained, TrainingPlan, TrainOptions
from edge_sdk.export.masks import Masks
from edge_sdk.export.pack import Parts, float_variant, pack, provenance
from edge_sdk.export.pictures import Shares, content_of, data_digest, shares
from edge_sdk.export.promise import Highest
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes.probe import default_threads

DEFAULT_RATE = Fraction(1, 100)
CALIBRATION_SAMPLES = 64
WORK = "training"
"""What one process at a time does in a run folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What a user states about one bundle. rate: false-reject rate, exact ("1%"); None = 1 %, or the lowest that the
    held-out parts support if that is higher, which the record then says. confidence: 0..1, None = on average.
    overwrite: what stands at `out` may be lost, whatever it is."""

    name: str
    out: Path
    rate: str | None = None
    confidence: float | None = None
    key: SigningKey | None = None
    licence: str = ""
    evaluate: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        needed_parts(parse_rate(self.rate) if self.rate else DEFAULT_RATE, self.confidence)  # BadUsage, before any work


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """One bundle to be made, and everything looked at that it needs: `plan` answers nothing else.

    shares: which good pictures are for what. promise: the decision as it will be, but for its threshold. replaces: a
    bundle of this run stands at `wanted.out` and will be written anew.
    """

    family: Family
    data: PictureSet
    options: TrainOptions
    wanted: BuildOptions
    folder: Path
    shares: Shares
    training: TrainingPlan
    promise: Decision
    replaces: bool

    @property
    def threads(self) -> int:
        """Those of training, calibration and scoring."""
        return self.options.threads or default_threads()


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

    @property
    def highest(self) -> tuple[Judged, ...]:
        """Of the good pictures behind the threshold those with the highest scores, to be looked at."""
        return highest((picture.path for picture in self.trained.held_out), self.trained.scores)


Lap: TypeAlias = Callable[[str], None]
"""lap(name): called as a long step ends, for whoever measures how long it took."""


def _no_lap(name: str) -> None:
    """Nobody measures."""


def plan(family: Family, data: PictureSet, options: TrainOptions, wanted: BuildOptions, *, folder: Path) -> Plan:
    """What `make` will do with `folder` as run folder. Nothing stays written, and whatever would stop it later stops it
    here: sizes, files, folders, a rate that the held-out parts don't support, a bundle that would be lost."""
    options = family.completed(options)
    for needed in (folder, wanted.out.parent):
        atomic.folder(next(p for p in (needed, *needed.absolute().parents) if p.exists()))
    if (folder / f"{WORK}.lock").exists():
        with _alone_in(folder):
            pass
    if wanted.key is not None:
        _ = wanted.key.public  # needs a package that nothing else here needs
    divided = shares(data.train, options)
    promise = _promise(data, len({p.part for p in divided.held_out}), wanted, options.holdout)
    training = family.planned(data, options, folder=folder)
    return Plan(
        family=family, data=data, options=options, wanted=wanted, folder=folder, shares=divided, training=training,
        promise=promise, replaces=_replaces(wanted, training.run),
    )  # fmt: skip


def make(planned: Plan, *, progress: Progress = silent, lap: Lap = _no_lap) -> Built:
    """From pictures to a bundle, or on from the checkpoint in the run folder: the steps of `train` and of `demo`.

    Raises Stopped on Ctrl-C, and BadUsage where another process works in the run folder.
    """
    family, data, folder = planned.family, planned.data, planned.folder
    for needed in (folder, planned.wanted.out.parent):
        atomic.folder(needed)
    with _alone_in(folder):
        try:
            trained = family.train(data, planned.options, folder=folder, progress=progress)
            lap("training")
            _replaces(planned.wanted, planned.training.run)  # a threshold may have been refitted meanwhile
            built = build(family, data, trained, planned.wanted, progress=progress)
        except KeyboardInterrupt as exc:
            raise Stopped(
                "stopped while the bundle was made of the trained model, which is kept", where=str(folder),
                do="Give the same command again: it goes on after the training",
            ) from exc  # fmt: skip
        lap("export, int8, quality")
    return built


def _alone_in(folder: Path) -> AbstractContextManager[None]:
    return locks.exclusive(folder, what=WORK, do="Wait until it is done, end it, or name another folder with --run")


def _replaces(wanted: BuildOptions, run: str) -> bool:
    """Whether a bundle of this run stands where it will be written. Raises BadUsage for what would be lost there."""
    out = wanted.out
    if out.is_dir():
        raise BadUsage("this is a folder", where=str(out), do="Name a file ending in .edge with --out")
    if wanted.overwrite or not out.exists():
        return False
    do = "Name another file with --out, or give --overwrite to lose it"
    try:
        with Bundle.open(out, trust=TrustPolicy(mode="off"), lazy=True) as old:
            later, training = old.decisions[1:], old.manifest.extra.get("training")
    except BadInput as exc:
        raise BadUsage("there is a file already, and it is no bundle that can be read", where=str(out), do=do) from exc
    if later:
        raise BadUsage(
            f"this bundle got {len(later)} threshold{'s'[: len(later) > 1]} after it was packed, the last at "
            f"{later[-1].created_utc or 'an unknown time'}, which writing it anew would lose",
            where=str(out), do=do,
        )  # fmt: skip
    if not isinstance(training, dict) or training.get("run") != run:
        raise BadUsage("this bundle was made of other pictures, options or weights", where=str(out), do=do)
    return True


def build(
    family: Family, data: PictureSet, trained: Trained, options: BuildOptions, *, progress: Progress = silent
) -> Built:
    """Graph, int8 and fp16, threshold, quality of every variant on every runtime here, and one file written at once."""
    made = variants(family, data, trained, progress=progress)
    decision = decide(data, trained, options, scored_by(made, trained, options, progress=progress))
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
        extra={"training": trained.told()},
    )  # fmt: skip
    pack(parts, options.out, key=options.key, threads=trained.options.threads, progress=progress).close()
    return Built(
        path=options.out, title=family.title, trained=trained, decision=_in_file(options.out),
        calibration=made.quantized.report, pictures=tuple(pictures), group=data.group, scored=judged.scored,
        rows=judged.rows, unjudged=judged.problem,
    )  # fmt: skip


def scored_by(made: Made, trained: Trained, options: BuildOptions, *, progress: Progress = silent) -> Highest:
    """The scores that the threshold is fitted to: of all graphs, or the training's own where quality is not wanted."""
    if not options.evaluate:
        return promise.of(trained.scores, trained.scored_by, ())
    return promise.highest(trained, made.quantized.variants, made.graph.preprocessing, progress=progress)


def _seen(data: PictureSet, trained: Trained) -> str:
    """What `threshold` later needs to tell new parts from those that the network and the map quantiles learned from."""
    held_out = {picture.path for picture in trained.held_out}
    return grouping.seen_note(content_of(p) for p in data.train if p.path not in held_out)


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
        keep_fp32=graph.float_tail,
        exclude=graph.float_in_int8,
        output_correction=graph.matched,
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


def decide(data: PictureSet, trained: Trained, options: BuildOptions, scored: Highest) -> Decision:
    """The conformal threshold of the held-out parts. A rate that was asked for and can't be held raises BoundNotMet."""
    parts = [p.part for p in trained.held_out]
    rate = _rate(len(set(parts)), options)
    evidence = Evidence(
        grouped_by=data.group, variant=scored.variants, runtime=scored.runtimes,
        data_digest=grouping.data_digest(
            (p.path.name, p.part if data.group else "", p.label, content_of(p)) for p in trained.held_out
        ),
        created_utc=provenance().created_utc,
    )  # fmt: skip
    decision = conformal(
        scored.scores, rate=rate, parts=parts if data.group else None, confidence=options.confidence,
        evidence=evidence,
    )  # fmt: skip
    return msgspec.structs.replace(decision, warnings=(*decision.warnings, *scored.warnings))


def _rate(parts: int, options: BuildOptions) -> Fraction:
    """As asked for; else 1 %, or the lowest rate that `parts` good parts support if that is higher."""
    if options.rate is not None:
        return parse_rate(options.rate)
    return max(DEFAULT_RATE, nearest_supportable(parts, confidence=options.confidence).rate)


def _promise(data: PictureSet, held_out: int, wanted: BuildOptions, holdout: float) -> Decision:
    """What a threshold from so many parts, `holdout` of all, will promise: all but its value. Raises BoundNotMet."""
    parts = [str(number) for number in range(held_out)] if data.group else None
    scores, evidence = np.arange(held_out, dtype=float), Evidence(grouped_by=data.group)
    rate = _rate(held_out, wanted)
    try:
        return conformal(scores, rate=rate, parts=parts, confidence=wanted.confidence, evidence=evidence)
    except BoundNotMet as exc:
        unit, given = ("parts" if data.group else "pictures"), len({p.part for p in data.train})
        lowest = nearest_supportable(held_out, confidence=wanted.confidence).rate
        enough = math.ceil(needed_parts(rate, wanted.confidence) / holdout)
        raise BoundNotMet(
            f"{held_out} of the {given} good {unit} are kept for the threshold, and {exc.args[0]}",
            do=f"Ask for {float(100 * lowest):g}% or more, or train with about {enough} good {unit}",
        ) from exc


def short_of_default(decision: Decision, holdout: float) -> str:
    """What it takes for the default rate, where a decision from a share `holdout` of the parts is above it; else ""."""
    if decision.requested_rate is None or decision.requested_rate <= DEFAULT_RATE:
        return ""
    needed, unit = needed_parts(DEFAULT_RATE, decision.confidence), "parts" if decision.grouped_by else "pictures"
    return (
        f"{decision.parts} good {unit} for the threshold are too few for the usual {float(100 * DEFAULT_RATE):g} %: "
        f"that takes {needed} of them, from about {math.ceil(needed / holdout)} good {unit} in all"
    )


def _golden(trained: Trained, graph: FloatGraph) -> list[tuple[str, NDArray[np.uint8]]]:
    """Two good parts and one damaged by us: a strip of the picture moved and turned, so that the map has a peak."""
    first, second = trained.held_out[0], trained.held_out[-1]
    good = [preprocess.read_rgb8(p.path, bit_depth=graph.preprocessing.bit_depth) for p in (first, second)]
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
