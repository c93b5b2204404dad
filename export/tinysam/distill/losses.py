"""Losses of full-stage distillation, and those against true masks. Pure functions of tensors; knows no network.

Section "Full-stage Knowledge Distillation" of Shu et al., TinySAM (arXiv 2312.13789): every difference between teacher
and student is an L1, taken as a mean over all values. N prompts, K masks each, all that the decoder answers.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-3
"""Added to the student's IoU in the hardness, which the paper leaves open: one that is 0 counts as 0.1 %."""
EQUAL = 0.5
"""The hardness where student and teacher are equally good."""


def embedding_loss(teacher: Tensor, student: Tensor) -> Tensor:
    """L_embedding: mean |teacher - student| of embeddings of one shape."""
    return (teacher - student).abs().mean()


def token_loss(teacher: Tensor, student: Tensor) -> Tensor:
    """L_token: mean |teacher - student| of the transformer's output tokens (N, 1 + K, width), of IoU and masks.

    Prompt tokens are not among them: their number depends on the kind of prompt, and no mask reads them.
    """
    return (teacher - student).abs().mean()


def hardness(teacher_iou: Tensor, student_iou: Tensor) -> Tensor:
    """H of the hard mask weighting, same shape as both: sigmoid(teacher's IoU / student's - 1), IoU with the true mask.

    0.5 where they are equal, towards 1 where the student is worse, 0.27 where the teacher's is 0. No gradient passes.
    """
    return torch.sigmoid(teacher_iou / (student_iou + EPS) - 1.0).detach()


def output_loss(teacher: Tensor, student: Tensor, weights: Tensor) -> Tensor:
    """L_output: the sum over masks of weight * mean |teacher - student|, and its mean over prompts.

    teacher, student: logits (N, K, h, w). weights: (N, K), from `hardness`, or EQUAL everywhere without weighting.
    """
    each = (teacher - student).abs().mean((-1, -2))
    return (weights * each).sum(1).mean()


def lowest(each: Tensor, *, mean_share: float) -> Tensor:
    """The lowest of each prompt's losses (N, K), plus `mean_share` times their mean; the mean over prompts.

    SAM's rule for ambiguous prompts, back-propagating one mask alone, leaves the others where they started; the small
    share of the mean keeps them usable.
    """
    return (each.amin(1) + mean_share * each.mean(1)).mean()


def iou_loss(predicted: Tensor, actual: Tensor) -> Tensor:
    """L_iou: mean |predicted - actual| (N, K). No gradient passes to the masks."""
    return (predicted - actual.detach()).abs().mean()
