"""The patch description networks PDN-S and PDN-M: layers, sizes, costs. Knows no loss, no data, no file, no graph.

A PDN turns every 33 x 33 px patch into one vector, at stride 4, with four (S) or six (M) convolutions and no
normalisation layers (Batzner et al., EfficientAD, WACV 2024). Teacher and student differ in their widths alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from edge_sdk.errors import BadUsage
from edge_sdk.export.efficientad.options import BORDER_PX
from edge_sdk.preprocess import Grid

PdnSize = Literal["s", "m"]

FIELD_PX = 33
"""Side of the patch that one cell sees."""
STRIDE_PX = 4
"""Distance of two cells' centres."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of RGB / 255. What every published PDN teacher was trained with."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution of stride 1 and what follows. pad: on each side where the network is padded. pool: 2 x 2 mean."""

    kernel: int
    pad: int
    inputs: int
    outputs: int
    relu: bool
    pool: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PdnLayout:
    """Which PDN. inner: widths of the convolutions before those that carry `channels` (3 for "s", 4 for "m").

    channels: of the output: C for a teacher, 2 C for a student. padding: True keeps ceil(n / 4) cells, the outer ones
    half made of zeros; False (how the method runs) keeps the ceil(n / 4) - 8 cells that see pixels only.
    """

    size: PdnSize = "s"
    channels: int = 384
    inner: tuple[int, ...] = ()
    padding: bool = False

    def __post_init__(self) -> None:
        published = {"s": (128, 256, 256), "m": (256, 512, 512, 512)}
        if self.size not in published:
            raise BadUsage(f'a PDN has size "s" or "m", not {self.size!r}')
        if not self.inner:
            object.__setattr__(self, "inner", published[self.size])
        if len(self.inner) != len(published[self.size]):
            raise BadUsage(f"PDN-{self.size.upper()} has {len(published[self.size])} inner widths, got {self.inner}")
        if min(self.inner) < 1 or self.channels < 1:
            raise BadUsage(f"widths are at least 1, got {self.inner} and {self.channels}")

    @property
    def layers(self) -> tuple[Layer, ...]:
        """conv1, conv2, ... in order."""
        c = self.channels
        if self.size == "s":
            a, b, d = self.inner
            return (
                Layer(4, 3, 3, a, relu=True, pool=True),
                Layer(4, 3, a, b, relu=True, pool=True),
                Layer(3, 1, b, d, relu=True, pool=False),
                Layer(4, 0, d, c, relu=False, pool=False),
            )
        a, b, d, e = self.inner
        return (
            Layer(4, 3, 3, a, relu=True, pool=True),
            Layer(4, 3, a, b, relu=True, pool=True),
            Layer(1, 0, b, d, relu=True, pool=False),
            Layer(3, 1, d, e, relu=True, pool=False),
            Layer(4, 0, e, c, relu=True, pool=False),
            Layer(1, 0, c, c, relu=False, pool=False),
        )

    def student(self) -> PdnLayout:
        """The layout of this teacher's student: one half of its outputs for the teacher, one for the autoencoder."""
        return replace(self, channels=2 * self.channels)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of the output for an input of `height` x `width` px. Raises BadUsage below one field."""
        return _cells(height, padding=self.padding), _cells(width, padding=self.padding)

    def map_grid(self) -> Grid:
        """Where the cells lie in the network's input: cell i sees the pixels 4 i .. 4 i + 32, or 16 less if padded."""
        return Grid(offset_px=(0.0 if self.padding else BORDER_PX) + 0.5, stride_px=STRIDE_PX)

    def parameters(self) -> int:
        """Number of weights and biases."""
        return sum(layer.outputs * (layer.inputs * layer.kernel**2 + 1) for layer in self.layers)

    def macs(self, height: int, width: int) -> int:
        """Multiply-adds of the convolutions for one picture; pooling and bias (under 1 %) are not counted."""
        self.grid(height, width)
        total = 0
        for layer in self.layers:
            grow = 2 * layer.pad * self.padding + 1 - layer.kernel
            height, width = height + grow, width + grow
            total += height * width * layer.outputs * layer.inputs * layer.kernel**2
            if layer.pool:
                height, width = (side // 2 + self.padding for side in (height, width))
        return total


class Pdn(nn.Module):
    """One PDN. Weights are named conv1.weight, conv1.bias, ...: the names of published files.

    Input: float (N, 3, H, W), RGB / 255 normalised by IMAGENET_MEAN and IMAGENET_STD. Output: (N, channels, h, w).
    """

    def __init__(self, layout: PdnLayout) -> None:
        super().__init__()
        self.layout = layout
        for number, layer in enumerate(layout.layers, start=1):
            pad = layer.pad if layout.padding else 0
            self.add_module(f"conv{number}", nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, padding=pad))

    @property
    def convolutions(self) -> tuple[nn.Conv2d, ...]:
        """conv1, conv2, ... in order."""
        return tuple(module for module in self.children() if isinstance(module, nn.Conv2d))

    def forward(self, pictures: Tensor) -> Tensor:
        self.layout.grid(pictures.shape[-2], pictures.shape[-1])
        x = pictures
        for layer, convolution in zip(self.layout.layers, self.convolutions, strict=True):
            x = convolution(x)
            if layer.relu:
                x = torch.relu(x)
            if layer.pool:
                # Padded zeros count in the mean: that is how the published weights were trained.
                x = nn.functional.avg_pool2d(x, 2, 2, padding=1 if self.layout.padding else 0)
        return x


