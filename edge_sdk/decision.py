"""Decisions as data: a threshold with its evidence, its chain of predecessors, the verdict that follows. Pure."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk import strict_json
from edge_sdk.errors import BadBundle, BadInput, BadUsage, BoundNotMet
from edge_sdk.quality.detection import rejected
from edge_sdk.quality.intervals import at_least, beta_cdf, beta_quantile, clopper_pearson

FloatArray: TypeAlias = NDArray[np.floating[Any]]
Rule = Literal["conformal", "conformal-pac", "cost", "fixed"]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One threshold record. A picture is rejected when score > threshold, strictly.

    requested_rate: false-reject rate asked for, 0..1. confidence: of the promise (rule "conformal-pac"). parts:
    independent physical good parts behind the scores; pictures: good pictures scored. rank: the rank-th smallest part
    score decides, and the threshold is `hair_above` it (rule "cost": above the observed score that costs least).
    expected_rate: mean of the true rate over calibration sets of this size (rule "cost": share observed).
    rate_interval: 90 % interval of the true rate that this sample size allows. lowest_rate: the lowest
    rate that `parts` supports. ties: part scores equal to the one that decides. cross_fit: the scores come from several
    models, each judging what it had not seen. data_digest: of the pictures behind the scores (contents, names, labels,
    and parts where a group was stated). defects: labelled defective parts used; recall_lower: one-sided 95 %
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
    label: Literal["good", "defect"] = "defect" if rejected(score, decision.threshold) else "good"
    return Verdict(label=label, threshold=decision.threshold, record=decision.digest)


def canonical_json(record: Decision | Mapping[str, Any]) -> bytes:
    """The bytes that are hashed: `strict_json.canonical` of the record.

    Left out: `digest` itself, and members that are null, false, "" or []. So a field that a later version adds with
    such a default changes no older digest. A mapping (the JSON object as read) keeps fields that this version does not
    know, so that records of a newer minor version check out too.
    """
    members = msgspec.to_builtins(record)
    kept = {key: value for key, value in members.items() if key != "digest" and not _empty(value)}
    return strict_json.canonical(kept, name="a decision")


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
        try:
            own = digest_of(record)
        except BadInput as exc:
            raise BadBundle(f"{name} can't be hashed: {exc}", where=where) from exc
        if own != members.get("digest"):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Where scores come from; copied into the record as it is. grouped_by: pattern or column that names the part.

    variant, runtime: whose scores; several, with commas, where the highest of what they give a picture counts.

    data_digest: `grouping.data_digest` of the pictures behind the scores. cross_fit: the scores come from several
    models, each judging what it had not seen. created_utc: ISO 8601.
    """

    grouped_by: str = ""
    variant: str = ""
    runtime: str = ""
    data_digest: str = ""
    author: str = ""
    created_utc: str = ""
    cross_fit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Supportable:
    """The lowest false-reject rate that `count` good parts support (threshold = highest good score).

    rate: 0..1, rounded up to the digits shown, so that it can be asked for. bound: what the true rate is below, with
    `confidence`. words: a sentence with both.
    """

    count: int
    rate: Fraction
    bound: float
    confidence: float
    words: str


