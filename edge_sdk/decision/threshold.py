"""Thresholds as site records, with their evidence, and the verdict for a score. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_sdk.decision.record import Record
from edge_sdk.errors import BadInput

FloatArray: TypeAlias = NDArray[np.floating[Any]]
Rule = Literal["conformal", "conformal-pac", "cost", "fixed"]


class Threshold(Record, frozen=True, kw_only=True, tag="threshold"):
    """One threshold record. A picture is rejected when score > threshold, strictly.

    requested_rate: false-reject rate asked for, 0..1. confidence: that the rate holds (rule "conformal-pac"). parts:
    independent physical good parts behind the scores; pictures: good pictures scored. rank: the rank-th smallest part
    score decides, and the threshold is `just_above` it (rule "cost": above the observed score that costs least).
    expected_rate: mean of the true rate over calibration sets of this size (rule "cost": share observed).
    rate_interval: 90 % interval of the true rate that this sample size allows. lowest_rate: the lowest
    rate that `parts` supports. ties: part scores equal to the one that decides. cross_fit: the scores come from several
    models, each on pictures that it was not trained on. data_digest: of the scored pictures (contents, names, labels,
    and parts where a group was stated). defects: labelled defective parts used; recall_lower: one-sided 95 %
    lower bound of the share of them caught; threshold_interval: thresholds that cost within 5 % of the least.
    """

    rule: Rule
    threshold: float
    requested_rate: float | None = None
    confidence: float | None = None
    parts: int = 0
    pictures: int = 0
    rank: int | None = None
    expected_rate: float | None = None
    rate_interval: tuple[float, float] | None = None
    lowest_rate: float | None = None
    ties: int | None = None
    cross_fit: bool = False
    defects: int | None = None
    recall_lower: float | None = None
    threshold_interval: tuple[float, float] | None = None
    grouped_by: str = ""
    variant: str = ""
    runtime: str = ""
    data_digest: str = ""
    scores_digest: str = ""

    def problem(self) -> str:
        if not math.isfinite(self.threshold):
            return f"a threshold of {self.threshold} decides nothing"
        rates = (self.requested_rate, self.confidence, self.expected_rate, *(self.rate_interval or ()))
        sound = (
            all(rate is None or 0 <= rate <= 1 for rate in rates)
            and (self.rate_interval is None or self.rate_interval[0] <= self.rate_interval[1])
            and min(self.parts, self.pictures, self.rank or 0) >= 0
        )
        return "" if sound else "a threshold holds an invalid number"

    def summary(self) -> str:
        return f"score > {self.threshold:.6g}, {self.rule}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """label: "good", "defect", or "undecided" (the bundle has no threshold). record: digest of the record used."""

    label: Literal["good", "defect", "undecided"]
    threshold: float | None
    record: str


def verdict(score: float, threshold: Threshold | None) -> Verdict:
    """The verdict for one raw score (higher = more anomalous). BadInput for NaN: `NaN > threshold` would say "good"."""
    if math.isnan(score):
        raise BadInput(
            "the score is NaN, which is neither good nor defect", hint="edge-sdk verify shows which runtime computes it"
        )
    if threshold is None:
        return Verdict(label="undecided", threshold=None, record="")
    label: Literal["good", "defect"] = "defect" if rejected(score, threshold.threshold) else "good"
    return Verdict(label=label, threshold=threshold.threshold, record=threshold.digest)


def rejected(scores: Sequence[float] | FloatArray | float, threshold: float) -> NDArray[np.bool_]:
    """True for defects: score > threshold, strictly. The only place with this comparison."""
    return np.asarray(np.asarray(scores, dtype=np.float64) > threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Where scores come from; copied into the record as it is. grouped_by: pattern or column that names the part.

    variant, runtime: whose scores; several, with commas, where the highest of what they give a picture counts.

    data_digest: `grouping.data_digest` of the pictures behind the scores. cross_fit: the scores come from several
    models, each on pictures that it was not trained on. created_utc: ISO 8601.
    """

    grouped_by: str = ""
    variant: str = ""
    runtime: str = ""
    data_digest: str = ""
    author: str = ""
    created_utc: str = ""
    cross_fit: bool = False


UNSTATED = Evidence()
"""Evidence of scores of unknown origin."""


def scores_digest(scores: Sequence[float] | FloatArray) -> str:
    """sha256 over the scores in rising order as little-endian float64: the order of the pictures does not matter."""
    rising = np.sort(np.asarray(scores, dtype="<f8")) + 0.0  # -0.0 and 0.0 are one score
    return hashlib.sha256(rising.tobytes()).hexdigest()


def fixed(threshold: float, *, evidence: Evidence = UNSTATED) -> Threshold:
    """A threshold set by hand. It has no expected rate, and its words say so."""
    if not math.isfinite(threshold):
        raise BadInput(f"a threshold of {threshold} decides nothing", hint="Give a finite threshold")
    words = "threshold set by hand; its false-reject rate is not known"
    return Threshold(rule="fixed", threshold=float(threshold), words=words, **copied(evidence))


def copied(evidence: Evidence) -> dict[str, Any]:
    """The fields that a threshold takes over."""
    return {field.name: getattr(evidence, field.name) for field in fields(evidence)}
