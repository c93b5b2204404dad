"""Losses of a one-step generator against a teacher: score implicit matching and its relatives. Knows no network.

Luo et al. 2024 (arXiv 2410.16794), section 3, in denoiser units. T is the teacher's denoiser, A the auxiliary one,
which learns what the generator draws; x0 is a drawn picture, xt = x0 + sigma n, r = A(xt) - T(xt). The gradient of a
divergence between the scores is that of d'(r) . (x0 - A(xt)), taken through the samples alone: through x0, and through
xt where it goes into both networks, whose parameters are constants. Nothing is detached in here, except for
Diff-Instruct, whose gradient has no such part: detaching any one of them trains, and trains something else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from edge_sdk.export.onestep.recipe import Matching


class Denoiser(Protocol):
    """Answers the expected clean picture of a noisy one, and can be differentiated in it."""

    def __call__(self, noisy: Tensor, sigma: Tensor, labels: Tensor | None, /) -> Tensor:
        """noisy: (N, C, H, W). sigma: (N,), > 0. labels: (N,) int64 of classes, None = there are none."""


def loss(matching: Matching, drawn: Tensor, auxiliary: Tensor, teacher: Tensor) -> Tensor:
    """(N,): of each picture, before its weight. All three are (N, C, H, W): what was drawn, A and T of it with noise.

    It may be negative, and is about 0 at the optimum: no measure of quality.
    """
    c = matching.of_size(drawn[0].numel()).c
    assert c is not None
    x0, fake, real = (one.flatten(1) for one in (drawn, auxiliary, teacher))
    apart = fake - real
    match matching.kind:
        case "pseudo-huber":
            return (apart * (x0 - fake)).sum(1) / (apart.square().sum(1) + c**2).sqrt()
        case "l2":
            return 2.0 * (apart * (x0 - fake)).sum(1)
        case "sid":
            return (apart * (x0 - fake)).sum(1) + (1.0 - matching.alpha) * apart.square().sum(1)
        case "diff-instruct":
            return (apart.detach() * x0).sum(1)


def weight(drawn: Tensor, teacher: Tensor) -> Tensor:
    """(N,): 1 / the mean absolute difference of what was drawn and what the teacher makes of it; a constant.

    It makes an update about as large at every sigma (SiD's normalizer)."""
    return 1.0 / (drawn - teacher).detach().abs().flatten(1).mean(1).clamp(min=1e-5)


def generator_loss(
    matching: Matching, drawn: Tensor, sigma: Tensor, noise: Tensor, labels: Tensor | None, *, auxiliary: nn.Module,
    teacher: nn.Module, weighted: bool = True,
) -> Tensor:  # fmt: skip
    """(N,): the generator's loss for pictures that it drew. sigma: (N,). noise: like `drawn`, standard normal.

    The parameters of both networks get no gradient; what is drawn gets one through their inputs.
    """
    noisy = drawn + sigma.reshape(-1, *(1 for _ in drawn.shape[1:])) * noise
    with (
        frozen(auxiliary, teacher),
        torch.set_grad_enabled(matching.kind != "diff-instruct" and torch.is_grad_enabled()),
    ):
        fake, real = (network(noisy, sigma, labels) for network in (auxiliary, teacher))
    each = loss(matching, drawn, fake, real)
    return each * weight(drawn, real) if weighted else each


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Parameters are constants meanwhile. They are as they were afterwards."""
    parameters = [one for network in networks for one in network.parameters()]
    before = [one.requires_grad for one in parameters]
    try:
        for one in parameters:
            one.requires_grad_(False)
        yield
    finally:
        for one, wanted in zip(parameters, before, strict=True):
            one.requires_grad_(wanted)
