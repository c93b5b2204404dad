"""Decisions as data: a threshold with its evidence, the chain of its predecessors, and the verdict that follows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

Rule = Literal["conformal", "conformal-pac", "cost", "fixed"]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One threshold record. A picture is rejected when score > threshold, strictly.

    requested_rate: false-reject rate asked for, 0..1. parts: independent physical parts behind the scores; pictures:
    pictures scored. rate_interval: 90 % interval of the true rate that this sample size allows. predecessor: sha256 of
    the record before it, "" for the first. digest: this record's sha256 (of its JSON with digest "").
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
    grouped_by: str = ""
    variant: str = ""
    runtime: str = ""
    data_digest: str = ""
    scores_digest: str = ""
    words: str = ""
    author: str = ""
    created_utc: str = ""
    predecessor: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """label: "good", "defect", or "undecided" where the bundle has no threshold. record: digest of the decision used."""

    label: Literal["good", "defect", "undecided"]
    threshold: float | None
    record: str


def judge(score: float, decision: Decision | None) -> Verdict:
    """The verdict for one raw score (higher = more anomalous)."""
    if decision is None:
        return Verdict(label="undecided", threshold=None, record="")
    label: Literal["good", "defect"] = "defect" if score > decision.threshold else "good"
    return Verdict(label=label, threshold=decision.threshold, record=decision.digest)
