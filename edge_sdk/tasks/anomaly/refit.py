"""Refits a bundle's threshold on site: this camera, this runtime, this variant. Knows no archive layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from edge_sdk.bundle.signing import SigningKey, Trust
from edge_sdk.bundle.store import Bundle, append_decision
from edge_sdk.counted import counted
from edge_sdk.decision.conformal import conformal
from edge_sdk.decision.cost import from_defects
from edge_sdk.decision.evidence import LeftOut, Sample
from edge_sdk.decision.rates import parse_rate
from edge_sdk.decision.threshold import Evidence, Threshold, fixed, rejected
from edge_sdk.errors import BadInput, BadUsage, BoundNotMet, CheckFailed
from edge_sdk.grouping import data_digest
from edge_sdk.progress import Progress, silent
from edge_sdk.tasks.anomaly.detector import ANOMALY, AnomalyDetector
from edge_sdk.tasks.anomaly.evidence import DEFECTS_OPTION, GOOD_OPTION, Gathered, Scored, gather, highest
from edge_sdk.tasks.anomaly.folder_names import GOOD


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The request. rate: as in `parse_rate`, and confidence, 0..1: of the conformal rule. good, defects: folders
    as in `evidence.gather`; with defects the cost rule is used, and rate and confidence are not.

    cost_miss, cost_reject: in any one unit. prevalence: share of defects on the line, 0..1.
    """

    good: Path
    defects: Path | None = None
    rate: str = "1%"
    confidence: float | None = None
    cost_miss: float = 10.0
    cost_reject: float = 1.0
    prevalence: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What the caller states about the evidence. group: how pictures of one part are known (see `Grouping`)."""

    group: str = ""
    author: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refit:
    """A new decision, not yet in the bundle. before: the one in force until then, None = there was none.

    above_before: how many of the good pictures that count score above the threshold before; None: no picture was
    scored, or there was no threshold. left_out: pictures that don't count, for the person who gave them. highest: good
    pictures with the highest scores, to be looked at. bundle: digest of the one it is for. signed_by: fingerprint of
    the key that signed the decisions until then, "" = none did. suspect: why the good pictures may show defects (see
    SUSPECT_SHARE), "" = they don't look like it.
    """

    decision: Threshold
    before: Threshold | None
    bundle: str
    signed_by: str
    above_before: int | None = None
    left_out: tuple[LeftOut, ...] = ()
    highest: tuple[Scored, ...] = ()
    suspect: str = ""

    @property
    def change(self) -> str:
        """The change as text: old and new threshold, and how many good pictures the old one would reject."""
        if self.before is None:
            return f"threshold: none -> {self.decision.threshold:.6g}"
        words = f"threshold: {self.before.threshold:.6g} -> {self.decision.threshold:.6g}"
        if self.above_before is None:
            return words
        good = counted(self.decision.pictures, "good picture")
        return f"{words}; the old one would reject {self.above_before} of the {good}"

    def to_json(self) -> dict[str, Any]:
        """Every field, as JSON types."""
        return {
            "decision": msgspec.to_builtins(self.decision), "before": msgspec.to_builtins(self.before),
            "above_before": self.above_before,
            "left_out": [{"why": one.why, "files": [str(path) for path in one.files]} for one in self.left_out],
            "highest": [one.to_json() for one in self.highest], "suspect": self.suspect,
        }  # fmt: skip


def by_hand(path: Path, threshold: float, stated: Stated, *, trust: Trust) -> Refit:
    """A threshold set by hand, for a bundle that opens under `trust`."""
    decision = fixed(threshold, evidence=Evidence(author=stated.author, created_utc=_now()))
    with Bundle.open(path, trust=trust) as bundle:
        require_anomaly(bundle)
        return Refit(
            decision=decision, before=bundle.in_force(Threshold), bundle=bundle.digest, signed_by=_signed_by(bundle)
        )  # fmt: skip


def require_anomaly(bundle: Bundle) -> None:
    """Raises BadUsage for a bundle of another task, in the words of the command line."""
    if bundle.manifest.task != ANOMALY:
        raise BadUsage(
            f"this is a bundle for the task {bundle.manifest.task}, and only bundles for {ANOMALY} have a threshold",
            where=str(bundle.path),
            hint=f"Name a bundle for {ANOMALY}; edge-sdk inspect shows the task of a bundle",
        )


def put_in_force(path: Path, made: Refit, *, key: SigningKey | None = None, force: bool = False) -> Threshold:
    """Append the decision to the bundle that it was made for, and return the stored record. key: the site's. force:
    also where `made.suspect` says that the good pictures may show defects.

    Raises CheckFailed for such pictures; as `append_decision`: BadUsage if the bundle was replaced, CantWrite.
    """
    if made.suspect and not force:
        raise CheckFailed(
            f"the threshold was not written: {made.suspect}", where=str(path),
            hint="Look at the pictures: --dry-run names those with the highest scores. If all of them show good parts, "
            "give --force to write it",
        )  # fmt: skip
    with append_decision(path, made.decision, key=key, sealed=made.bundle) as written:
        return cast(Threshold, written.in_force(Threshold))  # it was just appended


def _signed_by(bundle: Bundle) -> str:
    site = bundle.signature.site
    return "" if site is None else site.key


def from_pictures(detector: AnomalyDetector, request: Request, stated: Stated, *, progress: Progress = silent) -> Refit:
    """Score the pictures with this detector, and fit the threshold by the conformal or the cost rule.

    Only pictures accepted by `evidence.gather` are scored, and unreadable ones are left out. Raises BoundNotMet if the
    number of good parts does not support the rate, BadInput if no picture is left.
    """
    parse_rate(request.rate)  # before any picture is read
    manifest, before = detector.bundle.manifest, detector.threshold
    given = gather(request.good, request.defects, group=stated.group, notes=manifest.provenance.notes)
    used, scores = _scored(detector, given, progress)
    evidence = Evidence(
        grouped_by=stated.group, variant=detector.variant, runtime=detector.explanation.runtime,
        data_digest=_digest(used, stated.group), author=stated.author, created_utc=_now(),
    )  # fmt: skip
    decision = _decided(request, used, scores, evidence)
    sound = scores[: len(used.good)]
    above = None if before is None else sum(bool(rejected(score, before.threshold)) for score in sound)
    suspect = "" if before is None or above is None else _suspect(above, len(sound), before, decision)
    warnings = (*decision.warnings, *(one.why for one in used.left_out), *used.warnings, *filter(None, [suspect]))
    return Refit(
        decision=msgspec.structs.replace(decision, warnings=warnings), before=before, bundle=detector.bundle.digest,
        signed_by=_signed_by(detector.bundle), above_before=above, left_out=used.left_out,
        highest=highest((sample.path for sample in used.good), sound), suspect=suspect,
    )  # fmt: skip


SUSPECT_SHARE = 0.25
"""Above this share of good pictures over the threshold in force, a refit that raises it must be forced.

