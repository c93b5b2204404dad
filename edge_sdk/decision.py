"""Decisions as data: a threshold with its evidence, its chain of predecessors, the verdict that follows. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from edge_sdk.errors import BadBundle, BadInput

Rule = Literal["conformal", "conformal-pac", "cost", "fixed"]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One threshold record. A picture is rejected when score > threshold, strictly.

    requested_rate: false-reject rate asked for, 0..1. confidence: of the promise (rule "conformal-pac"). parts:
    independent physical good parts behind the scores; pictures: good pictures scored. rank: the threshold is the
    rank-th smallest part score. expected_rate: mean of the true rate over calibration sets of this size (rule "cost":
    share observed). rate_interval: 90 % interval of the true rate that this sample size allows. lowest_rate: the lowest
    rate that `parts` supports. ties: part scores equal to the threshold. cross_fit: the scores come from several
    models, each judging what it had not seen. defects: labelled defective parts used; recall_lower: one-sided 95 %
    lower bound of the share of them caught; threshold_interval: thresholds that cost within 5 % of the least.
    predecessor: digest of the record before it, "" for the first. digest: `digest_of` this record.
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
    words: str = ""
    warnings: tuple[str, ...] = ()
    author: str = ""
    created_utc: str = ""
    predecessor: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """label: "good", "defect", or "undecided" (the bundle has no threshold). record: digest of the decision used."""

    label: Literal["good", "defect", "undecided"]
    threshold: float | None
    record: str


def judge(score: float, decision: Decision | None) -> Verdict:
    """The verdict for one raw score (higher = more anomalous). BadInput for NaN: `NaN > threshold` would say "good"."""
    if math.isnan(score):
        raise BadInput(
            "the score is NaN, which is neither good nor defect", do="edge-sdk verify shows which runtime computes it"
        )
    if decision is None:
        return Verdict(label="undecided", threshold=None, record="")
    label: Literal["good", "defect"] = "defect" if score > decision.threshold else "good"
    return Verdict(label=label, threshold=decision.threshold, record=decision.digest)


def canonical_json(record: Decision | Mapping[str, Any]) -> bytes:
    """The bytes that are hashed: JSON in UTF-8, keys sorted, no spaces, numbers in the shortest form that reads back.

    Left out: `digest` itself, and members that are null, false, "" or []. So a field that a later version adds with
    such a default changes no older digest. A mapping (the JSON object as read) keeps fields that this version does not
    know, so that records of a newer minor version check out too.
    """
    members = msgspec.to_builtins(record)
    kept = {key: value for key, value in members.items() if key != "digest" and not _empty(value)}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _empty(value: Any) -> bool:
    return value is None or value is False or value == "" or value in ([], ())


def digest_of(record: Decision | Mapping[str, Any]) -> str:
    """sha256 of `canonical_json`, in hex."""
    return hashlib.sha256(canonical_json(record)).hexdigest()


def sealed(decision: Decision, predecessor: Decision | None) -> Decision:
    """`decision` as the successor of `predecessor` (None: the first of its chain), with its own digest filled in.

    BadInput where the threshold is not finite, or the predecessor has no digest yet.
    """
    if not math.isfinite(decision.threshold):
        raise BadInput(f"a threshold of {decision.threshold} decides nothing", do="Give a finite threshold")
    if predecessor is not None and not predecessor.digest:
        raise BadInput("the decision before this one has no digest", do="Seal it first")
    linked = msgspec.structs.replace(decision, predecessor=predecessor.digest if predecessor else "", digest="")
    # Read back from JSON first: a whole number given for a float would hash as 1 here and as 1.0 when read again.
    linked = msgspec.convert(msgspec.to_builtins(linked), Decision)
    return msgspec.structs.replace(linked, digest=digest_of(linked))


def check_chain(decisions: Sequence[Decision | Mapping[str, Any]], *, where: str = "") -> None:
    """Each record has its own digest and names the one before it; oldest first. BadBundle says which does not."""
    before = ""
    for number, record in enumerate(decisions, start=1):
        members = msgspec.to_builtins(record)
        name = f"decision {number} of {len(decisions)}"
        if digest_of(record) != members.get("digest"):
            raise BadBundle(
                f"{name} was altered: its digest does not match", where=where, do="Take the file from its source again"
            )
        if members.get("predecessor", "") != before:
            raise BadBundle(
                f"{name} does not follow the one before it: a record was removed, added or moved",
                where=where,
                do="Take the file from its source again",
            )
        before = members["digest"]
