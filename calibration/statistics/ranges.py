"""From statistics of one tensor to the range that int8 keeps, and numbers to int8. Pure; knows no graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_sdk.calibration.statistics.magnitudes import CENTRES, EDGES
from edge_sdk.calibration.statistics.observe import TensorStatistics
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.runtimes.variants import TOP

SMALLEST_SCALE = float(np.finfo(np.float32).tiny)  # 2^-126: below lie the denormals, which runtimes flush
# A runtime stores the bias as int32 in units of (activation scale x weight scale); half of the room is kept for sums.
_BIAS_ROOM = 2.0**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """top: the largest magnitude that stays exact, > 0 unless the tensor is all zero. cut: share of values beyond."""

    tensor: str
    low: float
    high: float
    top: float
    cut: float


def fit(observed: TensorStatistics, method: str = "minmax") -> Range:
    """The range to keep, by one of `trials.RANGE_METHODS`.

    minmax: all. percentile-P: P % of |x|. mse: the least squared error. entropy: the least Kullback-Leibler divergence
    from the values' own distribution. A percentile and entropy give way to minmax where that has the smaller squared
    error. Raises BadUsage where a method needs a histogram and there is none.
    """
    most = max(-observed.low, observed.high, 0.0)
    if method == "minmax" or most == 0.0:
        return Range(tensor=observed.tensor, low=observed.low, high=observed.high, top=most, cut=0.0)
    bins = observed.histogram
    if bins is None:
        raise BadUsage(f"the range method {method} needs a histogram", hint="Observe with histogram=True")
    return _range(observed, bins, _chosen(bins, most, method))


def stated(observed: TensorStatistics, top: float) -> Range:
    """The range that keeps magnitudes up to `top`, whoever chose it. Raises BadInput where `top` is no number above 0,
    BadUsage where there is no histogram to count what it cuts."""
    if not (np.isfinite(top) and top > 0.0):
        raise BadInput(f"a range keeps magnitudes up to a number above 0, not {top}", where=observed.tensor)
    if observed.histogram is None:
        raise BadUsage("what a range cuts is counted in a histogram", hint="Observe with histogram=True")
    return _range(observed, observed.histogram, top)


def quantize(real: NDArray[np.float32], scale: np.float32 | NDArray[np.float32]) -> tuple[NDArray[np.int8], int]:
    """int8 values of `real` by QuantizeLinear's rule with zero point 0, and how many were clipped.

    scale: float32, () or broadcastable to `real`, > 0.
    """
    # float32 division and half-to-even on purpose: QuantizeLinear does both, float64 would move the ties.
    q = np.rint(np.asarray(real, np.float32) / np.asarray(scale, np.float32))
    clipped = int(np.count_nonzero((q < -128) | (q > 127)))
    return np.clip(q, -128, 127).astype(np.int8), clipped


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weights:
    """int8 weights and their scales. values: as the float weights. scale: float32, () or (channels,). axis: or None.

    dead: channels whose weights are all zero; they took the layer's median scale. widened: channels whose scale was
    raised because their bias would not have fitted 32 bits.
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    axis: int | None
    dead: int = 0
    widened: int = 0


def quantize_weights(
    weights: NDArray[np.float32],
    *,
    axis: int | None,
    limit: int = TOP,
    bias: NDArray[np.float32] | None = None,
    input_scale: float = 1.0,
) -> Weights:
    """Symmetric int8 weights in [-limit, limit]; one scale for each entry of `axis`, or one for all if it is None."""
    if not np.isfinite(weights).all():
        raise BadInput("a weight is NaN or infinite", hint="Train or export the model again")
    rows = weights[None] if axis is None else np.moveaxis(weights, axis, 0)
    rows = rows.reshape(len(rows), -1)
    tops = np.abs(rows).max(axis=1).astype(np.float64)
    live = tops > 0.0
    scales = tops / limit
    scales[~live] = np.median(scales[live]) if live.any() else 1.0 / limit
    floor = np.full(len(scales), SMALLEST_SCALE)
    if bias is not None and axis is not None and bias.size == len(scales):
        floor = np.maximum(floor, np.abs(bias.astype(np.float64)) / (input_scale * _BIAS_ROOM))
    widened = int(np.count_nonzero(live & (scales < floor)))
    scale = np.maximum(scales, floor).astype(np.float32)
    if axis is None:
        scale = scale.reshape(())
    shaped = scale if axis is None else scale.reshape([-1 if i == axis else 1 for i in range(weights.ndim)])
    q = np.clip(np.rint(weights.astype(np.float32) / shaped), -limit, limit).astype(np.int8)
    return Weights(values=q, scale=scale, axis=axis, dead=int(np.count_nonzero(~live)), widened=widened)


