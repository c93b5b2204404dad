"""A whole SAM-like network in torch: encoder, prompt encoder, decoder, and how a picture is normalised."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from edge_sdk.export.tinysam import HIDDEN
from edge_sdk.export.tinysam.decoder import Decoded, MaskDecoder
from edge_sdk.export.tinysam.layout import EncoderLayout, SamLayout, TinyVitLayout
from edge_sdk.export.tinysam.prompts import PromptEncoder
from edge_sdk.export.tinysam.tiny_vit import TinyVit
from edge_sdk.export.tinysam.vit import Vit

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""Of RGB 0..255: what every published SAM was trained with."""


class Sam(nn.Module):
    """The network of a layout, with the key names of published weights. `encode` a picture once, `decode` prompts as
    often as needed."""

    def __init__(self, layout: SamLayout) -> None:
        super().__init__()
        self.layout = layout
        self.image_encoder = encoder_of(layout.encoder)
        self.prompt_encoder = PromptEncoder(layout.width, layout.image_size, layout.encoder.grid)
        self.mask_decoder = MaskDecoder(layout.width, layout.decoder)

    def encode(self, pictures: Tensor) -> Tensor:
        """Normalised pictures (B, 3, S, S), see `normalised`, to embeddings (B, width, g, g)."""
        return cast(Tensor, self.image_encoder(pictures))

    def decode(self, embedding: Tensor, points: Tensor, labels: Tensor, masks: Tensor | None = None) -> Decoded:
        """Prompts of one picture, whose embedding has batch 1, or of N pictures, one each.

        points: float (N, T, 2) = (x, y) in px of the frame. labels: int (N, T), see `edge_sdk.export.tinysam`. masks:
        logits (N, 1, 4 g, 4 g). T may be 0.
        """
        hidden = labels == HIDDEN
        return cast(
            Decoded,
            self.mask_decoder(
                embedding,
                self.prompt_encoder.dense_positions(),
                self.prompt_encoder.tokens(points, labels),
                self.prompt_encoder.map_of(masks),
                hidden if bool(hidden.any()) else None,
            ),
        )

    def forward(self, pictures: Tensor, points: Tensor, labels: Tensor, masks: Tensor | None = None) -> Decoded:
        """`encode`, then `decode`."""
        return self.decode(self.encode(pictures), points, labels, masks)


def encoder_of(layout: EncoderLayout) -> TinyVit | Vit:
    """The network of an encoder's layout, with weights as torch draws them."""
    return TinyVit(layout) if isinstance(layout, TinyVitLayout) else Vit(layout)


def normalised(pictures: Tensor, size: int) -> Tensor:
    """uint8 RGB (B, h, w, 3), h and w at most `size`, to float32 (B, 3, size, size): normalised, then zeros below and
    to the right, which stand for the mean colour."""
    mean, std = (pictures.new_tensor(v, dtype=torch.float32) for v in (PIXEL_MEAN, PIXEL_STD))
    x = ((pictures.to(torch.float32) - mean) / std).permute(0, 3, 1, 2)
    return nn.functional.pad(x, (0, size - x.shape[3], 0, size - x.shape[2]))
