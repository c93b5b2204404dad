"""A network in training and the running average of its weights, which is the one that is kept. Knows no network."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class Pair(nn.Module, Generic[M]):
    """live: trained. kept: its running average. The two names are in checkpoints."""

    live: M
    kept: M

    def __init__(self, live: M) -> None:
        super().__init__()
        self.live, self.kept = live, copy.deepcopy(live)
        self.kept.requires_grad_(False)

    @torch.no_grad()
    def follow(self, average: float, *, step: int) -> None:
        """Move the average towards the weights, before the step of this number; buffers are copied. average: share that
        stays; less in a run's first steps, whose weights are those of no network worth keeping."""
        share = min(average, (1.0 + step) / (10.0 + step))
        for kept, live in zip(self.kept.parameters(), self.live.parameters(), strict=True):
            kept.lerp_(live, 1.0 - share)
        for stays, moves in zip(self.kept.buffers(), self.live.buffers(), strict=True):
            stays.copy_(moves)
