"""A network in training and the running average of its weights, which is the one that is kept. Knows no network and no
loss."""

from __future__ import annotations

import copy
from typing import Generic, Protocol, TypeVar

import torch
from torch import nn

from edge_sdk.export.training import loop
from edge_sdk.export.training.loop import Moment

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


class Schedule(Protocol):
    """What a recipe states for `AveragedTraining`. average: share of the kept weights that stays at each step.
    warm_steps: over which the rates rise. still_from: share of the run from which norms keep their statistics."""

    @property
    def average(self) -> float: ...
    @property
    def warm_steps(self) -> int: ...
    @property
    def still_from(self) -> float: ...


class AveragedTraining(Generic[M]):
    """The part of `Trainable` that trainings of this family share; a training adds `losses`."""

    def __init__(self, pair: Pair[M], optimizer: torch.optim.Optimizer, schedule: Schedule) -> None:
        self._pair, self._optimizer, self._schedule = pair, optimizer, schedule

    @property
    def module(self) -> nn.Module:
        """Both networks, as checkpoints hold them."""
        return self._pair

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self._optimizer

    @property
    def kept(self) -> M:
        """The averaged network."""
        return self._pair.kept

    def rate(self, now: Moment) -> float:
        """Factor on the learning rates: a rise, then a cosine."""
        return loop.cosine(now.done) * min(1.0, (now.step + 1) / self._schedule.warm_steps)

    def begun(self, now: Moment) -> M:
        """The network to train in this step, in its mode; the average takes in the step before."""
        if now.step:
            self._pair.follow(self._schedule.average, step=now.step)
        self._pair.kept.eval()
        live = self._pair.live
        live.train(now.done < self._schedule.still_from)
        return live
