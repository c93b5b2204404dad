"""What a pretrained trunk sees in pictures without classes: linear outputs of an early block, which never saturate."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from edge_sdk.export.tasks.generation.measures import Features
from edge_sdk.export.training.device import array
from edge_sdk.export.trunk.lite0 import Trunk, load_trunk

BLOCK = 4
"""Of EfficientNet-Lite0: 40 channels in cells of 8 px."""
LEAST_SIDE = 64
"""Smaller pictures are enlarged to about that, px: the trunk learned from large ones."""
_BATCH = 128


class TrunkEyes:
    """Features (n, 160) of pictures (N, C, H, W) in [-1, 1]: means of each quarter of that block's map."""

    def __init__(self, trunk: Trunk | None = None) -> None:
        self._trunk = trunk or load_trunk(BLOCK)

    @torch.no_grad()
    def features(self, pictures: NDArray[np.float32]) -> Features:
        factor = max(1, -(-LEAST_SIDE // pictures.shape[2]))
        parts = []
        for at in range(0, len(pictures), _BATCH):
            x = torch.from_numpy(pictures[at : at + _BATCH]).expand(-1, 3, -1, -1)
            x = functional.interpolate(x, scale_factor=float(factor), mode="nearest")
            pixels = ((x + 1.0) * 127.5).permute(0, 2, 3, 1)
            parts.append(functional.adaptive_avg_pool2d(self._trunk(pixels, (BLOCK,))[BLOCK], 2).flatten(1))
        return np.asarray(array(torch.cat(parts)), np.float32)
