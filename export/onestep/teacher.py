"""What any denoiser must offer to teach a one-step generator, and how one is checked. Knows no network's inside."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.onestep.edm import Denoiser, spread


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherFacts:
    """channels, side: of its pictures, px. classes: 0 = it takes no labels. sigma_data: standard deviation of its
    pictures in [-1, 1]. least_sigma, most_sigma: noise that it knows."""

    channels: int
    side: int
    classes: int
    sigma_data: float
    least_sigma: float = 0.002
    most_sigma: float = 80.0


@runtime_checkable
class Teacher(Protocol):
    """A denoiser of pictures in [-1, 1] that can be differentiated in them. It is an `nn.Module`, so that copies of it
    can be trained: generator and auxiliary network begin as such."""

    @property
    def facts(self) -> TeacherFacts: ...
    def __call__(self, noisy: Tensor, sigma: Tensor, labels: Tensor | None = None, /) -> Tensor:
        """The expected clean picture. noisy: (N, C, H, W). sigma: (N,). labels: (N,) int64."""


def clone_of(teacher: nn.Module) -> nn.Module:
    """A copy to be trained. Raises BadUsage where it shares weights with the teacher."""
    made = copy.deepcopy(teacher).requires_grad_(True)
    own = {one.data_ptr() for one in teacher.parameters()}
    if any(one.data_ptr() in own for one in made.parameters()):
        raise BadUsage(
            "a copy of this teacher shares weights with it: training the copy would change the teacher",
            hint="Let its __deepcopy__ copy the weights",
        )
    return made


Net = TypeVar("Net", bound=nn.Module)


def filled(net: Net, weights: Mapping[str, Tensor]) -> Net:
    """A denoiser whose `network` was made without weights, on torch's device "meta", with weights that fit it; in
    evaluation mode."""
    network = net.network
    assert isinstance(network, nn.Module)
    network.to_empty(device="cpu").load_state_dict(weights)
    return net.eval()


_TRIED = (0.1, 1.0, 10.0)


def check(teacher: nn.Module, *, where: str) -> None:
    """Tries a teacher on noise at several sigmas: shape, finite numbers, and a gradient with respect to the pictures.
    Raises BadInput that says what does not hold."""
    facts = teacher.facts
    assert isinstance(facts, TeacherFacts)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((2, facts.channels, facts.side, facts.side), generator=generator)
    labels = torch.tensor([0, facts.classes - 1]) if facts.classes else None
    levels = sorted({facts.least_sigma, facts.most_sigma, *_inside(_TRIED, facts)})
    for level in levels:
        sigma = torch.full((2,), level)
        noisy = (spread(sigma, noise) * noise).requires_grad_(True)
        answer = teacher(noisy, sigma, labels)
        if answer.shape != noisy.shape:
            raise BadInput(
                f"the teacher answers {tuple(answer.shape)} to pictures of {tuple(noisy.shape)}",
                where=where,
                hint="A denoiser answers one clean picture for each noisy one",
            )
        if not bool(torch.isfinite(answer).all()):
            raise BadInput(
                f"the teacher answers NaN or infinity at sigma {level:g}",
                where=where,
                hint="Its weights are damaged, or it does not know this noise level",
            )
        found = torch.autograd.grad(answer.sum(), noisy, allow_unused=True)[0] if answer.requires_grad else None
        if found is None or not bool(torch.isfinite(found).all()) or not bool(found.abs().sum() > 0):
            raise BadInput(
                f"the teacher has no gradient with respect to its pictures at sigma {level:g}",
                where=where,
                hint="Remove no_grad, detach, numpy and rounding from its forward: score matching differentiates "
                "through its input",
            )
        moved = float((answer - noisy).detach().abs().max())
        if level == facts.least_sigma and moved > _CLOSE:
            raise BadInput(
                f"at sigma {level:g} the teacher moves pictures by up to {moved:.2f}",
                where=where,
                hint="Next to no noise, a denoiser answers what it is given: is its range, its noise schedule or its "
                "prediction type another one?",
            )


_CLOSE = 0.2
"""In pictures of [-1, 1]: how far an answer may be from a picture with next to no noise."""


def _inside(levels: Iterable[float], facts: TeacherFacts) -> list[float]:
    return [level for level in levels if facts.least_sigma < level < facts.most_sigma]


class NetworkTeacher(Denoiser):
    """A network with EDM's preconditioning, and the facts of its pictures."""

    def __init__(self, network: nn.Module, facts: TeacherFacts) -> None:
        super().__init__(network, facts.sigma_data)
        self.facts = facts
