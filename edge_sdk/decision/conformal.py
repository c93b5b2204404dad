"""A threshold from good parts alone, by conformal rank, that keeps a requested false-reject rate. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from edge_sdk.counted import counted
from edge_sdk.decision.parts import just_above, part_scores, warnings_of
from edge_sdk.decision.rates import (
    asked,
    confident_rank,
    conformal_rank,
    nearest_supportable,
    needed_parts,
    parse_rate,
    percent,
)
from edge_sdk.decision.threshold import UNSTATED, Evidence, FloatArray, Threshold, copied, scores_digest
from edge_sdk.errors import BoundNotMet
from edge_sdk.intervals import beta_quantile


def conformal(
    scores: Sequence[float] | FloatArray,
    *,
    rate: str | Fraction,
    parts: Sequence[str] | None = None,
    confidence: float | None = None,
    evidence: Evidence = UNSTATED,
) -> Threshold:
    """The threshold that rejects at most `rate` of the good parts, from held-out good pictures alone.

    scores: one per picture, any order, higher = more anomalous; no model was fitted on these pictures. rate: "0.01",
    "1%" or a Fraction; a float has no exact rank. parts: name of the physical part per picture; None: each picture is
    its own part, and the record says that this was assumed.

    A line rejects a part if one of its pictures is rejected, so the score of a part is the highest score of its
    pictures. The rate then counts good parts, it holds even if pictures of one part are dependent, and the rate by
    picture can only be lower. It holds for parts with the same number of pictures.

    confidence None: the rate holds on average over calibration sets (rank ceil((n + 1)(1 - rate))). With a
    confidence: the smallest rank whose true rate is below `rate` with that confidence. The only assumption is that
    parts are exchangeable. Raises BoundNotMet, with the number of parts needed and the rate that this number supports,
    instead of falling back to the highest score; BadInput for scores that are not finite.
    """
    wanted = parse_rate(rate)
    of_parts, unit = part_scores(scores, parts), "picture" if parts is None else "part"
    count = len(of_parts)
    rank = conformal_rank(count, wanted) if confidence is None else confident_rank(count, wanted, confidence)
    lowest = nearest_supportable(count, confidence=confidence)
    if rank is None or rank > count:
        raise BoundNotMet(
            f"{asked(wanted, confidence)} needs at least {counted(needed_parts(wanted, confidence), f'good {unit}')}; "
            f"there {'is' if count == 1 else 'are'} {count}. {lowest.words}",
            hint=f"Ask for {percent(lowest.rate, up=True)} or more (--rate), add good {unit}s, or label defects "
            "(cost rule)",
        )
    deciding = float(of_parts[rank - 1])
    ties = int(np.count_nonzero(of_parts == deciding))
    expected = (count + 1 - rank) / (count + 1)
    low, high = (beta_quantile(p, count + 1 - rank, rank) for p in (0.05, 0.95))
    return Threshold(
        rule="conformal" if confidence is None else "conformal-pac",
        threshold=just_above(deciding, of_parts),
        requested_rate=float(wanted),
        confidence=confidence,
        parts=count,
        pictures=len(scores),
        rank=rank,
        expected_rate=expected,
        rate_interval=(low, high),
        lowest_rate=float(lowest.rate),
        ties=ties,
        words=(
            f"{asked(wanted, confidence)}: just above {deciding:.6g}, the {'highest' if rank == count else 'score'} of "
            f"{counted(count, f'good {unit}')}{'' if rank == count else f' at rank {rank} from the lowest'}. "
            f"Expected false-reject rate {percent(expected)} "
            f"(90 % interval {percent(low)} to {percent(high)}, from {counted(count, unit)})"
        ),
        warnings=warnings_of(parts, wanted, ties, count, evidence),
        scores_digest=scores_digest(scores),
        **copied(evidence),
    )