def _range(observed: TensorStatistics, bins: NDArray[np.int64], top: float) -> Range:
    cut = float(bins[np.flatnonzero(EDGES[:-1] >= top)].sum()) / max(int(bins.sum()), 1)
    return Range(tensor=observed.tensor, low=observed.low, high=observed.high, top=top, cut=cut)


def _chosen(bins: NDArray[np.int64], most: float, method: str) -> float:
    """The top of a tensor whose largest magnitude is `most` > 0."""
    tops = np.minimum(EDGES[1:][_candidates(bins)], most)
    if method == "mse":
        return float(tops[np.argmin(_squared_errors(bins, tops))])
    if method == "entropy":
        found = float(tops[np.argmin([_divergence(bins, top) for top in tops])])
    else:
        share = float(method.partition("-")[2]) / 100.0
        found = min(float(EDGES[int(np.searchsorted(np.cumsum(bins), share * bins.sum())) + 1]), most)
    # What is cut may be what counts: a few values of a thousand times the rest are all of a squared error.
    errors = _squared_errors(bins, np.array([found, most]))
    return found if errors[0] <= errors[1] else most


def _candidates(bins: NDArray[np.int64]) -> NDArray[np.intp]:
    """The bins whose upper end may be the top: from a 4096th of the largest value on. Below, all that is kept would be
    less than a step of what is lost."""
    last = int(np.flatnonzero(bins)[-1])
    first = int(np.searchsorted(CENTRES, CENTRES[last] / 4096.0))
    return np.arange(first, last + 1)


_TOPS = 64


def _squared_errors(bins: NDArray[np.int64], tops: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of squared errors of int8 with each of `tops`, by the centres of the bins; of a bin that is wider than a step
    the mean over a step, a twelfth of its square."""
    held = np.flatnonzero(bins)
    x, n, width = CENTRES[held], bins[held].astype(np.float64), EDGES[held + 1] - EDGES[held]
    found = np.empty(len(tops))
    for start in range(0, len(tops), _TOPS):  # many at once: most of the time of one would be that of its calls
        top = tops[start : start + _TOPS, None]
        step = top / TOP
        steps = np.rint(x / step)
        errors = np.square(x - step * np.minimum(steps, TOP, out=steps))
        np.copyto(errors, step**2 / 12.0, where=(width > step) & (x < top))
        found[start : start + _TOPS] = [float(n @ row) for row in errors]
    return found


def _divergence(bins: NDArray[np.int64], top: float) -> float:
    """Kullback-Leibler divergence of the int8 distribution from that of the values, those beyond `top` at the top.

    What one step of int8 holds is spread over the bins that it is made of, as wide as each of them is.
    """
    held = np.flatnonzero(bins[: int(np.searchsorted(EDGES, top))])
    if not held.size:
        return float("inf")
    given = bins[held].astype(np.float64)
    kept = given.copy()
    given[-1] += bins[held[-1] + 1 :].sum()
    steps = np.rint(np.minimum(CENTRES[held], top) * (TOP / top)).astype(np.int64)
    widths = np.minimum(EDGES[held + 1], top) - EDGES[held]
    mass, width = np.bincount(steps, kept), np.bincount(steps, widths)
    spread = mass[steps] * widths / width[steps]
    given, spread = given / given.sum(), spread / spread.sum()
    return float(np.sum(given * np.log(given / np.maximum(spread, 1e-300))))