def conformal(
    scores: Sequence[float] | FloatArray,
    *,
    rate: str | Fraction,
    parts: Sequence[str] | None = None,
    confidence: float | None = None,
    evidence: Evidence = Evidence(),
) -> Decision:
    """The threshold that wrongly rejects at most `rate` of the good parts, from held-out good pictures alone.

    scores: one per picture, any order, higher = more anomalous, of pictures that nothing was fitted on. rate: "0.01",
    "1%" or a Fraction; a float has no exact rank. parts: name of the physical part per picture; None: each picture is
    a part of its own, and the record says that this was assumed.

    A line rejects a part as soon as one of its pictures is rejected, so the score of a part is the highest score of its
    pictures: then the rate is that of good parts wrongly rejected, the promise holds whatever the pictures of a part
    have in common, and the rate by picture can only be lower. It holds for parts with as many pictures as these.

    confidence None: the rate holds on average over calibration sets (rank ceil((n + 1)(1 - rate))). With a
    confidence: the smallest rank whose true rate is below `rate` with that confidence. No assumption but that parts are
    exchangeable. Raises BoundNotMet, with the number of parts needed and what this number supports, instead of falling
    back to the highest score; BadInput for scores that are not finite.
    """
    asked = parse_rate(rate)
    of_parts, unit = _part_scores(scores, parts), "pictures" if parts is None else "parts"
    count = len(of_parts)
    rank = conformal_rank(count, asked) if confidence is None else confident_rank(count, asked, confidence)
    lowest = nearest_supportable(count, confidence=confidence, unit=unit)
    if rank is None or rank > count:
        raise BoundNotMet(
            f"{_asked(asked, confidence)} needs at least {needed_parts(asked, confidence)} good {unit}; "
            f"you gave {count}. {lowest.words}",
            do=f"Ask for {_percent(lowest.rate, up=True)} or more, add good {unit}, or label defects (cost rule)",
        )
    deciding = float(of_parts[rank - 1])
    ties = int(np.count_nonzero(of_parts == deciding))
    expected = (count + 1 - rank) / (count + 1)
    low, high = (beta_quantile(p, count + 1 - rank, rank) for p in (0.05, 0.95))
    return Decision(
        rule="conformal" if confidence is None else "conformal-pac",
        threshold=hair_above(deciding, of_parts),
        requested_rate=float(asked),
        confidence=confidence,
        parts=count,
        pictures=len(scores),
        rank=rank,
        expected_rate=expected,
        rate_interval=(low, high),
        lowest_rate=float(lowest.rate),
        ties=ties,
        words=(
            f"{_asked(asked, confidence)}: just above score {rank} ({deciding:.6g}) of {count} good {unit}, in rising "
            f"order. The next good one is "
            f"rejected with {_percent(expected)} on average; with {count} {unit} the true rate lies between "
            f"{_percent(low)} and {_percent(high)} (90 % interval)"
        ),
        warnings=_warnings(parts, asked, ties, count, evidence),
        scores_digest=scores_digest(scores),
        **_copied(evidence),
    )


HAIR = 2.0**-13
"""How far a threshold lies above the score that decides, as a share of the largest magnitude among the scores: 1024
steps of float32, about 0.01 %. Another runtime adds the same numbers in another order and may be off by that much of
what it adds, also where a score is near 0; `verify` allows fp32 graphs about the same."""


def hair_above(score: float, observed: FloatArray) -> float:
    """The threshold that `score`, one of `observed`, decides: HAIR * max |observed| above it, but at most half the way
    to the next higher one, so that the observed ones get the verdicts that they would get at `score` itself.

    A threshold equal to a score would leave that part's verdict to the last bit of a runtime's sums.
    """
    raised = score + HAIR * float(np.abs(observed).max())
    higher = observed[observed > score]
    if not higher.size:
        return raised
    following = float(higher.min())
    return min(raised, (score + following) / 2, float(np.nextafter(following, -np.inf)))


def parse_rate(rate: str | Fraction, name: str = "rate") -> Fraction:
    """A share as it is written everywhere: "0.01", "1%", "1/100" or a Fraction, exact, between 0 and 1.

    name: what it is, for the message ("confidence"). BadUsage for anything else; a bare 95 or 1.5 could mean two
    things and is refused with both spellings.
    """
    do = 'Give a decimal string such as "0.01" or "1%"'
    if not isinstance(rate, (str, Fraction)):
        raise BadUsage(f"the {name} {rate!r} is a {type(rate).__name__}, which has no exact rank", do=do)
    text = str(rate).strip()
    try:
        exact = Fraction(text[:-1].strip()) / 100 if text.endswith("%") else Fraction(text)
    except (ValueError, ZeroDivisionError) as exc:
        raise BadUsage(f"the {name} {text!r} is not a number", do=do) from exc
    if not 0 < exact < 1:
        if 1 <= exact < 100 and not text.endswith("%"):
            do = f"Write {float(exact):g}% or {float(exact / 100):g}"
        raise BadUsage(f"the {name} {text} must lie between 0 and 1 (0% and 100%)", do=do)
    return exact


def conformal_rank(count: int, rate: Fraction) -> int:
    """ceil((count + 1)(1 - rate)) in exact arithmetic: in floats, 999 and 0.059 give a rank one too high.

    Above `count` where that many parts do not support the rate.
    """
    return math.ceil((count + 1) * (1 - rate))


