"""SAM's prompt encoder in torch: points, boxes and masks become tokens and a map. Knows no picture, no decoder."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_sdk.export.tinysam import HIDDEN
from edge_sdk.export.tinysam.layers import LayerNorm2d


class Positions(nn.Module):
    """Fourier features of places: [sin v, cos v] with v = 2 pi (2 c - 1) G, c in 0..1 as (x, y)."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, width // 2))

    def forward(self, places: Tensor) -> Tensor:
        """(..., 2) -> (..., width)."""
        v = 2 * math.pi * ((2 * places - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([torch.sin(v), torch.cos(v)], dim=-1)

    def of_grid(self, side: int) -> Tensor:
        """The dense encoding of a grid's cell centres: (1, width, side, side)."""
        centres = (torch.arange(side, device=self.positional_encoding_gaussian_matrix.device) + 0.5) / side
        rows, columns = torch.meshgrid(centres, centres, indexing="ij")
        return self.forward(torch.stack([columns, rows], dim=-1)).permute(2, 0, 1)[None]


class PromptEncoder(nn.Module):
    """image_size: side of the frame in px; grid: cells of the embedding per side."""

    def __init__(self, width: int, image_size: int, grid: int, *, mask_width: int = 16) -> None:
        super().__init__()
        self.image_size, self.grid = image_size, grid
        self.pe_layer = Positions(width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.no_mask_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_width // 4, 2, 2), LayerNorm2d(mask_width // 4), nn.GELU(),
            nn.Conv2d(mask_width // 4, mask_width, 2, 2), LayerNorm2d(mask_width), nn.GELU(),
            nn.Conv2d(mask_width, width, 1),
        )  # fmt: skip

    def dense_positions(self) -> Tensor:
        """The encoding of the embedding's cells, (1, width, grid, grid): a constant of the weights."""
        return self.pe_layer.of_grid(self.grid)

    def label_embeddings(self) -> Tensor:
        """What each label adds, (6, width): hidden, padding point, negative, positive, top left, bottom right."""
        padding = self.not_a_point_embed.weight
        points = [cast(nn.Embedding, one).weight for one in self.point_embeddings]
        return torch.cat([torch.zeros_like(padding), padding, *points])

    def tokens(self, points: Tensor, labels: Tensor) -> Tensor:
        """Prompt tokens (N, T, width). points: float (N, T, 2) = (x, y) in px of the frame, a pixel's centre being an
        integer. labels: int (N, T), see `edge_sdk.export.tinysam`; others raise IndexError."""
        places: Tensor = self.pe_layer((points + 0.5) / self.image_size)
        placed = (labels >= 0).to(places.dtype)[..., None]  # the padding point is nowhere
        return functional.embedding((labels - HIDDEN).long(), self.label_embeddings()) + places * placed

    def map_of(self, masks: Tensor | None) -> Tensor:
        """What is added to the embedding: of mask prompts (N, 1, 4 grid, 4 grid), logits, (N, width, grid, grid);
        without one (1, width, 1, 1)."""
        if masks is None:
            return self.no_mask_embed.weight.reshape(1, -1, 1, 1)
        return cast(Tensor, self.mask_downscaling(masks))
