"""A few hundred codes that stand for all good cells of a tap; how far a cell is from the nearest. Knows no picture.

k-means instead of stored cells: it needs no memory that grows with the pictures, and one 1x1 convolution finds the
nearest code.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

ROUNDS = 8
"""Of Lloyd's algorithm; later ones move the codes by less than seeds do."""


def smoothed(features: Tensor) -> Tensor:
    """(N, C, h, w): mean of each cell's 3 x 3 neighbours that exist. A cell is judged with what surrounds it."""
    return F.avg_pool2d(features, 3, stride=1, padding=1, count_include_pad=False)


def fit(vectors: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """(count, C) codes of float32 vectors (n, C); all distinct vectors where there are not more than `count`."""
    if len(vectors) <= count:
        return vectors.clone()
    codes = vectors[torch.from_numpy(np.sort(rng.choice(len(vectors), count, replace=False)))].clone()
    for _ in range(ROUNDS):
        nearest = (vectors @ codes.T - half_square(codes)).argmax(dim=1)
        number = torch.zeros(len(codes), dtype=torch.float64).index_add_(
            0, nearest, torch.ones(len(vectors), dtype=torch.float64)
        )
        total = torch.zeros(codes.shape, dtype=torch.float64).index_add_(0, nearest, vectors.double())
        kept = number[:, None] > 0  # a code that nobody is near to stays where it is
        codes = torch.where(kept, total / number.clamp_min(1.0)[:, None], codes.double()).to(torch.float32)
    return codes


def half_square(codes: Tensor) -> Tensor:
    """(count,): half the squared length of each code."""
    return codes.double().square().sum(dim=1).mul(0.5).to(torch.float32)


def distance(features: Tensor, codes: Tensor) -> Tensor:
    """(N, h, w): mean over channels of the squared difference to the nearest of `codes`, of smoothed (N, C, h, w)."""
    likeness = F.conv2d(features, codes[:, :, None, None], -half_square(codes)).amax(dim=1)
    return features.square().mean(dim=1) - likeness * (2.0 / features.shape[1])
