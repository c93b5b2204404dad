"""16-bit saturation of int8 convolutions on CPUs without VNNI: the static bound. Knows numbers, no graph.

Those CPUs add two products u8 x s8 into one int16 that saturates. Activations are shifted first: a' = q + 128. A pair
of weights is safe for every input if |w0| + |w1| <= 128.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAFE_PAIR = 128  # 255 * 128 = 32640, below 32767


def unsafe_pairs(weights: NDArray[np.int8]) -> float:
    """Share of weight pairs that can saturate for some input; weights (O, I/g, ...), int8, not depthwise.

    Both pairings count, the worse counts: neighbouring input channels of one tap (oneDNN), and neighbours in the
    order (taps, channels) (MLAS). 0 means that no input can saturate.
    """
    taps = weights.reshape(*weights.shape[:2], -1)
    flat = taps.transpose(0, 2, 1).reshape(len(taps), -1, 1)
    shares = (np.mean(np.abs(first) + np.abs(second) > SAFE_PAIR) for first, second in map(_pairs, (taps, flat)))
    return float(max(shares))


def _pairs(values: NDArray[np.int8]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Even and odd entries of axis 1 as int32; an odd count is filled up with zeros."""
    wide = values.astype(np.int32)
    if wide.shape[1] % 2:
        wide = np.concatenate([wide, np.zeros_like(wide[:, :1])], axis=1)
    return wide[:, 0::2], wide[:, 1::2]
