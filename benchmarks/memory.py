"""The baseline of the XS benchmark: a nearest-neighbour memory on the same trunk and the same pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from edge_sdk.export.trunk.lite0 import load_trunk

BANK = 6000
"""Vectors kept of the training pictures."""
TOP = 10
"""Cells whose mean is the second score."""


def memory_scores(
    train: Sequence[NDArray[np.uint8]], test: Sequence[NDArray[np.uint8]], *, blocks: tuple[int, int], seed: int
) -> dict[str, NDArray[np.float64]]:
    """Scores of `test` by "max" and "top10", float64 (len(test),). Inputs: uint8 (1, h, w, 3).

    Features of two blocks, 3 x 3 average, the deeper one brought to the first's grid, standardised by channel over the
    training pictures; distance to the nearest of BANK random training vectors.
    """
    trunk = load_trunk(max(blocks))
    features = [_features(trunk, x, blocks) for x in train]
    stacked = torch.cat([f.reshape(f.shape[0], -1).T for f in features]).double()
    mean, spread = stacked.mean(0), stacked.std(0).clamp_min(1e-6)
    choice = torch.from_numpy(np.random.default_rng(seed).permutation(len(stacked))[:BANK])
    bank = ((stacked[choice] - mean) / spread).float()
    highest, top = [], []
    for x in test:
        f = _features(trunk, x, blocks)
        query = ((f.reshape(f.shape[0], -1).T.double() - mean) / spread).float()
        nearest = torch.cdist(query, bank).min(1).values
        highest.append(float(nearest.max()))
        top.append(float(nearest.topk(TOP).values.mean()))
    return {"max": np.array(highest), "top10": np.array(top)}


def _features(trunk: torch.nn.Module, picture: NDArray[np.uint8], blocks: tuple[int, int]) -> torch.Tensor:
    with torch.inference_mode():
        taps = trunk(torch.from_numpy(picture), blocks)
        first, second = (F.avg_pool2d(taps[b], 3, 1, 1) for b in blocks)
        second = F.interpolate(second, size=first.shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat([first, second], 1)[0]
