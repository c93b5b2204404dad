"""Statistics of good parts: channels of feature maps, quantiles of anomaly maps. Knows no network and no picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_sdk.errors import BadInput
from edge_sdk.export.training.device import on_cpu

SIGMA_FLOOR = 1e-3
"""Of the median sigma: a channel that is dead on one product would otherwise divide by (almost) zero."""
SPAN_FLOOR = 1e-3
"""Of q_b: the least q_b - q_a of a map, for pictures that are all but identical."""
LOW, HIGH = 0.9, 0.995
"""Which quantiles of the good cells become 0 and 0.1 of a map."""


@dataclass(frozen=True, slots=True, eq=False)
class ChannelStatistics:
    """mean, std: float64 (C,), of a network's outputs over positions and pictures. clamped: channels whose std was
    below SIGMA_FLOOR of the median one and was set to it."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    clamped: int


class StatisticsSum:
    """Mean and variance per channel of any number of feature maps, in float64, merged block by block (Chan et al.).

    A one-pass float32 sum of squares gives negative variances where |mean| is some thousand sigmas.
    """

    def __init__(self, channels: int) -> None:
        self._count = 0
        self._mean = np.zeros(channels)
        self._squares = np.zeros(channels)

    def add(self, features: Tensor) -> None:
        """Takes (N, C, h, w)."""
        block = on_cpu(features).to(torch.float64).movedim(1, 0).flatten(1).numpy()
        count, mean = block.shape[1], block.mean(axis=1)
        squares = np.square(block - mean[:, None]).sum(axis=1)
        total = self._count + count
        step = mean - self._mean
        self._squares += squares + step**2 * (self._count * count / total)
        self._mean += step * (count / total)
        self._count = total

    def result(self) -> ChannelStatistics:
        """Raises BadInput if there was nothing, NaN, or no channel that varies."""
        std = np.sqrt(self._squares / max(self._count, 1))
        floor = SIGMA_FLOOR * float(np.median(std))
        if not (np.isfinite(std).all() and np.isfinite(self._mean).all()) or floor <= 0.0:
            raise BadInput(
                "the teacher's features are NaN, or most of them never vary on these pictures",
                hint="Look at the pictures and at the teacher file",
            )
        return ChannelStatistics(self._mean.copy(), np.maximum(std, floor), int(np.count_nonzero(std < floor)))


@dataclass(frozen=True, slots=True, kw_only=True)
class MapQuantiles:
    """How one map is scaled: 0.1 (x - low) / (high - low). clamped: high - low was below SPAN_FLOOR of high, or 0,
    and `high` was raised. pictures_above: how many pictures hold the cells above the measured high quantile."""

    low: float
    high: float
    clamped: bool = False
    pictures_above: int = 0

    @property
    def gain(self) -> float:
        return 0.1 / (self.high - self.low)


def map_quantiles(maps: NDArray[np.float32], *, low: float = LOW, high: float = HIGH) -> MapQuantiles:
    """Of maps (pictures, h, w): real cells of good pictures that training never saw, before any resize."""
    if maps.size == 0 or not np.isfinite(maps).all():
        raise BadInput(
            "no finite map cells of good pictures to take quantiles of", hint="Hold out at least one good part"
        )
    a, b = (float(q) for q in np.quantile(maps.astype(np.float64), (low, high)))
    above = int(np.count_nonzero(maps.reshape(len(maps), -1).max(axis=1) > b))
    least = max(SPAN_FLOOR * b, float(np.finfo(np.float32).tiny))
    return MapQuantiles(low=a, high=max(b, a + least), clamped=b - a < least, pictures_above=above)
