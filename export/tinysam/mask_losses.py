"""Losses of masks against true ones, each mask by itself. Pure functions of tensors; knows no network.

Logits are (..., h, w). The truth is a share of each cell, 0..1, of the same shape or of one that broadcasts to it.
Answers have the shape (...): whoever calls takes the mean, the lowest or a weighted sum.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

FOCAL_GAMMA, FOCAL_ALPHA = 2.0, 0.25
"""Of Lin et al. 2017, as SAM takes them."""


def cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean binary cross entropy of the cells."""
    each = functional.binary_cross_entropy_with_logits(logits, truth.expand_as(logits), reduction="none")
    return each.mean((-1, -2))


def focal(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean focal loss of the cells: cross entropy, less of it where the answer is right already."""
    each = functional.binary_cross_entropy_with_logits(logits, truth.expand_as(logits), reduction="none")
    share = torch.sigmoid(logits)
    right = share * truth + (1.0 - share) * (1.0 - truth)
    balance = FOCAL_ALPHA * truth + (1.0 - FOCAL_ALPHA) * (1.0 - truth)
    return (balance * (1.0 - right).pow(FOCAL_GAMMA) * each).mean((-1, -2))


def dice(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - twice the common part over the sum of both, one cell added to each: 0 for the right mask."""
    share = torch.sigmoid(logits)
    overlap = 2.0 * (share * truth).sum((-1, -2)) + 1.0
    return 1.0 - overlap / (share.sum((-1, -2)) + truth.sum((-1, -2)) + 1.0)


@torch.no_grad()
def actual_iou(logits: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of the cells above 0 and the true share of each cell; 0 where both are empty."""
    hard = (logits > 0).to(logits.dtype)
    both = (hard * truth).sum((-1, -2))
    return both / (hard.sum((-1, -2)) + truth.sum((-1, -2)) - both).clamp(min=1.0)
