"""16-bit saturation of int8 convolutions on CPUs without VNNI: static bound, emulation. Knows numbers, no graph.

Those CPUs add two products u8 x s8 into one int16 that saturates. Activations are shifted first: a' = q + 128. A pair
of weights is safe for every input if |w0| + |w1| <= 128.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAFE_PAIR = 128  # 255 * 128 = 32640, below 32767


def unsafe_pairs(weights: NDArray[np.int8]) -> float:
    """Share of weight pairs that can saturate for some input; weights (O, I/g, ...), int8, not depthwise.

    Both pairings count, the worse is told: neighbouring input channels of one tap (oneDNN), and neighbours in the
    order (taps, channels) (MLAS). 0 means that no input can saturate.
    """
    taps = weights.reshape(*weights.shape[:2], -1)
    flat = taps.transpose(0, 2, 1).reshape(len(taps), -1, 1)
    shares = (np.mean(np.abs(first) + np.abs(second) > SAFE_PAIR) for first, second in map(_pairs, (taps, flat)))
    return float(max(shares))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Emulated:
    """exact, saturated: int64 accumulators (positions, O). pairs_cut: share of pair sums that left the int16 range."""

    exact: NDArray[np.int64]
    saturated: NDArray[np.int64]
    pairs_cut: float

    @property
    def relative_error(self) -> float:
        """L2 of the difference over L2 of the exact accumulators."""
        norm = float(np.linalg.norm(self.exact.astype(np.float64)))
        return float(np.linalg.norm((self.exact - self.saturated).astype(np.float64))) / max(norm, 1e-30)


def emulate(columns: NDArray[np.int8], weights: NDArray[np.int8]) -> Emulated:
    """One convolution without groups, as oneDNN's AVX2 kernel computes it.

    columns: (positions, I, taps), int8, the input under the kernel at some output positions; 0 where it is padded.
    weights: (O, I, taps), int8.
    """
    w0, w1 = _pairs(weights)  # (O, ceil(I/2), taps)
    shifted = columns.astype(np.int32) + 128
    a0, a1 = _pairs(shifted)  # (positions, ceil(I/2), taps)
    exact = np.empty((len(columns), len(weights)), np.int64)
    saturated, cut = np.empty_like(exact), 0
    for o in range(len(weights)):
        sums = w0[o] * a0 + w1[o] * a1
        held = np.clip(sums, -32768, 32767)
        cut += int(np.count_nonzero(sums != held))
        shift = 128 * int(weights[o].sum(dtype=np.int64))
        exact[:, o] = sums.sum(axis=(1, 2), dtype=np.int64) - shift
        saturated[:, o] = held.sum(axis=(1, 2), dtype=np.int64) - shift
    return Emulated(exact=exact, saturated=saturated, pairs_cut=cut / max(a0.size * len(weights), 1))


def columns_of(image: NDArray[np.int8], kernel: tuple[int, int], stride: int = 1) -> NDArray[np.int8]:
    """(positions, I, taps) of an unpadded convolution over `image` (I, H, W): what `emulate` takes."""
    windows: NDArray[np.int8] = np.lib.stride_tricks.sliding_window_view(image, kernel, axis=(1, 2))[
        :, ::stride, ::stride
    ]
    channels, rows, cols = windows.shape[:3]
    columns: NDArray[np.int8] = windows.transpose(1, 2, 0, 3, 4).reshape(rows * cols, channels, -1)
    return columns


def _pairs(values: NDArray[np.int8] | NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Even and odd entries of axis 1 as int32; an odd count is filled up with zeros."""
    wide = values.astype(np.int32)
    if wide.shape[1] % 2:
        wide = np.concatenate([wide, np.zeros_like(wide[:, :1])], axis=1)
    return wide[:, 0::2], wide[:, 1::2]
