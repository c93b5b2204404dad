"""The small size's encoder: trunk and feature pyramid, once per picture. Knows no prompt.

Trunk: EfficientNet-Lite0 to block 12 (Tan and Le 2019), fine-tuned from the weights that ship. Pyramid: top-down sums
of 1x1 laterals (Lin et al. 2017), depthwise separable smoothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_sdk.export.trunk.lite0 import BLOCKS, MEAN, SPREAD, Trunk, load_trunk

TAPS = (0, 2, 4, 10, 12)
"""Blocks that the pyramid reads: strides 2, 4, 8, 16, 32."""
FROZEN = 2
"""Stem and blocks up to this one stay as they are: their features are edges and colours of any picture, and a backward
pass through them would cost as much as through all the others."""
F2, F4, F8, F16 = 8, 48, 64, 96
"""Channels of the pyramid at strides 2, 4, 8 and 16."""
SIDES = "sides"
"""Output, (N, 4, S/8, S/8): from each cell the logs of the distances to the left, top, right and bottom of the box
around what lies there, in sides of the frame; each point of a thing answers for all of it, as in Tian et al. 2019."""
STRIDES = {"features_2": 2, "features_4": 4, SIDES: 8}
"""Pixels per cell of each output that has cells."""
GUESS = 96
"""Channels from which boxes are guessed."""
REACH = "reach"
"""Further output, (N, 2): height and width of the picture in its frame, px, for windows to stay in it."""


def conv(inputs: int, outputs: int, kernel: int = 1, *, groups: int = 1) -> nn.Sequential:
    """Convolution without bias, norm, ReLU; the norm is folded on export."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, momentum=0.03),
        nn.ReLU(inplace=True),
    )


class Smooth(nn.Sequential):
    """Depthwise 3x3, then 1x1, each with norm and ReLU."""

    def __init__(self, width: int, outputs: int | None = None) -> None:
        super().__init__(conv(width, width, 3, groups=width), conv(width, outputs or width))


class SmallEncoder(nn.Module):
    """uint8 picture (N, S, S, 3) RGB to features by name: (N, 8, S/2, S/2) and (N, 48, S/4, S/4) for masks, SIDES for
    windows, (N, 2) its extent."""

    def __init__(self, trunk: Trunk | None = None) -> None:
        super().__init__()
        trunk = trunk if trunk is not None else load_trunk(TAPS[-1])
        self.stem, self.blocks = trunk.stem, trunk.blocks
        c2, c4, c8, c16, c32 = (BLOCKS[tap].outputs for tap in TAPS)
        self.lateral32 = conv(c32, F16)
        self.lateral16 = conv(c16, F16)
        self.smooth16 = Smooth(F16)
        self.lateral8 = conv(c8, F8)
        self.down8 = conv(F16, F8)
        self.smooth8 = Smooth(F8)
        self.lateral4 = conv(c4, F4)
        self.down4 = conv(F8, F4)
        self.smooth4 = Smooth(F4)
        self.lateral2 = conv(c2, F2)
        self.down2 = conv(F4, F2)
        self.smooth2 = conv(F2, F2, 3)
        self.sides = nn.Sequential(conv(F8 + F16, GUESS), Smooth(GUESS), Smooth(GUESS), nn.Conv2d(GUESS, 4, 1))
        _begin_small(self.sides[-1])
        for module in (self.blocks[FROZEN + 1 :],):
            module.requires_grad_(True)

    def forward(self, image: Tensor, extent: Tensor) -> dict[str, Tensor]:
        """extent: (N, 2) = height and width of each picture in its frame, px; beyond it the input is zero."""
        x = (image.permute(0, 3, 1, 2).to(torch.float32) - MEAN) / SPREAD
        x = x * inside(extent, image.shape[1], image.shape[2])
        tapped = self.trunk(x.contiguous(memory_format=torch.channels_last))
        p16 = self.smooth16(self.lateral16(tapped[10]) + _doubled(self.lateral32(tapped[12])))
        p8 = self.smooth8(self.lateral8(tapped[4]) + _doubled(self.down8(p16)))
        p4 = self.smooth4(self.lateral4(tapped[2]) + _doubled(self.down4(p8)))
        p2 = self.smooth2(self.lateral2(tapped[0]) + _doubled(self.down2(p4)))
        sides = self.sides(torch.cat([p8, _doubled(p16)], 1))
        return {"features_2": p2, "features_4": p4, SIDES: sides, REACH: extent}

    def trunk(self, x: Tensor) -> dict[int, Tensor]:
        """Outputs of the tapped blocks."""
        out: dict[int, Tensor] = {}
        with torch.no_grad():
            x = F.relu6(self.stem(x))
            for i in range(FROZEN + 1):
                x = self.blocks[i](x)
                out[i] = x
        for i in range(FROZEN + 1, len(self.blocks)):
            x = self.blocks[i](x)
            out[i] = x
        return {tap: out[tap] for tap in TAPS}


def _begin_small(last: nn.Module) -> None:
    """Boxes of a fifth of the frame everywhere."""
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    nn.init.normal_(last.weight, std=0.01)
    nn.init.constant_(last.bias, -2.3)


def inside(extent: Tensor, height: int, width: int) -> Tensor:
    """1 where the picture is, 0 beyond it: (N, 1, height, width) for extents (N, 2)."""
    rows = (torch.arange(height, device=extent.device, dtype=extent.dtype) < extent[:, :1]).to(torch.float32)
    columns = (torch.arange(width, device=extent.device, dtype=extent.dtype) < extent[:, 1:]).to(torch.float32)
    return rows[:, None, :, None] * columns[:, None, None, :]


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
