"""Trains a teacher on pictures: EDM's loss, Adam, a running average of the weights. Knows no generator."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_sdk.export.onestep.edm import LogNormal, denoising_loss
from edge_sdk.export.onestep.recipe import TeacherRecipe
from edge_sdk.export.onestep.teacher import NetworkTeacher
from edge_sdk.export.tasks.generation.real import scaled
from edge_sdk.export.training.averaged import AveragedTraining, Pair
from edge_sdk.export.training.device import CPU, Compute
from edge_sdk.export.training.loop import Moment

CODE = "onestep-teacher/1"
"""Bump when older checkpoints can no longer be resumed."""


class Drawing:
    """The random numbers of one step: of seed, process and step alone, so that a resumed run draws what it would have
    drawn, and each process its own."""

    def __init__(self, seed: int, rank: int, step: int, compute: Compute) -> None:
        self.rng = np.random.default_rng([seed, rank, step])
        self.generator = torch.Generator().manual_seed(int(self.rng.integers(2**63)))
        self._compute = compute

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal float32."""
        return torch.randn(shape, generator=self.generator).to(self._compute.device)

    def sigma(self, levels: LogNormal, count: int, sigma_data: float) -> Tensor:
        """(count,)."""
        return levels.draw(count, sigma_data, self.generator).to(self._compute.device)

    def labels(self, shares: NDArray[np.float64], count: int) -> Tensor | None:
        """(count,) int64, as likely as `shares` says; None = there are no classes."""
        if not len(shares):
            return None
        found = self.rng.choice(len(shares), count, p=shares)
        return torch.from_numpy(found.astype(np.int64)).to(self._compute.device)


class TeacherTraining(AveragedTraining[NetworkTeacher]):
    """What one step does (the protocol `Trainable`). pictures: uint8 (N, H, W, C). labels: (N,), None = no classes."""

    def __init__(
        self, teacher: NetworkTeacher, pictures: NDArray[np.uint8], labels: NDArray[np.int64] | None,
        recipe: TeacherRecipe, *, seed: int, rank: int = 0, compute: Compute = CPU,
    ) -> None:  # fmt: skip
        pair = compute.place(Pair(teacher))
        optimizer = torch.optim.Adam(pair.live.parameters(), lr=recipe.rate)
        super().__init__(pair, optimizer, recipe)
        self._pictures, self._labels, self._recipe = pictures, labels, recipe
        self._seed, self._rank, self._compute, self._levels = seed, rank, compute, LogNormal()

    def losses(self, rng: np.random.Generator, now: Moment) -> Mapping[str, Tensor]:
        teacher, recipe = self.begun(now), self._recipe
        draw = Drawing(self._seed, self._rank, now.step, self._compute)
        chosen = draw.rng.integers(len(self._pictures), size=recipe.batch)
        clean = self._compute.tensor(scaled(self._pictures[chosen]))
        labels = None if self._labels is None else self._compute.tensor(self._labels[chosen])
        sigma_data = teacher.facts.sigma_data
        sigma = draw.sigma(self._levels, recipe.batch, sigma_data)
        noise = draw.normal(tuple(clean.shape))
        return {"denoising": denoising_loss(teacher, clean, sigma, noise, labels, sigma_data=sigma_data).mean()}
