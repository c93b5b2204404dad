"""The threshold that an anomaly bundle is packed with, from held-out good parts. Knows scores and parts; no network."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from fractions import Fraction

import msgspec
import numpy as np

from edge_sdk.counted import counted
from edge_sdk.decision.conformal import conformal
from edge_sdk.decision.rates import nearest_supportable, needed_parts, parse_rate
from edge_sdk.decision.threshold import Evidence, Threshold
from edge_sdk.errors import BoundNotMet
from edge_sdk.export.anomaly.data import AnomalyData, AnomalyTrained, content_of
from edge_sdk.export.tasks.anomaly.options import AnomalyOptions
from edge_sdk.export.tasks.anomaly.threshold_scores import ThresholdScores
from edge_sdk.grouping import data_digest

DEFAULT_RATE = Fraction(1, 100)


def check_wanted(options: AnomalyOptions) -> None:
    """BadUsage for a rate or confidence that can't be, before any work."""
    needed_parts(parse_rate(options.rate) if options.rate else DEFAULT_RATE, confidence_of(options))


def confidence_of(options: AnomalyOptions) -> float | None:
    """0..1, None = the rate holds on average."""
    return None if options.confidence is None else float(parse_rate(options.confidence, "confidence"))


def decide(data: AnomalyData, trained: AnomalyTrained, options: AnomalyOptions, scored: ThresholdScores) -> Threshold:
    """The conformal threshold of the held-out parts. A rate that was asked for and can't be held raises BoundNotMet."""
    parts = [p.part for p in trained.held_out]
    evidence = Evidence(
        grouped_by=data.group, variant=scored.variants, runtime=scored.runtimes,
        data_digest=data_digest(
            (p.path.name, p.part if data.group else "", p.label, content_of(p)) for p in trained.held_out
        ),
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )  # fmt: skip
    decision = conformal(
        scored.scores, rate=_rate(len(set(parts)), options), parts=parts if data.group else None,
        confidence=confidence_of(options), evidence=evidence,
    )  # fmt: skip
    return msgspec.structs.replace(decision, warnings=(*decision.warnings, *scored.warnings))


def foreseen(data: AnomalyData, options: AnomalyOptions) -> Threshold:
    """The threshold that the held-out parts will support: all of the record but its value. Raises BoundNotMet."""
    held_out = len({p.part for p in data.shares.held_out})
    parts = [str(number) for number in range(held_out)] if data.group else None
    scores, evidence = np.arange(held_out, dtype=float), Evidence(grouped_by=data.group)
    rate, confidence = _rate(held_out, options), confidence_of(options)
    try:
        return conformal(scores, rate=rate, parts=parts, confidence=confidence, evidence=evidence)
    except BoundNotMet as exc:
        unit, given = ("part" if data.group else "picture"), len({p.part for p in data.train})
        lowest = nearest_supportable(held_out, confidence=confidence).rate
        enough = math.ceil(needed_parts(rate, confidence) / options.holdout)
        raise BoundNotMet(
            f"{held_out} of the {given} good {unit}s {'is' if held_out == 1 else 'are'} kept for the threshold, and "
            f"{exc.args[0]}",
            hint=f"Ask for {float(100 * lowest):g}% or more, or train with about {enough} good {unit}s",
        ) from exc


def short_of_default(decision: Threshold, holdout: float) -> str:
    """What it takes for the default rate, where a decision from a share `holdout` of the parts is above it; else ""."""
    if decision.requested_rate is None or decision.requested_rate <= DEFAULT_RATE:
        return ""
    needed, unit = needed_parts(DEFAULT_RATE, decision.confidence), "part" if decision.grouped_by else "picture"
    few = f"{counted(decision.parts, f'good {unit}')} for the threshold {'is' if decision.parts == 1 else 'are'}"
    return (
        f"{few} too few for the usual {float(100 * DEFAULT_RATE):g} %: "
        f"that takes {needed} of them, from about {math.ceil(needed / holdout)} good {unit}s in all"
    )


def rate_words(foreseen: Threshold) -> str:
    """What the threshold will hold; its value, and so the record's own words, are not known yet."""
    sure = "" if foreseen.confidence is None else f" with {100 * foreseen.confidence:g} % confidence"
    (low, high), unit = foreseen.rate_interval or (0.0, 1.0), "part" if foreseen.grouped_by else "picture"
    return (
        f"{100 * (foreseen.requested_rate or 0.0):.4g} %{sure}, by score {foreseen.rank} of "
        f"{counted(foreseen.parts, f'good {unit}')}; from so many, the true rate lies between {100 * low:.2f} % and "
        f"{100 * high:.2f} % (90 % interval)"
    )


def _rate(parts: int, options: AnomalyOptions) -> Fraction:
    """As asked for; else 1 %, or the lowest rate that `parts` good parts support if that is higher."""
    if options.rate is not None:
        return parse_rate(options.rate)
    return max(DEFAULT_RATE, nearest_supportable(parts, confidence=confidence_of(options)).rate)
