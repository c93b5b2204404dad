"""SAM's two-way mask decoder in torch, in a form that never repeats an image per prompt. Knows no picture, no file.

The published code repeats the embedding and its positions N times. Here they have batch 1 until the first sum that
differs between prompts; broadcasting gives the same bits, and the first block's image side is computed once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_sdk.export.tinysam.layers import LayerNorm2d, Perceptron
from edge_sdk.export.tinysam.layout import DecoderLayout


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """masks: logits (N, K, 4 g, 4 g), mask 0 the single one. iou: (N, K), not clamped. tokens: (N, 1 + K, width), the
    transformer's output tokens, of the IoU first."""

    masks: Tensor
    iou: Tensor
    tokens: Tensor


class Attention(nn.Module):
    """Attention of (N, Tq, width) to (N, Tk, width) in an inner width; axes N broadcast. hidden: bool (N, Tk), keys
    that nobody sees; None = every key is seen."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None = None) -> Tensor:
        q, k, v = self._heads(self.q_proj(q)), self._heads(self.k_proj(k)), self._heads(self.v_proj(v))
        logits = (q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])
        if hidden is not None:
            logits = logits.masked_fill(hidden[:, None, None], -torch.inf)
        return cast(Tensor, self.out_proj((logits.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)))

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class TransformerMlp(nn.Module):
    """Two linear layers with ReLU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.lin2(torch.relu(self.lin1(x))))


class TwoWayBlock(nn.Module):
    """Tokens look at each other, then at the image; then the image looks at the tokens. Norms come behind the sums."""

    def __init__(self, width: int, heads: int, mlp: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(width, heads, width)
        self.cross_attn_token_to_image = Attention(width, heads, width // 2)
        self.mlp = TransformerMlp(width, mlp)
        self.cross_attn_image_to_token = Attention(width, heads, width // 2)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(width) for _ in range(4))

    def forward(
        self, tokens: Tensor, image: Tensor, start: Tensor, positions: Tensor, hidden: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """tokens, start: (N, T, width), start being the tokens before the first block, their positions. image: (1 or N,
        g^2, width); positions: (1, g^2, width). hidden: as `Attention` takes it."""
        if self.first:  # without positions, and without a residual
            tokens = self.self_attn(tokens, tokens, tokens, hidden)
        else:
            tokens = tokens + self.self_attn(tokens + start, tokens + start, tokens, hidden)
        tokens = self.norm1(tokens)
        placed = image + positions
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + start, placed, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(placed, tokens + start, tokens, hidden))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """The blocks, and a last look of the tokens at the image: (tokens, image) as `TwoWayBlock` takes them."""

    def __init__(self, width: int, layout: DecoderLayout) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(width, layout.heads, layout.mlp, first=place == 0) for place in range(layout.depth)
        )
        self.final_attn_token_to_image = Attention(width, layout.heads, width // 2)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, image: Tensor, positions: Tensor, start: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
        tokens = start
        for block in self.layers:
            tokens, image = block(tokens, image, start, positions, hidden)
        looked = self.final_attn_token_to_image(tokens + start, image + positions, image)
        return self.norm_final_attn(tokens + looked), image


class MaskDecoder(nn.Module):
    """width: of the embedding and of the tokens."""

    def __init__(self, width: int, layout: DecoderLayout) -> None:
        super().__init__()
        self.layout = layout
        self.transformer = TwoWayTransformer(width, layout)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(layout.masks, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, 2, 2), LayerNorm2d(width // 4), nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, 2, 2), nn.GELU(),
        )  # fmt: skip
        self.output_hypernetworks_mlps = nn.ModuleList(
            Perceptron(width, width, width // 8) for _ in range(layout.masks)
        )
        self.iou_prediction_head = Perceptron(width, width, layout.masks)

    def forward(
        self, embedding: Tensor, positions: Tensor, prompts: Tensor, dense: Tensor, hidden: Tensor | None = None
    ) -> Decoded:
        """embedding: (1 or N, width, g, g). positions: its dense encoding (1, width, g, g). prompts: tokens (N, T,
        width), T >= 0. dense: added to the embedding, (1 or N, width, 1 or g, 1 or g). hidden: bool (N, T), prompt
        tokens that change nothing."""
        side = embedding.shape[-1]
        output = torch.cat([self.iou_token.weight, self.mask_tokens.weight])  # (1 + K, width)
        tokens = torch.cat([output.expand(prompts.shape[0], -1, -1), prompts], dim=1)
        if hidden is not None:
            hidden = functional.pad(hidden, (len(output), 0))
        image = (embedding + dense).flatten(2).transpose(1, 2)
        tokens, image = self.transformer(image, positions.flatten(2).transpose(1, 2), tokens, hidden)
        tokens = tokens[:, : len(output)]
        fine = self.output_upscaling(image.transpose(1, 2).unflatten(2, (side, side)))  # (N, width / 8, 4 g, 4 g)
        kernels = [mlp(tokens[:, 1 + place]) for place, mlp in enumerate(self.output_hypernetworks_mlps)]
        masks = (torch.stack(kernels, dim=1) @ fine.flatten(2)).unflatten(2, fine.shape[2:])
        return Decoded(masks, self.iou_prediction_head(tokens[:, 0]), tokens)
