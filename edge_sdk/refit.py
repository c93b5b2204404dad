"""A bundle's threshold fitted again where it runs: this camera, this runtime, this variant. Knows no archive layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from edge_sdk.bundle.signing import TrustPolicy
from edge_sdk.bundle.store import Bundle
from edge_sdk.decision import Decision, Evidence, conformal, fixed, from_defects
from edge_sdk.grouping import Grouping, data_digest
from edge_sdk.loading import load
from edge_sdk.predictors.anomaly import AnomalyDetector
from edge_sdk.preprocess import pictures_in
from edge_sdk.progress import Progress, silent


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for. rate, confidence: of the conformal rule. defects: folder; then the cost rule is used.

    cost_miss, cost_reject: in any one unit. prevalence: share of defects on the line, 0..1.
    """

    good: Path
    defects: Path | None = None
    rate: str = "0.01"
    confidence: float | None = None
    cost_miss: float = 10.0
    cost_reject: float = 1.0
    prevalence: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What the caller states about the evidence. group: how pictures of one part are known (see `Grouping`)."""

    group: str = ""
    author: str = ""


def by_hand(path: Path, threshold: float, stated: Stated, *, trust: TrustPolicy) -> Decision:
    """A threshold set by a person, for a bundle that opens under `trust`."""
    Bundle.open(path, trust=trust).close()
    return fixed(threshold, evidence=Evidence(author=stated.author, created_utc=_now()))


def from_pictures(
    path: Path, request: Request, stated: Stated, *, runtime: str | None = None, variant: str | None = None,
    threads: int | None = None, trust: TrustPolicy | None = None, progress: Progress = silent,
) -> Decision:  # fmt: skip
    """Scores the pictures with the bundle as it runs here, and decides by the conformal or the cost rule.

    Raises BoundNotMet where the number of good parts does not support the rate; BadInput names a picture.
    """
    good = pictures_in(request.good, recursive=True)
    bad = pictures_in(request.defects, recursive=True) if request.defects else ()
    with load(path, runtime=runtime, variant=variant, threads=threads, trust=trust or TrustPolicy()) as detector:
        scores = _scores(detector, [*good, *bad], progress)
        evidence = Evidence(
            grouped_by=stated.group, variant=detector.variant, runtime=detector.explanation.runtime,
            data_digest=_digest(request, good, bad, stated.group), author=stated.author, created_utc=_now(),
        )  # fmt: skip
    good_parts = _parts(good, request.good, stated.group)
    if request.defects is None:
        return conformal(scores, rate=request.rate, parts=good_parts, confidence=request.confidence, evidence=evidence)
    return from_defects(
        scores[: len(good)], scores[len(good) :], cost_miss=request.cost_miss, cost_reject=request.cost_reject,
        prevalence=request.prevalence, rng=np.random.default_rng(0), good_parts=good_parts,
        defect_parts=_parts(bad, request.defects, stated.group), evidence=evidence,
    )  # fmt: skip


def _scores(detector: AnomalyDetector, files: Sequence[Path], progress: Progress) -> list[float]:
    scores = []
    for done, file in enumerate(files):
        progress(done, len(files), "scoring pictures")
        scores.append(detector.predict(file).score)
    progress(len(files), len(files), "scored pictures")
    return scores


def _parts(files: Sequence[Path], folder: Path, group: str) -> list[str] | None:
    part_of = Grouping(folder, group or None)
    return [part_of(p) for p in files] if group else None


def _digest(request: Request, good: Sequence[Path], bad: Sequence[Path], group: str) -> str:
    """Of the pictures behind the scores, as at export: the same pictures give the same digest."""
    parts = [*(_parts(good, request.good, group) or [""] * len(good))]
    if request.defects is not None:
        parts += _parts(bad, request.defects, group) or [""] * len(bad)
    labels = ["good"] * len(good) + ["defect"] * len(bad)
    return data_digest(zip([*good, *bad], parts, labels, strict=True))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
