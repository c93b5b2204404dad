"""EDM's parts against what they must answer for Gaussian pictures, whose best denoiser is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge_sdk.export.onestep.edm import Denoiser, LogNormal, denoising_loss, levels, sample

S = 0.4


class Zero(nn.Module):
    """The network of the best denoiser of N(0, S^2) pictures: all is in c_skip."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, float]] = []

    def forward(self, scaled: Tensor, level: Tensor, labels: Tensor | None) -> Tensor:
        self.seen.append((float(scaled.std()), float(level[0])))
        return torch.zeros_like(scaled)


@pytest.mark.parametrize("sigma", [0.002, 0.1, 0.4, 5.0, 80.0])
def test_a_network_that_says_nothing_shrinks_as_gaussian_pictures_want(sigma: float) -> None:
    network = Zero()
    noisy = torch.randn((512, 1, 8, 8), generator=torch.Generator().manual_seed(0)) * (sigma**2 + S**2) ** 0.5
    found = Denoiser(network, S)(noisy, torch.full((512,), sigma))
    torch.testing.assert_close(found, noisy * S**2 / (S**2 + sigma**2))
    ((spread, level),) = network.seen
    assert spread == pytest.approx(1, abs=0.02)
    assert level == pytest.approx(np.log(sigma) / 4, rel=1e-5)


@pytest.mark.parametrize("sigma", [0.01, 0.4, 20.0])
def test_the_loss_of_such_a_network_is_1_at_every_sigma(sigma: float) -> None:
    generator = torch.Generator().manual_seed(1)
    clean, noise = (torch.randn((2000, 1, 8, 8), generator=generator) for _ in range(2))
    denoiser = Denoiser(Zero(), S)
    found = denoising_loss(denoiser, clean * S, torch.full((2000,), sigma), noise, None, sigma_data=S)
    assert float(found.mean()) == pytest.approx(1, rel=0.02)


def test_the_levels_are_the_published_ones() -> None:
    wanted = [80, 57.59, 40.79, 28.37, 19.35, 12.91, 8.401, 5.315, 3.257, 1.923, 1.088, 0.5853, 0.2964, 0.1395, 0.05995,
              0.02293, 0.007528, 0.002, 0]  # fmt: skip
    np.testing.assert_allclose(levels(), wanted, rtol=5e-4)


def test_the_sampler_draws_gaussian_pictures_of_the_right_spread_in_35_calls() -> None:
    network, steps = Zero(), []
    denoiser = Denoiser(network, S)
    noise = torch.randn((64, 1, 8, 8), generator=torch.Generator().manual_seed(2))
    drawn = sample(denoiser, noise, after=lambda number, state: steps.append(number))
    assert len(network.seen) == 35
    assert steps == list(range(1, 19))
    assert drawn.dtype == torch.float32
    exact = noise * 80 * S / (80**2 + S**2) ** 0.5  # the flow shrinks noise of spread 80 to S
    torch.testing.assert_close(drawn, exact, rtol=0.07, atol=0)
    torch.testing.assert_close(sample(denoiser, noise, steps=300), exact, rtol=1e-3, atol=0)


@pytest.mark.parametrize("sigma_data", [0.25, 0.5, 0.752])
def test_sigma_is_drawn_as_large_beside_the_pictures_whatever_their_spread(sigma_data: float) -> None:
    drawn = LogNormal().draw(100_000, sigma_data, torch.Generator().manual_seed(3)).log()
    assert float(drawn.mean()) == pytest.approx(-1.2 + np.log(sigma_data / 0.5), abs=0.02)
    assert float(drawn.std()) == pytest.approx(1.2, abs=0.02)
