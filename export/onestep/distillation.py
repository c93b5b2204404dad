"""Distils a teacher into a generator of one call, without data: score implicit matching. Knows no UNet.

Luo et al. 2024 (arXiv 2410.16794), algorithm 1. A step trains both networks: the auxiliary one on pictures that the
generator draws, with the loss of a denoiser, and the generator on pictures of its own (the auxiliary network's error on
pictures that it has just seen is another one). Their losses have no parameter in common, so one optimizer with two
groups of rates takes both steps at once; the generator sees the auxiliary network of the step before.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_sdk.export.onestep.edm import RHO, LogNormal, denoising_loss, spread
from edge_sdk.export.onestep.matching import generator_loss
from edge_sdk.export.onestep.recipe import DistillRecipe
from edge_sdk.export.onestep.teacher import TeacherFacts, clone_of
from edge_sdk.export.onestep.teacher_training import Drawing
from edge_sdk.export.training import loop
from edge_sdk.export.training.averaged import Pair
from edge_sdk.export.training.device import CPU, Compute
from edge_sdk.export.training.loop import Moment

CODE = "onestep/1"
"""Bump when older checkpoints can no longer be resumed."""
DECAYS_FROM = 0.5
"""Share of the run from which the rates fall."""


class OneStep(nn.Module):
    """A denoiser called once, at one sigma: standard normal noise (N, C, H, W) to pictures in [-1, 1]."""

    def __init__(self, denoiser: nn.Module, sigma: float) -> None:
        super().__init__()
        self.denoiser, self.sigma = denoiser, sigma

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        sigma = torch.full((len(noise),), self.sigma, device=noise.device)
        out: Tensor = self.denoiser(self.sigma * noise, sigma, labels)
        return out


class Best(nn.Module):
    """The best generator so far. value: its distance from real pictures. since: looks that found none better."""

    value: Tensor
    since: Tensor

    def __init__(self, generator: OneStep) -> None:
        super().__init__()
        self.generator = copy.deepcopy(generator).requires_grad_(False)
        self.register_buffer("value", torch.tensor(float("inf"), dtype=torch.float64))
        self.register_buffer("since", torch.tensor(0))


class Students(nn.Module):
    """What a distillation trains, as checkpoints hold it."""

    def __init__(self, generator: OneStep, auxiliary: nn.Module) -> None:
        super().__init__()
        self.generator, self.auxiliary, self.best = Pair(generator), auxiliary, Best(generator)


class Distillation:
    """What one step does (the protocol `Trainable`). teacher: a `Teacher`; it is frozen. shares: of the classes among
    the labels that are drawn, empty = none."""

    def __init__(
        self, teacher: nn.Module, recipe: DistillRecipe, *, shares: NDArray[np.float64], seed: int, rank: int = 0,
        compute: Compute = CPU,
    ) -> None:  # fmt: skip
        facts = teacher.facts
        assert isinstance(facts, TeacherFacts)
        self._facts, self._recipe, self._shares = facts, recipe, shares
        self._seed, self._rank, self._compute = seed, rank, compute
        self._teacher = compute.place(teacher).eval().requires_grad_(False)
        generator = OneStep(clone_of(teacher), start_of(facts, recipe))
        self._students = compute.place(Students(generator, clone_of(teacher)))
        live = self._students.generator.live
        groups = [
            {"params": list(live.parameters()), "lr": recipe.rate},
            {"params": list(self._students.auxiliary.parameters()), "lr": recipe.auxiliary_rate},
        ]
        self._optimizer = torch.optim.Adam(groups, betas=(recipe.first_beta, 0.999))
        self._matching = recipe.matching.of_size(facts.channels * facts.side**2)

    @property
    def module(self) -> nn.Module:
        return self._students

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self._optimizer

    @property
    def kept(self) -> OneStep:
        """The averaged generator."""
        return self._students.generator.kept

    @property
    def best(self) -> Best:
        """What a monitor keeps."""
        return self._students.best

    @property
    def start(self) -> float:
        """Sigma at which the generator calls its network."""
        return start_of(self._facts, self._recipe)

    @property
    def facts(self) -> TeacherFacts:
        """Of the teacher, and so of the generator."""
        return self._facts

    @torch.no_grad()
    def apart(self) -> float:
        """Median |r| over a batch of noisy pictures, the same noise each time: a sign of health, which settles."""
        draw = Drawing(self._seed, self._rank, 0, self._compute)
        drawn, labels = self._drawn(draw)
        sigma = self._log_normal(draw)
        noisy = drawn + spread(sigma, drawn) * draw.normal(tuple(drawn.shape))
        found = self._students.auxiliary(noisy, sigma, labels) - self._teacher(noisy, sigma, labels)
        return float(found.flatten(1).norm(dim=1).median())

    def rate(self, now: Moment) -> float:
        """Factor on the learning rates."""
        behind = (now.done - DECAYS_FROM) / (1.0 - DECAYS_FROM)
        return loop.cosine(max(behind, 0.0))

    def losses(self, rng: np.random.Generator, now: Moment) -> Mapping[str, Tensor]:
        recipe, pair = self._recipe, self._students.generator
        if now.step:
            pair.follow(recipe.average, step=now.step)
        draw = Drawing(self._seed, self._rank, now.step, self._compute)
        return {"auxiliary": self._auxiliary_loss(draw), "generator": self._generator_loss(draw)}

    def _drawn(self, draw: Drawing) -> tuple[Tensor, Tensor | None]:
        facts = self._facts
        labels = draw.labels(self._shares, self._recipe.batch)
        noise = draw.normal((self._recipe.batch, facts.channels, facts.side, facts.side))
        return self._students.generator.live(noise, labels), labels

    def _auxiliary_loss(self, draw: Drawing) -> Tensor:
        with torch.no_grad():
            drawn, labels = self._drawn(draw)
        sigma = self._log_normal(draw)
        noise = draw.normal(tuple(drawn.shape))
        of = self._facts.sigma_data
        return denoising_loss(self._students.auxiliary, drawn, sigma, noise, labels, sigma_data=of).mean()

    def _generator_loss(self, draw: Drawing) -> Tensor:
        drawn, labels = self._drawn(draw)
        sigma = self._log_normal(draw) if self._recipe.levels == "log-normal" else self._on_grid(draw)
        noise = draw.normal(tuple(drawn.shape))
        return generator_loss(
            self._matching, drawn, sigma, noise, labels, auxiliary=self._students.auxiliary, teacher=self._teacher,
            weighted=self._recipe.weighted,
        ).mean()  # fmt: skip

    def _log_normal(self, draw: Drawing) -> Tensor:
        """Sigmas of the lognormal, as far as the teacher knows them."""
        facts = self._facts
        return draw.sigma(LogNormal(), self._recipe.batch, facts.sigma_data).clamp(facts.least_sigma, facts.most_sigma)

    def _on_grid(self, draw: Drawing) -> Tensor:
        """Evenly in sigma^(1 / 7) up to `most_along` of the way to the largest (SiD)."""
        low, high = (level ** (1 / RHO) for level in (self._facts.least_sigma, self._facts.most_sigma))
        along = draw.rng.random(self._recipe.batch) * self._recipe.most_along
        return self._compute.tensor(((low + along * (high - low)) ** RHO).astype(np.float32))


def start_of(facts: TeacherFacts, recipe: DistillRecipe) -> float:
    """Sigma at which the generator calls its network."""
    return min(recipe.start * facts.sigma_data, facts.most_sigma)
