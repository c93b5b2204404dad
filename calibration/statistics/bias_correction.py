"""Bias correction: what rounding of the weights adds to a channel on average is taken off its bias. Pure; no graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def bias_shift(
    real: NDArray[np.float32],
    rounded: NDArray[np.float64],
    means: NDArray[np.float64],
    *,
    group: int = 1,
    positions: int = 1,
) -> NDArray[np.float64]:
    """What to add to the bias of each output channel: the mean of op(x, real) - op(x, rounded), float64 (O,).

    real, rounded: weights (O, I/group, ...). means: (I,), mean of x per input channel over samples and positions.
    positions: output positions for each input position, the product of the strides of a ConvTranspose: its taps are
    shared out among them, so that each sees that part of the kernel. Behind a Relu no mean is zero, so rounding errors
    of a channel do not cancel: they shift it. Exact but at padded borders, where x is 0 instead of its mean.
    """
    error = real.astype(np.float64) - rounded
    summed = error.reshape(*error.shape[:2], -1).sum(axis=2)  # (O, I/group)
    per_group = means.reshape(group, -1)  # (group, I/group)
    rows = np.repeat(np.arange(group), len(summed) // group)
    shift: NDArray[np.float64] = (summed * per_group[rows]).sum(axis=1) / positions
    return shift
