"""16-bit saturation of int8 products on CPUs without VNNI: a static bound, and what it costs. Knows numbers, no graph.

Those CPUs add two products u8 x s8 into one int16 that saturates. Activations are shifted first: a' = q + 128. A pair
of weights is safe for every input if |w0| + |w1| <= 128. Which products are added in pairs depends on the kernel, so
there are two orders: "taps" pairs neighbouring input channels of one tap (oneDNN), "flat" neighbours in the order
(taps, channels), from one tap into the next where channels are odd (MLAS, and oneDNN where it has groups).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Order = Literal["taps", "flat"]

SAFE_PAIR = 128  # 255 * 128 = 32640, below 32767
LOWEST, HIGHEST = -(2**15), 2**15 - 1
MOST_SUMS = 2**20
"""Pair sums that are held at once."""


def unsafe_pairs(weights: NDArray[np.int8]) -> float:
    """Share of weight pairs that can saturate for some input; weights (O, I/g, ...), int8, not depthwise.

    Both pairings count, the worse counts. 0 means that no input can saturate.
    """
    taps = weights.reshape(*weights.shape[:2], -1)
    orders: tuple[Order, ...] = ("taps", "flat")
    shares = (
        np.mean(np.abs(first) + np.abs(second) > SAFE_PAIR)
        for first, second in (_pairs(np.moveaxis(taps, 0, 2), order) for order in orders)
    )
    return float(max(shares))


def pair_count(channels: int, taps: int, order: Order) -> int:
    """How many pairs are added for one output value."""
    return (channels + 1) // 2 * taps if order == "taps" else (channels * taps + 1) // 2


def lost_in_pairs(columns: NDArray[np.uint8], weights: NDArray[np.int8], order: Order) -> tuple[NDArray[np.int64], int]:
    """What saturation takes off each sum of products, int64 (O, P): exact sum - saturated sum; and how many pair sums
    left the int16 range.

    columns: (I, taps, P), the shifted input a' = 0..255 that each of P output positions reads; a padded tap holds the
    shifted zero point. weights: (O, I, taps), -128..127. Bit-exact. Only pairs that these values can cut are added up.
    """
    a0, a1 = _pairs(columns, order)  # (pairs, P)
    w0, w1 = _pairs(np.moveaxis(weights, 0, 2), order)  # (pairs, O)
    lost, cut = np.zeros((len(weights), columns.shape[2]), np.int64), 0
    if not lost.size:
        return lost, cut
    for pair, risky in enumerate(_can_leave(a0, a1, w0, w1)):
        which = np.flatnonzero(risky)
        step = max(MOST_SUMS // max(len(which), 1), 1)
        for start in range(0, lost.shape[1] if len(which) else 0, step):
            part = slice(start, start + step)
            sums = np.multiply.outer(w0[pair, which], a0[pair, part])
            sums += np.multiply.outer(w1[pair, which], a1[pair, part])
            over = sums - np.clip(sums, LOWEST, HIGHEST)
            cut += int(np.count_nonzero(over))
            lost[which, part] += over
    return lost, cut


def _can_leave(
    a0: NDArray[np.int32], a1: NDArray[np.int32], w0: NDArray[np.int32], w1: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Whether each pair of each output can leave the int16 range, by the largest inputs; inputs are never negative."""
    top0, top1 = a0.max(axis=1, keepdims=True), a1.max(axis=1, keepdims=True)
    above = np.maximum(w0, 0) * top0 + np.maximum(w1, 0) * top1 > HIGHEST
    below = np.minimum(w0, 0) * top0 + np.minimum(w1, 0) * top1 < LOWEST
    return np.asarray(above | below)


def _pairs(values: NDArray[np.uint8] | NDArray[np.int8], order: Order) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """First and second of each pair, int32 (pairs, n), of (I, taps, n); an odd count is filled up with zeros."""
    wide = np.swapaxes(values, 0, 1).astype(np.int32)  # (taps, I, n)
    if order == "flat":
        wide = wide.reshape(1, -1, wide.shape[2])
    if wide.shape[1] % 2:
        wide = np.concatenate([wide, np.zeros_like(wide[:, :1])], axis=1)
    return wide[:, 0::2].reshape(-1, wide.shape[2]), wide[:, 1::2].reshape(-1, wide.shape[2])
