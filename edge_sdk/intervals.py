"""Beta, binomial and Student's intervals in plain floats: no scipy on a device. Knows counts and rates; no file.

The regularised incomplete beta function is Lentz's continued fraction; quantiles are bisection on it.
"""

from __future__ import annotations

import math
from typing import Literal

from edge_sdk.errors import BadUsage

_TINY = 1e-300


def beta_cdf(x: float, a: float, b: float) -> float:
    """P(X <= x) for X ~ Beta(a, b); a, b > 0. Absolute error below 1e-10 for a + b up to 1e6."""
    if not (a > 0 and b > 0):
        raise BadUsage(f"Beta({a}, {b}) is no distribution: both must be above 0")
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    front = math.exp(log_front)
    if x < (a + 1.0) / (a + b + 2.0):  # the fraction converges fast on this side only
        return front * _fraction(x, a, b) / a
    return 1.0 - front * _fraction(1.0 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, 20_000):  # about sqrt(max(a, b)) steps are needed
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        step = 1.0
        for term in (even, odd):
            d = 1.0 / _away_from_zero(1.0 + term * d)
            c = _away_from_zero(1.0 + term / c)
            step = c * d
            value *= step
        if abs(step - 1.0) < 1e-15:
            return value
    raise BadUsage(f"the incomplete beta function did not settle for a = {a}, b = {b}")


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def beta_quantile(p: float, a: float, b: float) -> float:
    """The x with beta_cdf(x, a, b) = p, by bisection to the last bit that matters; p in [0, 1]."""
    if not 0.0 <= p <= 1.0:
        raise BadUsage(f"a quantile is asked for at {p}; it must lie in 0..1")
    if p in (0.0, 1.0):
        return p
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if beta_cdf(middle, a, b) < p else (low, middle)
    return 0.5 * (low + high)


def binomial_cdf(successes: int, trials: int, rate: float) -> float:
    """P(X <= successes) for X ~ Binomial(trials, rate)."""
    if successes < 0:
        return 0.0
    if successes >= trials:
        return 1.0
    return beta_cdf(1.0 - rate, trials - successes, successes + 1)


def clopper_pearson(
    successes: int, trials: int, *, level: float = 0.95, side: Literal["both", "lower", "upper"] = "both"
) -> tuple[float, float]:
    """Exact interval of a proportion, 0..1. side "lower": (bound, 1), "upper": (0, bound), one-sided at `level`."""
    if not 0 <= successes <= trials or trials == 0:
        raise BadUsage(f"{successes} of {trials} is no proportion")
    tail = (1.0 - level) / (2.0 if side == "both" else 1.0)
    lower = 0.0 if successes == 0 else beta_quantile(tail, successes, trials - successes + 1)
    upper = 1.0 if successes == trials else beta_quantile(1.0 - tail, successes + 1, trials - successes)
    return (lower if side != "upper" else 0.0, upper if side != "lower" else 1.0)


def student_t(level: float, freedom: float) -> float:
    """The t with P(|T| <= t) = level for Student's T of that many degrees of freedom, > 0. From the identity that
    freedom / (freedom + T^2) is Beta(freedom / 2, 1 / 2)."""
    x = beta_quantile(1.0 - level, freedom / 2.0, 0.5)
    return math.sqrt(freedom * (1.0 - x) / x) if x > 0.0 else math.inf


def korn_graubard(
    share: float, variance: float, samples: int, parts: int, *, level: float = 0.95
) -> tuple[float, float]:
    """Interval of a share whose samples come in parts (Korn and Graubard 1998): exact, of as many samples as are worth
    the same if all were alone, and of fewer where few parts show how far parts differ.

    share: 0 < share < 1; of 0 and 1 parts can't be seen to differ. variance: of the share, as parts differ. parts: 2 to
    samples. Raises BadUsage.
    """
    if not (0.0 < share < 1.0 and 2 <= parts <= samples):
        raise BadUsage(f"a share of {share} in {parts} parts of {samples} samples has no such interval")
    worth = min(float(samples), share * (1.0 - share) / variance if variance > 0.0 else math.inf)
    worth *= (student_t(level, samples - 1) / student_t(level, parts - 1)) ** 2
    tail, right = (1.0 - level) / 2.0, share * worth
    return (
        beta_quantile(tail, right, worth - right + 1.0),
        beta_quantile(1.0 - tail, right + 1.0, worth - right),
    )


def at_least(successes: int, trials: int) -> str:
    """A success count in words that its size supports: "10 of 10, at least 74 %" (one-sided, 95 % confidence)."""
    lower, _ = clopper_pearson(successes, trials, side="lower")
    return f"{successes} of {trials}, at least {math.floor(100 * lower)} %"


def at_most(successes: int, trials: int) -> str:
    """A failure count in words that its size supports: "0 of 300, at most 1.00 %" (one-sided, 95 % confidence)."""
    _, upper = clopper_pearson(successes, trials, side="upper")
    return f"{successes} of {trials}, at most {math.ceil(10_000 * upper) / 100:.2f} %"
