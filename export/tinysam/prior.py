"""The mask that a prompt is by itself, where a network of our own starts from. No published network has it.

With prompt tokens alone a network trained from nothing answers nothing for hundreds of steps: the tokens say where to
look only once attention has learned to find their place. Added to the logits, the prompt's own mask is an answer from
the first step on, and what is learned is the difference (specs/tinysam.md, section 12). It is taken for a mask prompt
too, which shows the image's cells which of them are meant: losses fall faster than with the sum alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edge_sdk.export.tinysam import BOTTOM_RIGHT, POSITIVE, TOP_LEFT

GAIN, OFFSET = 6.0, -3.5
"""Of the logits at first: 2.5 inside the box, -3.5 outside (measured in section 12)."""
RADII = (0.1, 0.05, 0.1, 0.2)
"""Of the bump at a point at first, in sides of the frame: mask 0, then part, whole and surroundings."""


class Prior(nn.Module):
    """gain * map + offset for each of `masks` masks, both learned. The map is the share of a cell inside the box, or
    without a box the highest of the bumps at the positive points."""

    def __init__(self, masks: int, image_size: int, side: int) -> None:
        """side: cells per side of a mask of logits, which cover the frame of `image_size` px."""
        super().__init__()
        self.image_size, self.side = image_size, side
        radii = torch.tensor([RADII[k % len(RADII)] for k in range(masks)])
        self.box = nn.Parameter(torch.tensor([[GAIN, OFFSET]]).repeat(masks, 1))
        self.point = nn.Parameter(torch.tensor([[GAIN, OFFSET]]).repeat(masks, 1))
        self.log_radius = nn.Parameter(radii.log())

    def forward(self, points: Tensor, labels: Tensor) -> Tensor:
        """(N, masks, side, side), logits. points: (N, T, 2) = (x, y) in px; labels: (N, T)."""
        boxed, has_box = self._box(points, labels)
        bumps = self._bumps(points, labels)
        (box_gain, box_offset), (point_gain, point_offset) = self.box.unbind(1), self.point.unbind(1)
        of_box = box_gain[:, None, None] * boxed[:, None] + box_offset[:, None, None]
        of_points = point_gain[:, None, None] * bumps + point_offset[:, None, None]
        return torch.where(has_box[:, None, None, None], of_box, of_points)

    def _box(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The share of each cell inside the box, (N, side, side), and whether there is one, (N,)."""
        low, high = (
            (points * (labels == corner)[..., None]).sum(1) * (self.side / self.image_size)
            for corner in (TOP_LEFT, BOTTOM_RIGHT)
        )
        start = torch.arange(self.side, device=points.device, dtype=points.dtype)
        ends = torch.minimum(start + 1, high[..., None]) - torch.maximum(start, low[..., None])
        across, down = ends.clamp(0.0, 1.0).unbind(1)
        return down[:, :, None] * across[:, None, :], (labels == TOP_LEFT).any(1)

    def _bumps(self, points: Tensor, labels: Tensor) -> Tensor:
        """The highest bump of the positive points, (N, masks, side, side), 0..1; 0 where there is none."""
        cell = self.image_size / self.side
        centres = (torch.arange(self.side, device=points.device, dtype=points.dtype) + 0.5) * cell
        away = (centres - (points + 0.5)[..., None]) / self.image_size  # (N, T, 2, side)
        squared = away[:, :, 1, :, None].square() + away[:, :, 0, None, :].square()
        near = torch.exp(-0.5 * squared[:, :, None] / (2 * self.log_radius).exp()[:, None, None])
        return (near * (labels == POSITIVE)[:, :, None, None, None]).amax(1)
