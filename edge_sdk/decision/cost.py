"""A threshold from labelled defects that minimizes the cost of misses and false rejects. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_sdk.decision.parts import just_above, part_scores, part_warnings
from edge_sdk.decision.rates import percent
from edge_sdk.decision.threshold import UNSTATED, Evidence, FloatArray, Threshold, copied, rejected, scores_digest
from edge_sdk.errors import BadUsage
from edge_sdk.intervals import at_least, clopper_pearson


def from_defects(
    good: Sequence[float] | FloatArray,
    defects: Sequence[float] | FloatArray,
    *,
    cost_miss: float,
    cost_reject: float,
    prevalence: float,
    rng: np.random.Generator,
    good_parts: Sequence[str] | None = None,
    defect_parts: Sequence[str] | None = None,
    draws: int = 2000,
    evidence: Evidence = UNSTATED,
) -> Threshold:
    """The threshold just above the observed score that costs least.

    Cost: cost_miss * prevalence * missed + cost_reject * (1 - prevalence) * rejected.

    good, defects: one score per held-out picture. prevalence: share of defective parts on the LINE, 0..1, not in the
    test folder. Equal costs: the highest threshold. Parts as in `conformal`. For the recall, each
    defective part is scored against the threshold chosen without it (leave-one-out), else the recall would be
    optimistic. rng: for the bootstrap over parts that gives the 95 % interval of the threshold in `words`.
    """
    if not (cost_miss > 0 and cost_reject > 0 and 0 < prevalence < 1):
        raise BadUsage(
            "costs must be above 0 and the prevalence between 0 and 1", hint="Give the values of your production line"
        )
    sound, broken = part_scores(good, good_parts), part_scores(defects, defect_parts)
    curve = _CostCurve(sound, broken, miss=cost_miss * prevalence, reject=cost_reject * (1 - prevalence))
    costs = curve.costs(np.ones(len(sound)), np.ones(len(broken)))
    best = _last_minimum(costs)
    threshold = just_above(float(curve.candidates[best]), curve.candidates)
    near = curve.candidates[costs <= 1.05 * costs[best]]
    drawn = [curve.drawn(rng) for _ in range(draws)]
    low, high = (float(value) for value in np.quantile(drawn, (0.025, 0.975), method="inverted_cdf"))
    caught = sum(curve.caught_without(index) for index in range(len(broken)))
    rejects = int(np.count_nonzero(rejected(sound, threshold)))
    return Threshold(
        rule="cost",
        threshold=threshold,
        parts=len(sound),
        pictures=len(good),
        expected_rate=rejects / len(sound),
        rate_interval=clopper_pearson(rejects, len(sound), level=0.90),
        defects=len(broken),
        recall_lower=clopper_pearson(caught, len(broken), side="lower")[0],
        threshold_interval=(float(near.min()), max(float(near.max()), threshold)),
        words=(
            f"just above the score of least cost ({curve.candidates[best]:.6g}) at a miss {cost_miss:g}, a "
            f"false reject {cost_reject:g} and {percent(prevalence)} defects on the line. Defects found "
            f"(leave-one-out): {at_least(caught, len(broken))}. Good parts rejected: {rejects} of "
            f"{len(sound)}. 95 % bootstrap interval of the threshold: {low:.4g} to {high:.4g} ({draws} draws)"
        ),
        warnings=(*part_warnings("good", good_parts), *part_warnings("defect", defect_parts)),
        scores_digest=scores_digest(np.concatenate([np.asarray(good, np.float64), np.asarray(defects, np.float64)])),
        **copied(evidence),
    )


class _CostCurve:
    """Cost of each observed score as threshold, for any weights of the parts; shared by optimum and resamples."""

    def __init__(self, sound: FloatArray, broken: FloatArray, *, miss: float, reject: float) -> None:
        self.candidates = np.unique(np.concatenate([sound, broken]))
        self._sound, self._broken = (np.searchsorted(self.candidates, scores) for scores in (sound, broken))
        self._miss, self._reject = miss, reject

    def costs(self, sound_weights: FloatArray, broken_weights: FloatArray) -> FloatArray:
        size = len(self.candidates)
        good_up_to = np.cumsum(np.bincount(self._sound, weights=sound_weights, minlength=size))
        defects_up_to = np.cumsum(np.bincount(self._broken, weights=broken_weights, minlength=size))
        rejected = 1.0 - good_up_to / good_up_to[-1]
        missed = defects_up_to / defects_up_to[-1] if defects_up_to[-1] > 0 else np.zeros(size)
        return np.asarray(self._miss * missed + self._reject * rejected, dtype=np.float64)

    def drawn(self, rng: np.random.Generator) -> float:
        """The threshold of one bootstrap resample: good and defective parts drawn separately."""
        weights = [
            np.bincount(rng.integers(0, len(ranks), len(ranks)), minlength=len(ranks)).astype(np.float64)
            for ranks in (self._sound, self._broken)
        ]
        costs = self.costs(*weights)
        observed = np.zeros(len(self.candidates), dtype=bool)
        for ranks, drawn in zip((self._sound, self._broken), weights):
            observed[ranks[drawn > 0]] = True
        return float(self.candidates[_last_minimum(np.where(observed, costs, np.inf))])

    def caught_without(self, index: int) -> bool:
        """Whether defective part `index` is rejected by the threshold chosen without it."""
        weights = np.ones(len(self._broken))
        weights[index] = 0.0
        costs = self.costs(np.ones(len(self._sound)), weights)
        others = np.zeros(len(self.candidates), dtype=bool)
        others[self._sound] = True
        others[np.delete(self._broken, index)] = True
        return bool(self._broken[index] > _last_minimum(np.where(others, costs, np.inf)))


def _last_minimum(costs: FloatArray) -> int:
    # Summation order changes the last bits: costs this close count as equal, and the highest score wins.
    least = costs.min()
    return int(np.flatnonzero(costs <= least + 1e-12 * abs(least))[-1])