def drawn(net: nn.Module, *, seed: int) -> None:
    """Draws the initial weights anew (He et al. 2015), biases 0."""
    rng = torch.Generator().manual_seed(seed)
    for weight in net.parameters():
        if weight.ndim > 1:
            # Drawn on the CPU, whose generator gives the same numbers on every machine, wherever the network is.
            fresh = torch.empty(weight.shape, dtype=weight.dtype)
            nn.init.kaiming_normal_(fresh, nonlinearity="relu", generator=rng)
            weight.data.copy_(fresh)
        else:
            nn.init.zeros_(weight)


@torch.no_grad()
def started(net: Pdn, pictures: Tensor, *, seed: int) -> None:
    """Initial weights whose every channel has mean 0 and std 1 before its ReLU on `pictures`, the outputs std 0.1.

    A PDN has no norms. From torch's own start its outputs are all but constant; from He's, the first steps push the
    common mean of the outputs down so hard that most ReLUs of the last layers never open again.
    """
    drawn(net, seed=seed)
    x = pictures
    for layer, convolution in zip(net.layout.layers, net.convolutions, strict=True):
        y = convolution(x)
        spread, mean = y.std(dim=(0, 2, 3), unbiased=False), y.mean(dim=(0, 2, 3))
        spread = spread.clamp_min(0.05 * float(spread.mean()) or 1.0)  # a channel that sees nothing stays as it is
        scale = (1.0 if layer.relu else 0.1) / spread
        convolution.weight.mul_(scale.view(-1, 1, 1, 1))
        next(p for p in convolution.parameters() if p.ndim == 1).copy_(-mean * scale)
        x = torch.relu(y.sub(mean.view(1, -1, 1, 1)).mul(scale.view(1, -1, 1, 1)))
        if layer.pool:
            x = nn.functional.avg_pool2d(x, 2, 2, padding=1 if net.layout.padding else 0)


def normalised(pictures: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """RGB 0..255 pictures (N, H, W, 3), uint8 or float, to (N, 3, H, W): (x / 255 - IMAGENET_MEAN) / IMAGENET_STD."""
    x = pictures.permute(0, 3, 1, 2).to(dtype) / 255.0
    return (x - x.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)) / x.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)


def _cells(side: int, *, padding: bool) -> int:
    if side < FIELD_PX:
        raise BadUsage(
            f"an input side of {side} px is smaller than the {FIELD_PX} x {FIELD_PX} px that one cell sees",
            hint=f"Use at least {FIELD_PX} px, or surround the picture with a border",
        )
    return -(-side // STRIDE_PX) - (0 if padding else 8)
