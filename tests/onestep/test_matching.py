"""The gradient of the generator's loss against closed forms: Gaussian data, linear denoisers, one sigma.

Data N(0, s^2 I), a generator x0 = a z. The best denoisers are T(x) = k_s x and A(x) = k_a x, with
k_b = b^2 / (b^2 + sigma^2). With v = a^2 + sigma^2, u = k_a - k_s and k' = 2 a sigma^2 / v^2, the gradient of the
divergence in a is u k' E[v q / sqrt(u^2 v q + c^2)], q chi-square with n degrees of freedom; with L2, 2 u k' n v.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import integrate, stats
from torch import Tensor, nn

from edge_sdk.export.onestep import matching
from edge_sdk.export.onestep.matching import Matching, generator_loss

DRAWS = 200_000
CASES = {
    "A": (4, 1.5, 1.0, 0.8, 0.3), "B": (16, 0.6, 1.0, 0.5, 0.1), "C": (64, 0.5, 0.75, 1.0, 0.5),
    "D": (9, 1.1, 0.7, 1.3, 0.2),
}  # fmt: skip
"""n, a, s, sigma, c."""
WRONG: dict[str, Callable[[float, float], float]] = {
    "input": lambda v, sigma: v / (2 * sigma**2),
    "d'": lambda v, sigma: 0.5,
    "answer": lambda v, sigma: 0.5 + v / (2 * sigma**2),
}
"""By what is detached, the ratio to the true gradient of any radial distance."""


class Linear(nn.Module):
    """A denoiser that multiplies by a matrix, or by a number."""

    def __init__(self, factor: NDArray[np.float64] | float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.as_tensor(factor, dtype=torch.float64))

    def forward(self, noisy: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        flat = noisy.flatten(1)
        out = flat @ self.factor.T if self.factor.ndim else flat * self.factor
        return out.reshape(noisy.shape)


def shrink(b: float, sigma: float) -> float:
    return b**2 / (b**2 + sigma**2)


def truth(kind: str, n: int, a: float, s: float, sigma: float, c: float) -> float:
    v, u = a**2 + sigma**2, shrink(a, sigma) - shrink(s, sigma)
    slope = 2 * a * sigma**2 / v**2
    if kind == "l2":
        return 2 * u * slope * n * v
    law = stats.chi2(n)
    pull = integrate.quad(lambda q: law.pdf(q) * v * q / np.sqrt(u**2 * v * q + c**2), 0, law.ppf(1 - 1e-13), limit=400)
    return float(u * slope * pull[0])


def estimate(kind: str, n: int, a: float, s: float, sigma: float, c: float, draws: int = DRAWS) -> float:
    """By autograd through the product's own loss."""
    generator = torch.Generator().manual_seed(1)
    scale = torch.tensor(a, dtype=torch.float64, requires_grad=True)
    shape = (draws, 1, 1, n)
    z, noise = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    networks = {"auxiliary": Linear(shrink(a, sigma)), "teacher": Linear(shrink(s, sigma))}
    sigmas = torch.full((draws,), sigma, dtype=torch.float64)
    each = generator_loss(Matching(kind=kind, c=c), scale * z, sigmas, noise, None, weighted=False, **networks)
    each.mean().backward()
    assert [one.grad for network in networks.values() for one in network.parameters()] == [None, None]
    assert all(one.requires_grad for network in networks.values() for one in network.parameters())
    assert scale.grad is not None
    return float(scale.grad)


@pytest.mark.parametrize("kind", ["pseudo-huber", "l2"])
@pytest.mark.parametrize("case", list(CASES))
def test_the_gradient_is_that_of_the_divergence(case: str, kind: str) -> None:
    n, a, s, sigma, c = CASES[case]
    assert estimate(kind, *CASES[case]) == pytest.approx(truth(kind, n, a, s, sigma, c), rel=0.01)


def test_the_truth_of_case_a_is_the_known_one() -> None:
    assert truth("pseudo-huber", *CASES["A"]) == pytest.approx(0.640892424, rel=1e-8)
    assert truth("l2", *CASES["A"]) == pytest.approx(0.897101678, rel=1e-8)


