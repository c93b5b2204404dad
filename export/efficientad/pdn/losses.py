"""The four loss terms of EfficientAD, as functions of the networks' outputs. Knows no network, no picture, no step.

Every tensor is float (N, C, h, w); every target T' is the teacher's output, normalised per channel.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor

HARD_SHARE = Fraction(999, 1000)
"""Share of a picture's squared differences that the hard loss leaves out."""


def hard_count(elements: int, share: Fraction = HARD_SHARE) -> int:
    """How many of `elements` values are at or above their `share` quantile (linear interpolation), ties apart.

    The quantile lies at position share * (n - 1) of the sorted values, so the values from its ceiling on remain.
    """
    return elements - math.ceil(share * (elements - 1))


def hard_loss(target: Tensor, local: Tensor, share: Fraction = HARD_SHARE) -> Tensor:
    """Mean of each picture's largest squared differences, averaged over pictures: only the worst outputs get gradient.

    Equal to the mean of the values at or above torch.quantile, which refuses more than 2**24 elements and is slower.
    """
    squared = (target - local).square().flatten(1)
    return squared.topk(hard_count(squared.shape[1], share), dim=1, sorted=False).values.mean()


def local_loss(target: Tensor, local: Tensor, *, warm: bool) -> Tensor:
    """The student's first half against the teacher. warm: plain mean, with which a short training begins, since the
    hard loss alone starts slowly; after that the hard loss."""
    return torch.nn.functional.mse_loss(local, target) if warm else hard_loss(target, local)


def penalty_loss(local_on_foreign: Tensor) -> Tensor:
    """The student's first half on foreign pictures: pushed to 0, so that it doesn't imitate beyond the product."""
    return local_on_foreign.square().mean()


def autoencoder_loss(target: Tensor, decoded: Tensor) -> Tensor:
    """The autoencoder against the teacher, both on the jittered picture."""
    return torch.nn.functional.mse_loss(decoded, target)


def student_autoencoder_loss(decoded: Tensor, learned: Tensor) -> Tensor:
    """The student's second half against the autoencoder on the jittered picture. Gradient goes to BOTH on purpose: as
    published, the autoencoder's output is not detached."""
    return torch.nn.functional.mse_loss(learned, decoded)