def confident_rank(count: int, rate: Fraction, confidence: float) -> int | None:
    """Smallest rank whose true rate, Beta(count + 1 - rank, rank), is below `rate` with `confidence`; None: no rank."""
    _check_confidence(confidence)

    def holds(rank: int) -> bool:
        return beta_cdf(float(rate), count + 1 - rank, rank) >= confidence

    if not holds(count):
        return None
    low, high = 0, count  # holds(high), and not holds(low): rank 0 would reject every part
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def needed_parts(rate: Fraction, confidence: float | None = None) -> int:
    """How many good parts support `rate`: ceil(1 / rate) - 1; with a confidence, (1 - rate)^n <= 1 - confidence."""
    if confidence is None:
        return math.ceil(1 / rate) - 1
    _check_confidence(confidence)
    count = max(1, math.floor(math.log1p(-confidence) / math.log1p(-float(rate))) - 1)
    while beta_cdf(float(rate), 1, count) < confidence:
        count += 1
    return count


def nearest_supportable(count: int, *, confidence: float | None = None, unit: str = "pictures") -> Supportable:
    """The lowest rate that `count` good parts support. unit: the word for what was counted."""
    if count < 1:
        raise BadInput("no good parts, so no rate can be supported", do="Give pictures of good parts")
    level = 0.95 if confidence is None else confidence
    bound = beta_quantile(level, 1, count)
    exact = Fraction(1, count + 1) if confidence is None else Fraction(bound)
    rate = _rounded_up(exact)
    words = f"With {count} the lowest supportable rate is {_percent(rate, up=True)} (threshold = highest good score)"
    if confidence is None:
        words += f"; its true rate is below {_percent(bound, up=True)} with {100 * level:g} % confidence"
    return Supportable(count=count, rate=rate, bound=bound, confidence=level, words=words)


def scores_digest(scores: Sequence[float] | FloatArray) -> str:
    """sha256 over the scores in rising order as little-endian float64: the order of the pictures does not matter."""
    rising = np.sort(np.asarray(scores, dtype="<f8")) + 0.0  # -0.0 and 0.0 are one score
    return hashlib.sha256(rising.tobytes()).hexdigest()


def fixed(threshold: float, *, evidence: Evidence = Evidence()) -> Decision:
    """A threshold that somebody chose. It promises nothing, and its words say so."""
    if not math.isfinite(threshold):
        raise BadInput(f"a threshold of {threshold} decides nothing", do="Give a finite threshold")
    words = "threshold set by hand; no false-reject rate is promised"
    return Decision(rule="fixed", threshold=float(threshold), words=words, **_copied(evidence))


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
    evidence: Evidence = Evidence(),
) -> Decision:
    """A hair above the observed score that costs least.

    Cost: cost_miss * prevalence * missed + cost_reject * (1 - prevalence) * rejected.

    good, defects: one score per held-out picture. prevalence: share of defective parts on the LINE, 0..1, not in the
    test folder. Equal costs: the highest threshold. Parts as in `conformal`. The recall is counted with each defective
    part judged by the threshold chosen without it; on the threshold chosen with it, it would flatter. rng: for the
    bootstrap over parts whose 95 % interval of the threshold is in `words`.
    """
    if not (cost_miss > 0 and cost_reject > 0 and 0 < prevalence < 1):
        raise BadUsage("costs must be above 0 and the prevalence between 0 and 1", do="Give the line's own figures")
    sound, broken = _part_scores(good, good_parts), _part_scores(defects, defect_parts)
    curve = _CostCurve(sound, broken, miss=cost_miss * prevalence, reject=cost_reject * (1 - prevalence))
    costs = curve.costs(np.ones(len(sound)), np.ones(len(broken)))
    best = _last_minimum(costs)
    threshold = hair_above(float(curve.candidates[best]), curve.candidates)
    near = curve.candidates[costs <= 1.05 * costs[best]]
    drawn = [curve.drawn(rng) for _ in range(draws)]
    low, high = (float(value) for value in np.quantile(drawn, (0.025, 0.975), method="inverted_cdf"))
    caught = sum(curve.caught_without(index) for index in range(len(broken)))
    rejects = int(np.count_nonzero(rejected(sound, threshold)))
    return Decision(
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
            f"false reject {cost_reject:g} and {_percent(prevalence)} defects on the line. Caught, each by the "
            f"threshold chosen without it: {at_least(caught, len(broken))}. Good parts rejected: {rejects} of "
            f"{len(sound)}. 95 % bootstrap interval of the threshold: {low:.4g} to {high:.4g} ({draws} draws)"
        ),
        warnings=(*_part_warnings("good", good_parts), *_part_warnings("defect", defect_parts)),
        scores_digest=scores_digest(np.concatenate([np.asarray(good, np.float64), np.asarray(defects, np.float64)])),
        **_copied(evidence),
    )


