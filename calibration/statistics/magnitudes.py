"""A histogram of |x| that holds any float32, in bins as wide as the value is large. Pure; knows no tensor and no graph.

A bin is what the leading 14 bits of a float32 without its sign have in common: exponent and 6 bits of mantissa, so that
its ends are at most 1.6 % apart wherever it lies. Bins of one width would need to know the largest value beforehand:
one outlier a million times larger than the rest puts the rest into a single bin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_sdk.tensors import Array

_SHIFT = 17  # bits of the mantissa that a bin does not look at
BINS = 0x7F80_0000 >> _SHIFT
"""All finite float32 values."""
EDGES: NDArray[np.float64] = (np.arange(BINS + 1, dtype=np.uint32) << _SHIFT).view(np.float32).astype(np.float64)
"""(BINS + 1,): bin i holds EDGES[i] <= |x| < EDGES[i + 1]. The last edge is infinite."""
_LARGEST = float(np.finfo(np.float32).max)
CENTRES: NDArray[np.float64] = 0.5 * (EDGES[:-1] + np.minimum(EDGES[1:], _LARGEST))
"""(BINS,): what stands for the values of a bin."""


def counts(values: Array) -> NDArray[np.int64]:
    """(BINS,): how many of `values` lie in each bin. They are finite in float32."""
    patterns = np.abs(np.ascontiguousarray(values, np.float32)).ravel().view(np.uint32)
    return np.bincount(patterns >> _SHIFT, minlength=BINS).astype(np.int64)
