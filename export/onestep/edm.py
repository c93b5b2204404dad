"""EDM's denoiser, its training loss and its sampler (Karras et al. 2022, arXiv 2206.00364). Knows no network's inside.

Pictures are (N, C, H, W) in [-1, 1], sigma is (N,), the standard deviation of the noise on them. A network F becomes
the denoiser c_skip x + c_out F(c_in x; c_noise), whose input and target have about variance 1 at every sigma (table 1).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

LEAST_SIGMA, MOST_SIGMA, RHO = 0.002, 80.0, 7.0
STEPS = 18
"""Of the sampler, which calls the network 2 * STEPS - 1 times."""
USUAL_SIGMA_DATA = 0.5


class Denoiser(nn.Module):
    """`network`, preconditioned. network: takes scaled noisy pictures, c_noise (N,) and labels (N,) int64 or None.
    sigma_data: standard deviation of the pictures."""

    def __init__(self, network: nn.Module, sigma_data: float) -> None:
        super().__init__()
        self.network, self.sigma_data = network, sigma_data

    def forward(self, noisy: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """The expected clean picture, like `noisy`. sigma > 0."""
        level = spread(sigma, noisy)
        variance = level.square() + self.sigma_data**2
        skip, out = self.sigma_data**2 / variance, level * self.sigma_data / variance.sqrt()
        answer: Tensor = skip * noisy + out * self.network(noisy / variance.sqrt(), sigma.log() / 4, labels)
        return answer


def spread(values: Tensor, like: Tensor) -> Tensor:
    """(N,) as (N, 1, 1, 1)."""
    return values.reshape(-1, *(1 for _ in like.shape[1:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogNormal:
    """How sigma is drawn for training: its logarithm is normal. mean, std: of it, for pictures of standard deviation
    0.5; for others the mean is shifted with their logarithm, so that noise stays as large beside them."""

    mean: float = -1.2
    std: float = 1.2

    def draw(self, count: int, sigma_data: float, generator: torch.Generator) -> Tensor:
        """(count,) float32."""
        shifted = self.mean + float(np.log(sigma_data / USUAL_SIGMA_DATA))
        return (torch.randn(count, generator=generator) * self.std + shifted).exp()


def denoising_loss(
    denoiser: nn.Module, clean: Tensor, sigma: Tensor, noise: Tensor, labels: Tensor | None, *, sigma_data: float
) -> Tensor:
    """(N,): of each picture, the weighted mean squared error; about 1 for an answer that says nothing at any sigma."""
    weight = (sigma.square() + sigma_data**2) / (sigma * sigma_data).square()
    answer: Tensor = denoiser(clean + spread(sigma, clean) * noise, sigma, labels)
    out: Tensor = weight * (answer - clean).square().flatten(1).mean(1)
    return out


def levels(steps: int = STEPS, *, least: float = LEAST_SIGMA, most: float = MOST_SIGMA) -> NDArray[np.float64]:
    """(steps + 1,): from `most` down to `least`, evenly in sigma^(1 / 7), then 0 (equation 5)."""
    along = np.arange(steps) / max(steps - 1, 1)
    root = 1 / RHO
    found: NDArray[np.float64] = (most**root + along * (least**root - most**root)) ** RHO
    return np.append(found, 0.0)


@torch.no_grad()
def sample(
    denoise: Callable[[Tensor, Tensor], Tensor], noise: Tensor, *, steps: int = STEPS, least: float = LEAST_SIGMA,
    most: float = MOST_SIGMA,
    after: Callable[[int, Tensor], None] | None = None,
) -> Tensor:  # fmt: skip
    """Pictures from standard normal noise by Heun's method without churn (algorithm 1), in 2 * steps - 1 calls.

    The state is float64, which the steps near 0 need; the network sees float32. denoise: of noisy pictures and sigma.
    least, most: sigmas that it knows. after: called with each step's number from 1 on and its pictures.
    """
    sigmas = levels(steps, least=least, most=most)
    state = noise.to(torch.float64) * sigmas[0]

    def slope(at: Tensor, sigma: float) -> Tensor:
        full = torch.full((len(at),), sigma, dtype=torch.float32, device=at.device)
        return (at - denoise(at.to(torch.float32), full).to(torch.float64)) / sigma

    for number, (now, then) in enumerate(itertools.pairwise(sigmas), 1):
        first = slope(state, now)
        ahead = state + (then - now) * first
        state = ahead if then == 0 else state + (then - now) * (first + slope(ahead, then)) / 2
        if after is not None:
            after(number, state)
    out: Tensor = state.to(torch.float32)
    return out