class _CostCurve:
    """Cost of each observed score as threshold, for any weights of the parts: what the optimum and resamples share."""

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
    # Sums of the same shares in another order differ in the last bits: costs that close are equal, the highest wins.
    least = costs.min()
    return int(np.flatnonzero(costs <= least + 1e-12 * abs(least))[-1])


def _part_scores(scores: Sequence[float] | FloatArray, parts: Sequence[str] | None) -> FloatArray:
    """Score of each part, rising: the highest of its pictures. float64 (number of parts,)."""
    values = np.asarray(scores, dtype=np.float64) + 0.0  # -0.0 and 0.0 are one score, also in words
    if values.ndim != 1 or values.size == 0:
        raise BadInput(
            f"scores of shape {values.shape}: a list of at least one number is needed", do="Score some pictures"
        )
    if parts is not None and len(parts) != len(values):
        raise BadUsage(f"{len(values)} scores but {len(parts)} names of parts", do="Name the part of each picture")
    if not np.isfinite(values).all():
        index = int(np.flatnonzero(~np.isfinite(values))[0])
        of_part = f" (part {parts[index]})" if parts is not None else ""
        raise BadInput(
            f"score {index}{of_part} is {values[index]}", do="edge-sdk verify shows which runtime computes it"
        )
    if parts is None:
        return np.sort(values)
    highest: dict[str, float] = {}
    for part, value in zip(parts, values.tolist()):
        highest[part] = max(value, highest.get(part, -math.inf))
    return np.sort(np.array(list(highest.values()), dtype=np.float64))


def _warnings(
    parts: Sequence[str] | None, rate: Fraction, ties: int, count: int, evidence: Evidence
) -> tuple[str, ...]:
    words = list(_part_warnings("good", parts))
    if ties > 1 and ties > 0.01 * count:
        words.append(
            f"score resolution too coarse: {ties} of {count} good scores equal the threshold; they are accepted, "
            "so the rate can only be lower than asked"
        )
    if evidence.cross_fit:
        words.append(
            f"scores are cross-fit: theory promises only {_percent(min(2 * rate, Fraction(1)))}, twice the rate asked "
            "for; in practice it is near the rate asked for"
        )
    return tuple(words)


def _part_warnings(kind: str, parts: Sequence[str] | None) -> tuple[str, ...]:
    if parts is None:
        return (f"one {kind} picture a part was assumed: pictures of one part are not independent",)
    pictures = sorted(Counter(parts).values())
    if pictures[0] == pictures[-1]:
        return ()
    return (
        f"{kind} parts have {pictures[0]} to {pictures[-1]} pictures each: a part with more pictures scores higher, "
        "so the rate holds for this mixture",
    )


def _copied(evidence: Evidence) -> dict[str, Any]:
    return {field.name: getattr(evidence, field.name) for field in fields(evidence)}


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise BadUsage(f"a confidence of {confidence} must lie between 0 and 1", do="Give 0.9 for 90 %")


def _asked(rate: Fraction, confidence: float | None) -> str:
    return f"{float(100 * rate):g} %" + (f" with {100 * confidence:g} % confidence" if confidence is not None else "")


def _decimals(percent: Fraction) -> int:
    """Decimals of a percentage: two, or as many as show two digits that count."""
    return max(2, 1 - math.floor(math.log10(percent))) if percent > 0 else 2


def _percent(share: Fraction | float, *, up: bool = False) -> str:
    percent = 100 * Fraction(share)
    shown = 100 * _rounded_up(Fraction(share)) if up else percent
    return f"{float(shown):.{_decimals(percent)}f} %"


def _rounded_up(share: Fraction) -> Fraction:
    steps = 10 ** (_decimals(100 * share) + 2)
    return Fraction(math.ceil(share * steps), steps)
