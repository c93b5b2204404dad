"""The TinyViT encoder in torch: normalised picture in, embedding out. Knows no prompt, no graph, no file of weights."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_sdk.export.tinysam.layers import ConvBN, from_windows, neck, windows_of
from edge_sdk.export.tinysam.layout import TinyVitLayout


class MBConv(nn.Module):
    """Inverted bottleneck (B, C, h, w) -> same shape. The last GELU comes after the residual sum."""

    def __init__(self, channels: int, *, expand: int = 4) -> None:
        super().__init__()
        hidden = expand * channels
        self.conv1 = ConvBN(channels, hidden)
        self.conv2 = ConvBN(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvBN(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.gelu(self.conv2(functional.gelu(self.conv1(x))))
        return functional.gelu(x + self.conv3(inner))


class PatchMerging(nn.Module):
    """Between two stages: (B, inputs, h, w) -> (B, outputs, h / stride, w / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(inputs, outputs)
        self.conv2 = ConvBN(outputs, outputs, 3, stride=stride, groups=outputs)
        self.conv3 = ConvBN(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv3(functional.gelu(self.conv2(functional.gelu(self.conv1(x))))))


class WindowAttention(nn.Module):
    """Attention within one window, with a learned bias per head and distance: (B, window^2, C) -> same shape.

    The layer norm is inside, so that the zeros which fill up a window become the norm's bias and take part. The bias
    table is looked up anew in each run: a cache of it would go stale when weights load.
    """

    place_of_distance: Tensor

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij"), -1).reshape(-1, 2)
        distance = (at[:, None] - at[None]).abs()  # (window^2, window^2, 2)
        self.register_buffer("place_of_distance", distance[..., 0] * window + distance[..., 1], persistent=False)

    def bias(self) -> Tensor:
        """Added to the logits: (heads, window^2, window^2)."""
        return self.attention_biases[:, self.place_of_distance]

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, channels = x.shape
        # Each head's q, k and v lie together: [q0 k0 v0 q1 k1 v1 ...]; in SAM's ViT all q come first.
        qkv = self.qkv(self.norm(x)).view(batch, tokens, self.heads, 3, channels // self.heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4)  # each (B, heads, window^2, C / heads)
        logits = (q @ k.transpose(-2, -1)) * (q.shape[-1] ** -0.5) + self.bias()
        mixed = (logits.softmax(dim=-1) @ v).transpose(1, 2).reshape(batch, tokens, channels)
        return cast(Tensor, self.proj(mixed))


class Mlp(nn.Module):
    """Layer norm and two linear layers on the last axis."""

    def __init__(self, channels: int, *, expand: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, expand * channels)
        self.fc2 = nn.Linear(expand * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.fc2(functional.gelu(self.fc1(self.norm(x)))))


class TinyVitBlock(nn.Module):
    """Window attention, a depthwise convolution without residual, an MLP: (B, h, w, C) -> same shape."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(channels, heads, window)
        self.local_conv = ConvBN(channels, channels, 3, groups=channels)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        _, height, width, channels = x.shape
        within = self.attn(windows_of(x, self.window).flatten(1, 2))
        x = x + from_windows(within.view(-1, self.window, self.window, channels), self.window, height, width)
        x = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return cast(Tensor, x + self.mlp(x))


class PatchEmbed(nn.Module):
    """(B, 3, S, S) -> (B, channels, S / 4, S / 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.seq = nn.Sequential(ConvBN(3, half, 3, stride=2), nn.GELU(), ConvBN(half, channels, 3, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.seq(x))


class Stage(nn.Module):
    """Blocks, then the merging to the next stage: (B, C, h, w) -> (B, C', h', w'). convolutional: MBConvs as blocks."""

    def __init__(self, blocks: list[nn.Module], downsample: PatchMerging | None, *, convolutional: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample
        self.convolutional = convolutional

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.convolutional else x.permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        x = x if self.convolutional else x.permute(0, 3, 1, 2)
        return x if self.downsample is None else cast(Tensor, self.downsample(x))


class TinyVit(nn.Module):
    """Input: float (B, 3, S, S), normalised RGB, zeros beside the picture. Output: the embedding (B, width, g, g).

    Runs at any multiple of its stride, whatever the layout's image size: it has no table of absolute positions.
    """

    def __init__(self, layout: TinyVitLayout) -> None:
        super().__init__()
        self.layout = layout
        self.patch_embed = PatchEmbed(layout.dims[0])
        self.layers = nn.ModuleList(_stage(layout, number) for number in range(4))
        self.neck = neck(layout.dims[3], layout.width)

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.patch_embed(pictures)
        for stage in self.layers:
            x = stage(x)
        return cast(Tensor, self.neck(x))


def _stage(layout: TinyVitLayout, number: int) -> Stage:
    channels, last = layout.dims[number], number == 3
    merging = None if last else PatchMerging(channels, layout.dims[number + 1], layout.strides[number])
    if number == 0:
        return Stage([MBConv(channels) for _ in range(layout.depths[0])], merging, convolutional=True)
    heads, window = layout.heads[number - 1], layout.windows[number - 1]
    blocks: list[nn.Module] = [TinyVitBlock(channels, heads, window) for _ in range(layout.depths[number])]
    return Stage(blocks, merging, convolutional=False)
