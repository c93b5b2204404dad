"""Golden samples of an anomaly bundle: two good parts, and one damaged on purpose. Knows no network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.export.anomaly.data import AnomalyData, AnomalyTrained
from edge_sdk.export.golden_pictures import sample
from edge_sdk.export.tasks.base import Golden

DAMAGED = "damaged on purpose"


def golden(data: AnomalyData, trained: AnomalyTrained, record: Preprocessing) -> list[Golden]:
    """The first and the last held-out good part, and the first with a strip moved and turned, so that its map has a
    peak."""
    first, second = (data.store.source(p.path, record) for p in (trained.held_out[0], trained.held_out[-1]))
    return [sample("good", first), sample("good", second), sample(DAMAGED, damaged(first))]


def damaged(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy with a turned, inverted patch in its middle."""
    out: NDArray[np.uint8] = rgb.copy()
    h, w = out.shape[0] // 5, out.shape[1] // 5
    y, x = 2 * out.shape[0] // 5, 2 * out.shape[1] // 5
    out[y : y + h, x : x + w] = 255 - rgb[y : y + h, x : x + w][::-1, ::-1]
    return out
