"""SAM's ViT encoders in torch, B to H, at any image size: teachers of the small ones. Knows no prompt, no file."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_sdk.export.tinysam.layers import NORM_EPS, from_windows, neck, windows_of
from edge_sdk.export.tinysam.layout import PATCH, VitLayout


class Attention(nn.Module):
    """Attention over a square of cells with decomposed relative positions: (B, side, side, C) -> same shape."""

    def __init__(self, channels: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, channels // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, channels // heads))

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        qkv = self.qkv(x).view(batch, height * width, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, side^2, C / heads): all q, then all k, then all v
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        square = q.view(batch, self.heads, height, width, -1)  # positions are weighed with q as it is, not scaled
        rows = torch.einsum("bnhwc,hkc->bnhwk", square, by_distance(self.rel_pos_h))
        columns = torch.einsum("bnhwc,wkc->bnhwk", square, by_distance(self.rel_pos_w))
        placed = logits.view(*rows.shape, width) + rows[..., :, None] + columns[..., None, :]  # (B, heads, h, w, h, w)
        mixed = placed.view_as(logits).softmax(dim=-1) @ v
        return cast(Tensor, self.proj(mixed.transpose(1, 2).reshape(batch, height, width, channels)))


def by_distance(table: Tensor) -> Tensor:
    """(2 side - 1, C) -> (side, side, C): the entry of each query's and key's distance."""
    side = (table.shape[0] + 1) // 2
    at = torch.arange(side, device=table.device)
    return table[at[:, None] - at[None] + side - 1]


class Mlp(nn.Module):
    """Two linear layers on the last axis."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(channels, 4 * channels)
        self.lin2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.lin2(functional.gelu(self.lin1(x))))


class Block(nn.Module):
    """(B, g, g, C) -> same shape. window: cells per side, None = attention over the whole grid."""

    def __init__(self, channels: int, heads: int, window: int | None, grid: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.attn = Attention(channels, heads, window or grid)
        self.norm2 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        _, height, width, _ = x.shape
        y = self.norm1(x)
        if self.window is None:
            y = self.attn(y)
        else:  # what fills up a window is zero behind the norm, unlike in TinyViT
            y = from_windows(self.attn(windows_of(y, self.window)), self.window, height, width)
        x = x + y
        return cast(Tensor, x + self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """(B, 3, S, S) -> (B, g, g, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, PATCH, PATCH)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.proj(x)).permute(0, 2, 3, 1)


class Vit(nn.Module):
    """Input: float (B, 3, S, S), normalised RGB, zeros beside the picture; S is the layout's image size.
    Output: the embedding (B, width, g, g)."""

    def __init__(self, layout: VitLayout) -> None:
        super().__init__()
        self.layout = layout
        self.patch_embed = PatchEmbed(layout.dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, layout.grid, layout.grid, layout.dim))
        self.blocks = nn.ModuleList(
            Block(layout.dim, layout.heads, None if place in layout.whole else layout.window, layout.grid)
            for place in range(layout.depth)
        )
        self.neck = neck(layout.dim, layout.width)

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.patch_embed(pictures) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.neck(x.permute(0, 3, 1, 2)))