Good parts rarely get there: a threshold from as few as ten good parts rejects at most 26 % of the next ones, with 95 %
confidence (Beta(1, 10)), one from a hundred at most 3 %. A folder of defects does, and as "good" it would raise the
threshold until such defects pass. A camera or light that changed can look the same: scores alone can't tell, so a
person decides. A lower threshold lets no defect pass, and is never suspect."""


def _suspect(above: int, count: int, before: Threshold, decision: Threshold) -> str:
    """Why the good pictures may show defects, by SUSPECT_SHARE; "" if they don't look like it."""
    if decision.threshold <= before.threshold or above <= SUSPECT_SHARE * count:
        return ""
    return (
        f"{above} of {count} good pictures score above the previous threshold ({before.threshold:.6g}), as defects do: "
        "check that they show good parts of the product, camera and light that this bundle was made for. edge-sdk "
        "predict --out FOLDER shows where they differ. Another product needs its own bundle"
    )


def _decided(request: Request, used: Gathered, scores: Sequence[float], evidence: Evidence) -> Threshold:
    grouped, sound = bool(evidence.grouped_by), len(used.good)
    good_parts = [sample.part for sample in used.good] if grouped else None
    if request.defects is None:
        try:
            return conformal(
                scores, rate=request.rate, parts=good_parts, confidence=request.confidence, evidence=evidence
            )
        except BoundNotMet as exc:
            gone = used.good_left_out()  # who gave 30 pictures must learn why 6 are counted
            raise BoundNotMet(f"{exc.args[0]}{gone and f'. {gone}'}", hint=exc.hint) from exc
    return from_defects(
        scores[:sound], scores[sound:], cost_miss=request.cost_miss, cost_reject=request.cost_reject,
        prevalence=request.prevalence, rng=np.random.default_rng(0), good_parts=good_parts,
        defect_parts=[sample.part for sample in used.defects] if grouped else None, evidence=evidence,
    )  # fmt: skip


def _scored(detector: AnomalyDetector, given: Gathered, progress: Progress) -> tuple[Gathered, list[float]]:
    """Scores of good pictures, then of defective ones, and `given` without the unreadable ones."""
    total = len(given.good) + len(given.defects)
    kept: list[list[Sample]] = []
    scores: list[float] = []
    left_out = list(given.left_out)
    done = 0
    for option, samples in ((GOOD_OPTION, given.good), (DEFECTS_OPTION, given.defects)):
        scored, problems = [], []
        for sample in samples:
            progress(done, total, "scoring pictures")
            done += 1
            try:
                scores.append(detector.predict(sample.path).score)
            except BadInput as exc:  # truncated, uniform, beyond the bit depth: one bad file must not end the refit
                problems.append((sample.path, exc))
                continue
            scored.append(sample)
        kept.append(scored)
        if problems:
            why, hint = str(problems[0][1].args[0]), problems[0][1].hint
            if not scored:
                raise BadInput(f"no picture of {option} can be scored, of {len(samples)} given: {why}", hint=hint)
            files = tuple(path for path, _ in problems)
            left_out.append(LeftOut(option=option, reason=f"can't be scored ({why})", files=files))
    progress(total, total, "scored pictures")
    return replace(given, good=kept[0], defects=kept[1], left_out=tuple(left_out)), scores


def _digest(used: Gathered, group: str) -> str:
    """Digest of the scored pictures, as at export: the same pictures give the same digest."""
    labelled = [*((sample, GOOD) for sample in used.good), *((sample, "defect") for sample in used.defects)]
    return data_digest(
        (sample.path.name, sample.part if group else "", label, sample.content) for sample, label in labelled
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
