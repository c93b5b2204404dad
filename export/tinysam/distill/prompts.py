"""Prompts of a step as tensors, and online hard prompt sampling. Knows no network and no picture.

Each prompt has three tokens: a place for a point, and two more. A box: hidden, its two corners. A point: the point, the
official padding point, hidden. So boxes and points share one pass of the decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edge_sdk.export.tinysam import BOTTOM_RIGHT, HIDDEN, PADDING, POSITIVE, TOP_LEFT
from edge_sdk.export.tinysam.scenes.mixture import Frame


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """points: float32 (N, T, 2) = (x, y) in px of the frame. labels: int64 (N, T), see `edge_sdk.export.tinysam`."""

    points: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> Prompts:
        """The same there."""
        return Prompts(self.points.to(device), self.labels.to(device))


def of_boxes(boxes: Tensor) -> Prompts:
    """boxes: (q, 4) = (x0, y0, x1, y1), px of the frame."""
    corners = boxes.reshape(-1, 2, 2)
    labels = torch.tensor([[HIDDEN, TOP_LEFT, BOTTOM_RIGHT]]).expand(len(boxes), -1)
    return Prompts(torch.cat([torch.zeros_like(corners[:, :1]), corners], 1), labels)


def of_points(points: Tensor) -> Prompts:
    """points: (p, 2), px of the frame; all of them positive."""
    labels = torch.tensor([[POSITIVE, PADDING, HIDDEN]]).expand(len(points), -1)
    return Prompts(torch.cat([points[:, None], torch.zeros(len(points), 2, 2)], 1), labels)


def of_frames(frames: Sequence[Frame]) -> Prompts:
    """The prompts of all frames, one frame behind the other, each with its boxes first."""
    parts = [
        kind for f in frames for kind in (of_boxes(torch.from_numpy(f.boxes)), of_points(torch.from_numpy(f.points)))
    ]
    return Prompts(torch.cat([one.points for one in parts]), torch.cat([one.labels for one in parts]))


def harder(
    rng: np.random.Generator, prompts: Prompts, answered: Tensor, truth: Tensor, *, px: float, keep: bool
) -> Prompts:
    """The next round of online hard prompt sampling: a positive point where the answer misses the mask.

    answered, truth: bool (N, h, w), cells of `px` px of the frame. Where nothing is missing, a prompt stays as it is.
    keep: add the point to those before it, instead of replacing them. Boxes stay in either case.
    """
    missed = (truth & ~answered).flatten(1)
    there = missed.any(1)
    # The largest of a random number per missed cell: each of them is as likely.
    draws = torch.from_numpy(rng.random(tuple(missed.shape), np.float32)).to(missed.device)
    cell = torch.where(missed, draws, -1.0).argmax(1)
    width = truth.shape[-1]
    point = torch.stack([cell % width, cell // width], 1).to(prompts.points.dtype) * px + (px - 1) / 2
    if keep:
        label = torch.where(there, POSITIVE, HIDDEN)[:, None]
        return Prompts(
            torch.cat([point[:, None], prompts.points], 1),
            torch.cat([label.to(prompts.labels.dtype), prompts.labels], 1),
        )
    points, labels = prompts.points.clone(), prompts.labels.clone()
    points[:, 0] = torch.where(there[:, None], point, points[:, 0])
    labels[:, 0] = torch.where(there, POSITIVE, labels[:, 0])
    return Prompts(points, labels)
