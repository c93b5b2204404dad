"""False-reject rates as exact fractions, and the number of good parts that supports one. Pure; knows no scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.intervals import beta_cdf, beta_quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Supportable:
    """The lowest false-reject rate that `count` good parts support (threshold = highest good score).

    rate: 0..1, rounded up to the digits shown, so that it can be requested. bound: upper bound of the true rate, with
    `confidence`. words: a sentence with both.
    """

    count: int
    rate: Fraction
    bound: float
    confidence: float
    words: str


def parse_rate(rate: str | Fraction, name: str = "rate") -> Fraction:
    """An exact fraction between 0 and 1, from "0.01", "1%", "1/100" or a Fraction.

    name: for the message ("confidence"). Raises BadUsage for anything else; a bare 95 or 1.5 is ambiguous, and the
    message gives both spellings.
    """
    hint = 'Give a decimal string such as "0.01" or "1%"'
    if not isinstance(rate, (str, Fraction)):
        raise BadUsage(f"the {name} {rate!r} is a {type(rate).__name__}, which has no exact rank", hint=hint)
    text = str(rate).strip()
    try:
        exact = Fraction(text[:-1].strip()) / 100 if text.endswith("%") else Fraction(text)
    except (ValueError, ZeroDivisionError) as exc:
        raise BadUsage(f"the {name} {text!r} is not a number", hint=hint) from exc
    if not 0 < exact < 1:
        if 1 <= exact < 100 and not text.endswith("%"):
            hint = f"Write {float(exact):g}% or {float(exact / 100):g}"
        raise BadUsage(f"the {name} {text} must lie between 0 and 1 (0% and 100%)", hint=hint)
    return exact


def conformal_rank(count: int, rate: Fraction) -> int:
    """ceil((count + 1)(1 - rate)) in exact arithmetic: in floats, 999 and 0.059 give a rank one too high.

    Above `count` where that many parts do not support the rate.
    """
    return math.ceil((count + 1) * (1 - rate))


def confident_rank(count: int, rate: Fraction, confidence: float) -> int | None:
    """Smallest rank whose true rate, Beta(count + 1 - rank, rank), is below `rate` with `confidence`; None: no rank."""
    check_confidence(confidence)

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
    check_confidence(confidence)
    count = max(1, math.floor(math.log1p(-confidence) / math.log1p(-float(rate))) - 1)
    while beta_cdf(float(rate), 1, count) < confidence:
        count += 1
    return count


def nearest_supportable(count: int, *, confidence: float | None = None) -> Supportable:
    """The lowest rate that `count` good parts support."""
    if count < 1:
        raise BadInput("no good parts, so no rate can be supported", hint="Give pictures of good parts")
    level = 0.95 if confidence is None else confidence
    bound = beta_quantile(level, 1, count)
    exact = Fraction(1, count + 1) if confidence is None else Fraction(bound)
    rate = _rounded_up(exact)
    words = f"With {count} the lowest supportable rate is {percent(rate, up=True)} (threshold = highest good score)"
    if confidence is None:
        words += f"; its true rate is below {percent(bound, up=True)} with {100 * level:g} % confidence"
    return Supportable(count=count, rate=rate, bound=bound, confidence=level, words=words)


def check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise BadUsage(f"a confidence of {confidence} must lie between 0 and 1", hint="Give 0.9 for 90 %")


def asked(rate: Fraction, confidence: float | None) -> str:
    return f"{float(100 * rate):g} %" + (f" with {100 * confidence:g} % confidence" if confidence is not None else "")


def _decimals(percent: Fraction) -> int:
    """Decimals of a percentage: two, or as many as show two digits that count."""
    return max(2, 1 - math.floor(math.log10(percent))) if percent > 0 else 2


def percent(share: Fraction | float, *, up: bool = False) -> str:
    percent = 100 * Fraction(share)
    shown = 100 * _rounded_up(Fraction(share)) if up else percent
    return f"{float(shown):.{_decimals(percent)}f} %"


def _rounded_up(share: Fraction) -> Fraction:
    steps = 10 ** (_decimals(100 * share) + 2)
    return Fraction(math.ceil(share * steps), steps)
