"""How much a mask depends on the exact threshold of its logits. Knows numbers; no picture, no network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stability(logits: NDArray[np.float32], *, threshold: float, offset: float) -> float:
    """Intersection over union of the masks at `threshold` + and - `offset`, 0..1: logits float32 (h, w) of one mask.

    0 where both are empty. segment-anything's `calculate_stability_score` answers NaN there, which no threshold drops
    but one of 0 lets through, and counts columns in int16: wrong above 32,767 px.
    """
    outer = int(np.count_nonzero(logits > np.float32(threshold - offset)))
    inner = int(np.count_nonzero(logits > np.float32(threshold + offset)))
    return inner / outer if outer else 0.0
