"""Scores by physical part, and warnings on how pictures were counted. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from edge_sdk.decision.rates import percent
from edge_sdk.decision.threshold import Evidence, FloatArray
from edge_sdk.errors import BadInput, BadUsage

THRESHOLD_MARGIN = 2.0**-13
"""How far a threshold lies above the deciding score, relative to the largest magnitude of all scores: 1024 steps of
float32, about 0.01 %. Another runtime sums in another order and may differ by that share of the summands, even if the
score is near 0. The fp32 tolerance of `verify` is about the same."""


def just_above(score: float, observed: FloatArray) -> float:
    """The threshold for `score`, one of `observed`: THRESHOLD_MARGIN * max |observed| above it, at most half the way to
    the next higher score. So every observed score gets the verdict that it would get at `score` itself.

    With a threshold equal to a score, rounding in a runtime would decide that part's verdict.
    """
    raised = score + THRESHOLD_MARGIN * float(np.abs(observed).max())
    higher = observed[observed > score]
    if not higher.size:
        return raised
    following = float(higher.min())
    return min(raised, (score + following) / 2, float(np.nextafter(following, -np.inf)))


def part_scores(scores: Sequence[float] | FloatArray, parts: Sequence[str] | None) -> FloatArray:
    """Score of each part, ascending: the highest of its pictures. float64 (number of parts,)."""
    values = np.asarray(scores, dtype=np.float64) + 0.0  # -0.0 and 0.0 are the same score, also as text
    if values.ndim != 1 or values.size == 0:
        raise BadInput(
            f"scores of shape {values.shape}: a list of at least one number is needed", hint="Score some pictures"
        )
    if parts is not None and len(parts) != len(values):
        raise BadUsage(f"{len(values)} scores but {len(parts)} names of parts", hint="Name the part of each picture")
    if not np.isfinite(values).all():
        index = int(np.flatnonzero(~np.isfinite(values))[0])
        of_part = f" (part {parts[index]})" if parts is not None else ""
        raise BadInput(
            f"score {index}{of_part} is {values[index]}", hint="edge-sdk verify shows which runtime computes it"
        )
    if parts is None:
        return np.sort(values)
    highest: dict[str, float] = {}
    for part, value in zip(parts, values.tolist()):
        highest[part] = max(value, highest.get(part, -math.inf))
    return np.sort(np.array(list(highest.values()), dtype=np.float64))


def warnings_of(
    parts: Sequence[str] | None, rate: Fraction, ties: int, count: int, evidence: Evidence
) -> tuple[str, ...]:
    words = list(part_warnings("good", parts))
    if ties > 1 and ties > 0.01 * count:
        words.append(
            f"score resolution too coarse: {ties} of {count} good scores equal the threshold; they are accepted, "
            "so the rate can only be lower than asked"
        )
    if evidence.cross_fit:
        words.append(
            f"scores are cross-fit: the proven bound is {percent(min(2 * rate, Fraction(1)))}, twice the requested "
            "rate; in practice the rate is close to the requested one"
        )
    return tuple(words)


def part_warnings(kind: str, parts: Sequence[str] | None) -> tuple[str, ...]:
    if parts is None:
        return (f"one picture per {kind} part was assumed; pictures of one part are not independent",)
    pictures = sorted(Counter(parts).values())
    if pictures[0] == pictures[-1]:
        return ()
    return (
        f"{kind} parts have {pictures[0]} to {pictures[-1]} pictures each: a part with more pictures scores higher, "
        "so the rate holds for this mixture",
    )
