"""An encoder of our own on the EfficientNet-Lite0 trunk: three strides summed to one embedding. Knows no prompt.

TinyViT learns little from a few hundred pictures. This trunk's features come trained, so it is what a teacher starts
from where no published checkpoint is at hand (specs/tinysam.md, section 12).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_sdk.export.tinysam.layers import LayerNorm2d, neck
from edge_sdk.export.tinysam.layout import Lite0Layout
from edge_sdk.export.tinysam.pixels import PIXEL_MEAN, PIXEL_STD
from edge_sdk.export.trunk.lite0 import BLOCKS, MEAN, SPREAD, Trunk, load_trunk

TAPS = (4, 10, 14)
"""Blocks that the embedding reads, at strides 8, 16 and 32."""
FROZEN = 2
"""Stem and blocks up to this one stay as they are: edges and colours of any picture, at the cost of half the
backward pass."""


class Lite0Encoder(nn.Module):
    """Input: float (B, 3, S, S), normalised RGB as every encoder here takes it. Output: the embedding (B, width, g, g)
    at stride 16."""

    def __init__(self, layout: Lite0Layout, trunk: Trunk | None = None) -> None:
        super().__init__()
        self.layout = layout
        trunk = trunk if trunk is not None else load_trunk(TAPS[-1])
        self.stem, self.blocks = trunk.stem, trunk.blocks
        fine, middle, coarse = (BLOCKS[tap].outputs for tap in TAPS)
        self.lateral8 = nn.Conv2d(fine, layout.width, 3, stride=2, padding=1, bias=False)
        self.lateral16 = nn.Conv2d(middle, layout.width, 1, bias=False)
        self.lateral32 = nn.Conv2d(coarse, layout.width, 1, bias=False)
        self.norms = nn.ModuleList(LayerNorm2d(layout.width) for _ in TAPS)
        self.neck = neck(layout.width, layout.width)
        self.blocks[FROZEN + 1 :].requires_grad_(True)

    def forward(self, pictures: Tensor) -> Tensor:
        fine, middle, coarse = self._tapped(pictures)
        coarse = functional.interpolate(self.lateral32(coarse), scale_factor=2.0, mode="nearest")
        # Each with a norm of its own: the trunk's features come without, and the largest would drown the others.
        laterals = (self.lateral8(fine), self.lateral16(middle), coarse)
        summed = torch.stack([norm(one) for norm, one in zip(self.norms, laterals, strict=True)]).sum(0)
        return cast(Tensor, self.neck(functional.gelu(summed)))

    def _tapped(self, pictures: Tensor) -> list[Tensor]:
        """Outputs of the blocks TAPS."""
        mean, std = (pictures.new_tensor(v).reshape(1, 3, 1, 1) for v in (PIXEL_MEAN, PIXEL_STD))
        x = (pictures * std + mean - MEAN) / SPREAD
        out: list[Tensor] = []
        with torch.no_grad():
            x = functional.relu6(self.stem(x.contiguous(memory_format=torch.channels_last)))
            for block in self.blocks[: FROZEN + 1]:
                x = block(x)
        for number, block in enumerate(self.blocks[FROZEN + 1 :], FROZEN + 1):
            x = block(x)
            if number in TAPS:
                out.append(x)
        return out
