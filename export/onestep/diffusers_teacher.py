"""A network of diffusers' UNet2DModel as a teacher: its steps of noise as sigma, its predictions as clean pictures.

The class is diffusers' own; the weights are read here, from safetensors. Nothing is fetched, no code of a folder runs.
With sigma the noise of a step, a network sees x / sqrt(1 + sigma^2) and answers the noise, the picture, or the velocity
between both (Salimans and Ho 2022, arXiv 2202.00512): in each case the clean picture is `skip` x + `out` F.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_sdk.errors import BadInput
from edge_sdk.export import tensors_file
from edge_sdk.export.onestep import diffusers_folder, schedules
from edge_sdk.export.onestep.diffusers_folder import DiffusersLayout, Prediction
from edge_sdk.export.onestep.edm import LEAST_SIGMA, MOST_SIGMA, spread
from edge_sdk.export.onestep.teacher import TeacherFacts, filled
from edge_sdk.extras import need, vendor_errors

EXTRA = "diffusers"
_OLD_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
"""Of an attention's weights before diffusers 0.12, in which many published networks are stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Of a denoiser skip x + out F(into x), at some sigmas; Tensors as these, or numbers as these."""

    into: Any
    skip: Any
    out: Any


def parts(prediction: Prediction, sigma: Any) -> Parts:
    """sigma: Tensor, or number."""
    into = (1.0 + sigma**2) ** -0.5
    if prediction == "epsilon":
        return Parts(into=into, skip=1.0, out=-sigma)
    if prediction == "v_prediction":
        return Parts(into=into, skip=into**2, out=-sigma * into)
    return Parts(into=into, skip=0.0, out=1.0)


class DiffusersTeacher(nn.Module):
    """`network`, with its steps as sigma. network: diffusers' UNet2DModel, or what is called as one. facts: of its
    pictures, sigma as far as its schedule reaches."""

    def __init__(self, network: nn.Module, layout: DiffusersLayout, facts: TeacherFacts) -> None:
        super().__init__()
        self.network, self.layout, self.facts = network, layout, facts
        self.table = schedules.sigmas(layout.betas)

    def forward(self, noisy: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """The expected clean picture, like `noisy`, in [-1, 1]. Sigma beyond the schedule meets its nearest step."""
        if not self.layout.from_zero:
            return self._of_range(noisy, sigma, labels)
        # The network knows pictures in [0, 1], in which the noise is half as large.
        return 2.0 * self._of_range((noisy + 1.0) / 2.0, sigma / 2.0, labels) - 1.0

    def _of_range(self, noisy: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        """In the range of the network's own pictures."""
        found = parts(self.layout.prediction, spread(sigma, noisy))
        answer = self.answered(found.into * noisy, self.steps(sigma), labels)
        out: Tensor = found.skip * noisy + found.out * answer
        return out

    def steps(self, sigma: Tensor) -> Tensor:
        """(N,) float32: fractional steps. sigma: (N,) in the range of the network's own pictures."""
        levels = sigma.detach().to("cpu", torch.float64).numpy()
        return torch.from_numpy(schedules.step_at(levels, self.table).astype(np.float32)).to(sigma.device)

    def answered(self, scaled: Tensor, steps: Tensor, labels: Tensor | None) -> Tensor:
        """What the network predicts; a variance that it learned besides is left out."""
        found: Tensor = self.network(scaled, steps, labels, return_dict=False)[0]
        return found[:, : self.facts.channels]


def read(path: Path, *, sigma_data: float) -> DiffusersTeacher:
    """The denoiser of a folder, in evaluation mode. sigma_data: of its pictures, which no file says. Raises BadInput:
    another network, weights of other names or shapes, or not finite; NotThere without diffusers."""
    layout, weights = diffusers_folder.read(path)
    found = {_new_name(name): tensor for name, tensor in tensors_file.weights_of(weights).items()}
    made = empty(layout, facts_of(layout, sigma_data), where=str(path))
    if wrong := tensors_file.misfit(found, made.network.state_dict()):
        raise BadInput(
            f"the weights are not of the network that config.json states: {wrong}", where=str(weights),
            hint="Load the network with the diffusers that made it, and save it again",
        )  # fmt: skip
    return filled(made, found)


def facts_of(layout: DiffusersLayout, sigma_data: float) -> TeacherFacts:
    """Sigma from the schedule, as far as EDM's range goes. Raises BadInput where the two have nothing in common."""
    table = schedules.sigmas(layout.betas) * (2.0 if layout.from_zero else 1.0)
    least, most = max(float(table[0]), LEAST_SIGMA), min(float(table[-1]), MOST_SIGMA)
    if least >= most:
        raise BadInput(
            f"its noise goes from sigma {table[0]:.3g} to {table[-1]:.3g}, which teaches nothing between "
            f"{LEAST_SIGMA:g} and {MOST_SIGMA:g}", where=diffusers_folder.SCHEDULER, hint="State that of the training",
        )  # fmt: skip
    return TeacherFacts(
        channels=layout.channels, side=layout.side, classes=layout.classes, sigma_data=sigma_data, least_sigma=least,
        most_sigma=most,
    )  # fmt: skip


def empty(layout: DiffusersLayout, facts: TeacherFacts, *, where: str) -> DiffusersTeacher:
    """Without weights, on torch's device "meta", so that no size that a file claims takes memory. Raises NotThere
    without diffusers, BadInput where it refuses the network's arguments."""
    diffusers = need("diffusers", extra=EXTRA)
    hint = f"It is diffusers {diffusers.__version__}: a newer one may know this network"
    with vendor_errors("diffusers", where=where, hint=hint), torch.device("meta"):
        network = diffusers.UNet2DModel(**layout.config)
    return DiffusersTeacher(network, layout, facts)


def _new_name(name: str) -> str:
    for old, new in _OLD_NAMES.items():
        if ".attentions." in name:
            name = name.replace(old, new)
    return name
