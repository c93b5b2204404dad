"""A whole SAM-like network in torch: encoder, prompt encoder, decoder, and how a picture is normalised."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from edge_sdk.export.tinysam import HIDDEN
from edge_sdk.export.tinysam.decoder import Decoded, MaskDecoder
from edge_sdk.export.tinysam.layout import EncoderLayout, Lite0Layout, SamLayout, TinyVitLayout
from edge_sdk.export.tinysam.lite0 import Lite0Encoder
from edge_sdk.export.tinysam.pixels import PIXEL_MEAN, PIXEL_STD
from edge_sdk.export.tinysam.prior import Prior
from edge_sdk.export.tinysam.prompts import PromptEncoder
from edge_sdk.export.tinysam.tiny_vit import TinyVit
from edge_sdk.export.tinysam.vit import Vit


class Sam(nn.Module):
    """The network of a layout, with the key names of published weights. `encode` a picture once, `decode` prompts as
    often as needed."""

    def __init__(self, layout: SamLayout) -> None:
        super().__init__()
        self.layout = layout
        self.image_encoder = encoder_of(layout.encoder)
        self.prompt_encoder = PromptEncoder(layout.width, layout.image_size, layout.encoder.grid)
        self.mask_decoder = MaskDecoder(layout.width, layout.decoder)
        self.prior = Prior(layout.decoder.masks, layout.image_size, layout.mask_side) if layout.decoder.prior else None

    def encode(self, pictures: Tensor) -> Tensor:
        """Normalised pictures (B, 3, S, S), see `normalised`, to embeddings (B, width, g, g)."""
        return cast(Tensor, self.image_encoder(pictures))

    def decode(self, embedding: Tensor, points: Tensor, labels: Tensor, masks: Tensor | None = None) -> Decoded:
        """Prompts of one picture, whose embedding has batch 1, or of N pictures, one each.

        points: float (N, T, 2) = (x, y) in px of the frame. labels: int (N, T), see `edge_sdk.export.tinysam`. masks:
        logits (N, 1, 4 g, 4 g). T may be 0. A network with a prior adds it to the masks, and takes it for a mask prompt
        where none is given.
        """
        hidden = labels == HIDDEN
        start = None if self.prior is None else self.prior(points, labels)
        if start is not None and masks is None:
            masks = start[:, :1]
        decoded = cast(
            Decoded,
            self.mask_decoder(
                embedding,
                self.prompt_encoder.dense_positions(),
                self.prompt_encoder.tokens(points, labels),
                self.prompt_encoder.map_of(masks),
                hidden if bool(hidden.any()) else None,
            ),
        )
        return decoded if start is None else replace(decoded, masks=decoded.masks + start)

    def forward(self, pictures: Tensor, points: Tensor, labels: Tensor, masks: Tensor | None = None) -> Decoded:
        """`encode`, then `decode`."""
        return self.decode(self.encode(pictures), points, labels, masks)


def encoder_of(layout: EncoderLayout) -> TinyVit | Vit | Lite0Encoder:
    """The network of an encoder's layout, with weights as torch draws them; of Lite0's trunk, those that ship."""
    if isinstance(layout, Lite0Layout):
        return Lite0Encoder(layout)
    return TinyVit(layout) if isinstance(layout, TinyVitLayout) else Vit(layout)


def normalised(pictures: Tensor, size: int) -> Tensor:
    """uint8 RGB (B, h, w, 3), h and w at most `size`, to float32 (B, 3, size, size): normalised, then zeros below and
    to the right, which stand for the mean colour."""
    mean, std = (pictures.new_tensor(v, dtype=torch.float32) for v in (PIXEL_MEAN, PIXEL_STD))
    x = ((pictures.to(torch.float32) - mean) / std).permute(0, 3, 1, 2)
    return nn.functional.pad(x, (0, size - x.shape[3], 0, size - x.shape[2]))


def normalised_frames(images: Tensor, extents: Tensor) -> Tensor:
    """uint8 RGB frames (B, S, S, 3) with the picture at the top left, and its height and width in each, (B, 2), to
    float32 (B, 3, S, S): as `normalised`, for pictures of different sizes."""
    size = images.shape[1]
    at = torch.arange(size, device=images.device, dtype=extents.dtype)
    rows, columns = (at < extents[:, axis, None] for axis in (0, 1))
    return normalised(images, size) * (rows[:, None, :, None] & columns[:, None, None, :])
