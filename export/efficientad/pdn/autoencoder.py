"""The autoencoder of EfficientAD: the whole picture through a narrow vector and back to the teacher's features.

Knows no teacher and no loss. It sees what a 33 px patch can't: a part that is missing, doubled or in the wrong place.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge_sdk.errors import BadUsage

GLOBAL_PX = 256
"""The only side at which the published autoencoder sees the whole picture through a 1 x 1 bottleneck (up to 287)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderLayout:
    """channels: of the teacher. width: of encoder's later half, bottleneck and decoder; the first two layers have half.

    whole_picture: True gives the autoencoder a view of its own, the input resized to 256 x 256, so that its bottleneck
    is one vector at every input size; its last resize goes to the PDN's grid. False is the published form, whose
    bottleneck keeps positions from 288 px on (side // 32 - 7 cells a side) and which can't run below 256 px.
    """

    channels: int = 384
    width: int = 64
    whole_picture: bool = True
    dropout: float = 0.2

    def view(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of what the encoder sees of a network input. Raises BadUsage for a size that can't run."""
        if self.whole_picture:
            return GLOBAL_PX, GLOBAL_PX
        if min(height, width) < GLOBAL_PX:
            raise BadUsage(
                f"the published autoencoder can't run at {width} x {height} px: after five halvings its 8 x 8 "
                f"convolution needs 8 cells, {GLOBAL_PX} px",
                hint=f"Use at least {GLOBAL_PX} px, or whole_picture=True",
            )
        return height, width

    def decoder_sizes(self, height: int, width: int, grid: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of the seven resizes for a network input of height x width; the last is the PDN's grid."""
        view = self.view(height, width)
        steps = ((64, 1), (32, 0), (16, 1), (8, 0), (4, 1), (2, 1))
        return (*((view[0] // by - less, view[1] // by - less) for by, less in steps), grid)

    @property
    def encoder(self) -> tuple[tuple[int, int, int, int, int], ...]:
        """(inputs, outputs, kernel, stride, pad) of enconv1..6; ReLU after each but the last."""
        half, w = max(1, self.width // 2), self.width
        halving = ((3, half), (half, half), (half, w), (w, w), (w, w))
        return (*((inputs, outputs, 4, 2, 1) for inputs, outputs in halving), (w, w, 8, 1, 0))

    @property
    def decoder(self) -> tuple[tuple[int, int, int, int], ...]:
        """(inputs, outputs, kernel, pad) of deconv1..8; before 1..7 a resize, after 1..7 ReLU, after 1..6 dropout."""
        w = self.width
        return (*((w, w, 4, 2),) * 6, (w, w, 3, 1), (w, self.channels, 3, 1))

    def parameters(self) -> int:
        """Number of weights and biases."""
        encoder = sum(o * (i * k * k + 1) for i, o, k, _, _ in self.encoder)
        return encoder + sum(o * (i * k * k + 1) for i, o, k, _ in self.decoder)

    def macs(self, height: int, width: int, grid: tuple[int, int]) -> int:
        """Multiply-adds of the convolutions for one picture."""
        h, w = self.view(height, width)
        total = 0
        for inputs, outputs, kernel, stride, pad in self.encoder:
            h, w = ((side + 2 * pad - kernel) // stride + 1 for side in (h, w))
            total += h * w * inputs * outputs * kernel**2
        sizes = self.decoder_sizes(height, width, grid)
        for number, (inputs, outputs, kernel, pad) in enumerate(self.decoder):
            h, w = (side + 2 * pad - kernel + 1 for side in (sizes[number] if number < len(sizes) else (h, w)))
            total += h * w * inputs * outputs * kernel**2
        return total


class Encoder(nn.Module):
    """enconv1..6: (N, 3, H, W) to the bottleneck (N, width, H // 32 - 7, W // 32 - 7)."""

    def __init__(self, layout: AutoencoderLayout) -> None:
        super().__init__()
        for number, (inputs, outputs, kernel, stride, pad) in enumerate(layout.encoder, start=1):
            self.add_module(f"enconv{number}", nn.Conv2d(inputs, outputs, kernel, stride, pad))

    def forward(self, pictures: Tensor) -> Tensor:
        *body, last = (module for module in self.children())
        x = pictures
        for convolution in body:
            x = torch.relu(convolution(x))
        return torch.as_tensor(last(x))


class Decoder(nn.Module):
    """deconv1..8, a bilinear resize to a fixed size before each of the first seven."""

    def __init__(self, layout: AutoencoderLayout) -> None:
        super().__init__()
        self.dropout = layout.dropout
        for number, (inputs, outputs, kernel, pad) in enumerate(layout.decoder, start=1):
            self.add_module(f"deconv{number}", nn.Conv2d(inputs, outputs, kernel, padding=pad))

    def forward(self, bottleneck: Tensor, sizes: tuple[tuple[int, int], ...]) -> Tensor:
        *body, last = (module for module in self.children())
        x = bottleneck
        for number, (convolution, size) in enumerate(zip(body, sizes, strict=True), start=1):
            x = torch.relu(convolution(resized(x, size)))
            if number < len(sizes):
                x = nn.functional.dropout(x, self.dropout, training=self.training)
        return torch.as_tensor(last(x))


class Autoencoder(nn.Module):
    """Input: float (N, 3, H, W) normalised as for the PDN. Output: (N, channels, *grid). Dropout only in train mode."""

    def __init__(self, layout: AutoencoderLayout) -> None:
        super().__init__()
        self.layout = layout
        self.encoder = Encoder(layout)
        self.decoder = Decoder(layout)

    def forward(self, pictures: Tensor, grid: tuple[int, int]) -> Tensor:
        height, width = pictures.shape[-2], pictures.shape[-1]
        sizes = self.layout.decoder_sizes(height, width, grid)
        bottleneck = self.encoder(resized(pictures, self.layout.view(height, width)))
        return torch.as_tensor(self.decoder(bottleneck, sizes))


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear between pixel centres, no antialiasing: what ONNX Resize (linear, half_pixel) does in every runtime."""
    if tuple(x.shape[-2:]) == size:
        return x
    return nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
