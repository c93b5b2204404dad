"""Layers that encoders and decoder share: norm of an image's channels, convolution with batch norm, MLP, neck.

Attribute names are those of the published weights' keys (specs/tinysam.md, section 3).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

NORM_EPS = 1e-6
"""Of the norms over an image's channels, and of SAM's ViT; those of TinyViT and the decoder have torch's 1e-5."""


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of (B, C, h, w), at each place alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        last = functional.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, NORM_EPS)
        return last.permute(0, 3, 1, 2)


class ConvBN(nn.Module):
    """Convolution without bias, then batch norm: (B, inputs, h, w) -> (B, outputs, h / stride, w / stride)."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.c(x))
        return out


class Perceptron(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, inputs: int, hidden: int, outputs: int, depth: int = 3) -> None:
        super().__init__()
        widths = [inputs, *[hidden] * (depth - 1), outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for place, layer in enumerate(self.layers):
            x = layer(x) if place + 1 == len(self.layers) else torch.relu(layer(x))
        return x


def neck(channels: int, width: int) -> nn.Sequential:
    """(B, channels, g, g) -> (B, width, g, g), the end of every encoder."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 1, bias=False),
        LayerNorm2d(width),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        LayerNorm2d(width),
    )


def windows_of(x: Tensor, window: int) -> Tensor:
    """(B, h, w, C) -> (B * windows, window, window, C), padded with zeros at the bottom and at the right."""
    batch, height, width, channels = x.shape
    rows, columns = -(-height // window), -(-width // window)
    below, right = rows * window - height, columns * window - width
    if below or right:
        x = functional.pad(x, (0, 0, 0, right, 0, below))
    x = x.reshape(batch, rows, window, columns, window, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window, window, channels)


def from_windows(x: Tensor, window: int, height: int, width: int) -> Tensor:
    """Undoes `windows_of`: (B * windows, window, window, C) -> (B, height, width, C), without the padding."""
    rows, columns, channels = -(-height // window), -(-width // window), x.shape[-1]
    x = x.reshape(-1, rows, columns, window, window, channels).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, rows * window, columns * window, channels)[:, :height, :width]
