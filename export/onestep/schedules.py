"""Noise of a diffusion in discrete steps as sigma, and back. Pure numpy; knows no network and no file.

A step t mixes x_vp = sqrt(abar) x0 + sqrt(1 - abar) n, where abar is the product of all 1 - beta up to t (Ho et al.
2020, arXiv 2006.11239). Divided by sqrt(abar) that is a picture with noise of sigma = sqrt((1 - abar) / abar).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput

BetaSchedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
BETA_SCHEDULES: tuple[BetaSchedule, ...] = ("linear", "scaled_linear", "squaredcos_cap_v2")
MAX_STEPS = 100_000
"""More than any network is trained with."""
_MOST_BETA = 0.999
"""Where the cosine schedule is cut (Nichol and Dhariwal 2021, arXiv 2102.09672)."""

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Betas:
    """steps: how many. start, end: first and last beta of "linear" and "scaled_linear". trained: the betas themselves,
    () = they follow from `schedule`. zero_end: rescaled so that nothing is left of the picture at the last step (Lin et
    al. 2023, arXiv 2305.08891)."""

    steps: int = 1000
    start: float = 1e-4
    end: float = 0.02
    schedule: BetaSchedule = "linear"
    trained: tuple[float, ...] = ()
    zero_end: bool = False

    def values(self) -> Float64:
        """(steps,), as they are before `zero_end`."""
        if self.trained:
            return np.array(self.trained, np.float64)
        if self.schedule == "linear":
            return np.linspace(self.start, self.end, self.steps)
        if self.schedule == "scaled_linear":
            return np.linspace(math.sqrt(self.start), math.sqrt(self.end), self.steps) ** 2
        kept = np.cos((np.arange(self.steps + 1) / self.steps + 0.008) / 1.008 * np.pi / 2) ** 2
        return np.asarray(np.minimum(1.0 - kept[1:] / kept[:-1], _MOST_BETA), np.float64)


def sigmas(betas: Betas, *, where: str = "") -> Float64:
    """The sigma of each step, rising; without a last step that is noise alone. where: of errors. Raises BadInput for
    betas that are no schedule: steps without noise, or after which nothing is left."""
    hint = "State those of the training"
    values = betas.values() if 2 <= betas.steps <= MAX_STEPS else np.zeros(0)
    if len(values) < 2 or len(values) > MAX_STEPS:
        raise BadInput(f"a noise schedule has from 2 to {MAX_STEPS} steps", where=where, hint=hint)
    if not bool(np.all((values > 0.0) & (values < 1.0))):
        raise BadInput("the betas of a noise schedule lie between 0 and 1", where=where, hint=hint)
    kept = np.cumprod(1.0 - values)
    if betas.zero_end:
        root = np.sqrt(kept)
        kept = ((root - root[-1]) * root[0] / (root[0] - root[-1]))[:-1] ** 2
    if not kept[-1] > np.finfo(np.float32).tiny:
        raise BadInput("the noise schedule leaves nothing of a picture before its last step", where=where, hint=hint)
    found: Float64 = np.sqrt((1.0 - kept) / kept)
    return found


def step_at(sigma: Float64, table: Float64) -> Float64:
    """The fractional step with this much noise: linear in ln sigma between the steps of `table`, whose ends hold beyond
    them. sigma: any shape, > 0."""
    found: Float64 = np.interp(np.log(sigma), np.log(table), np.arange(len(table), dtype=np.float64))
    return found