@pytest.mark.parametrize("kind", ["pseudo-huber", "l2"])
@pytest.mark.parametrize("what", list(WRONG))
def test_a_detach_anywhere_is_seen_and_is_off_by_its_known_factor(
    what: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the test above fails where one is put into the loss."""
    if what == "input":
        forward = Linear.forward
        monkeypatch.setattr(Linear, "forward", lambda self, x, sigma, labels: forward(self, x.detach(), sigma, labels))
    else:
        monkeypatch.setattr(matching, "loss", detached(what))
    n, a, s, sigma, c = CASES["A"]
    wrong = truth(kind, n, a, s, sigma, c) * WRONG[what](a**2 + sigma**2, sigma)
    assert estimate(kind, *CASES["A"]) == pytest.approx(wrong, rel=0.01)


def detached(what: str) -> Callable[[Matching, Tensor, Tensor, Tensor], Tensor]:
    def loss(chosen: Matching, drawn: Tensor, auxiliary: Tensor, teacher: Tensor) -> Tensor:
        x0, fake, real = (one.flatten(1) for one in (drawn, auxiliary, teacher))
        apart = fake - real
        size = (apart.square().sum(1, keepdim=True) + chosen.c**2).sqrt()
        pull = 2 * apart if chosen.kind == "l2" else apart / size
        return ((pull.detach() if what == "d'" else pull) * (x0 - (fake.detach() if what == "answer" else fake))).sum(1)

    return loss


def test_the_norm_inside_pseudo_huber_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """1.098 times the truth in case A where it is a constant."""

    def loss(chosen: Matching, drawn: Tensor, auxiliary: Tensor, teacher: Tensor) -> Tensor:
        x0, fake, real = (one.flatten(1) for one in (drawn, auxiliary, teacher))
        apart = fake - real
        size = (apart.square().sum(1, keepdim=True) + chosen.c**2).sqrt().detach()
        return (apart / size * (x0 - fake)).sum(1)

    monkeypatch.setattr(matching, "loss", loss)
    right = truth("pseudo-huber", *CASES["A"])
    assert estimate("pseudo-huber", *CASES["A"]) == pytest.approx(1.098 * right, rel=0.01)


@pytest.mark.parametrize("kind", ["pseudo-huber", "l2"])
def test_a_matrix_of_parameters_gets_the_right_direction_as_well(kind: str) -> None:
    """Data of covariance S, x0 = M z: with V = M M' + sigma^2 I, R = A - T, W = E[x x' / sqrt(|R x|^2 + c^2)] (2 V for
    L2) and P = sigma^2 V^-1 W R' V^-1, the gradient is P' M + P M."""
    spread, mixing = np.array([[1.0, 0.6], [0.6, 0.8]]), np.array([[0.9, -0.3], [0.5, 0.7]])
    sigma, c, eye = 0.7, 0.2, np.eye(2)
    v = mixing @ mixing.T + sigma**2 * eye
    fake, real = mixing @ mixing.T @ np.linalg.inv(v), spread @ np.linalg.inv(spread + sigma**2 * eye)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2_000_000, 2)) @ np.linalg.cholesky(v).T
    size = np.sqrt(np.square(x @ (fake - real).T).sum(1) + c**2)
    w = 2 * v if kind == "l2" else (x / size[:, None]).T @ x / len(x)
    p = sigma**2 * np.linalg.inv(v) @ w @ (fake - real).T @ np.linalg.inv(v)
    wanted = p.T @ mixing + p @ mixing

    generator = torch.Generator().manual_seed(1)
    z, noise = (torch.randn((DRAWS, 1, 1, 2), generator=generator, dtype=torch.float64) for _ in range(2))
    parameter = torch.tensor(mixing, requires_grad=True)
    drawn = (z.flatten(1) @ parameter.T).reshape(z.shape)
    sigmas = torch.full((DRAWS,), sigma, dtype=torch.float64)
    chosen = Matching(kind=kind, c=c)
    each = generator_loss(
        chosen, drawn, sigmas, noise, None, auxiliary=Linear(fake), teacher=Linear(real), weighted=False
    )
    each.mean().backward()
    assert parameter.grad is not None
    assert np.linalg.norm(parameter.grad.numpy() - wanted) < 0.02 * np.linalg.norm(wanted)


@pytest.mark.parametrize(("alpha", "wanted"), [(1.0, 0.4486), (0.5, 0.6195), (1.2, 0.3802)])
def test_sids_alpha_moves_between_the_divergence_and_the_total_derivative(alpha: float, wanted: float) -> None:
    n, a, s, sigma, _ = CASES["A"]
    u = shrink(a, sigma) - shrink(s, sigma)
    half = truth("l2", *CASES["A"]) / 2
    assert half + (1 - alpha) * 2 * a * n * u**2 == pytest.approx(wanted, abs=1e-4)
    generator = torch.Generator().manual_seed(1)
    scale = torch.tensor(a, dtype=torch.float64, requires_grad=True)
    z, noise = (torch.randn((DRAWS, 1, 1, n), generator=generator, dtype=torch.float64) for _ in range(2))
    each = generator_loss(
        Matching(kind="sid", alpha=alpha), scale * z, torch.full((DRAWS,), sigma, dtype=torch.float64), noise, None,
        auxiliary=Linear(shrink(a, sigma)), teacher=Linear(shrink(s, sigma)), weighted=False,
    )  # fmt: skip
    each.mean().backward()
    assert scale.grad is not None
    assert float(scale.grad) == pytest.approx(wanted, rel=0.01)


def test_diff_instruct_differentiates_no_network() -> None:
    asked: list[bool] = []

    class Asked(Linear):
        def forward(self, noisy: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
            asked.append(torch.is_grad_enabled())
            return super().forward(noisy, sigma, labels)

    drawn = torch.ones((2, 1, 2, 2), dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor([0.5, 1.0], dtype=torch.float64)
    each = generator_loss(
        Matching(kind="diff-instruct"), drawn, sigma, torch.zeros_like(drawn), None, auxiliary=Asked(0.75),
        teacher=Asked(0.5), weighted=False,
    )  # fmt: skip
    each.sum().backward()
    assert asked == [False, False]
    assert drawn.grad is not None
    np.testing.assert_allclose(drawn.grad.numpy(), 0.25)
