"""How teachers and one-step generators are trained: numbers alone. Imports no training framework."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from edge_sdk.errors import BadUsage

Kind = Literal["pseudo-huber", "l2", "sid", "diff-instruct"]
KINDS: tuple[Kind, ...] = ("pseudo-huber", "l2", "sid", "diff-instruct")
Levels = Literal["log-normal", "grid"]
LEVELS: tuple[Levels, ...] = ("log-normal", "grid")
C_OF_A_PIXEL = 0.0375
"""Of pseudo-Huber's c, times the root of a picture's numbers: 0.3 for 8 x 8 digits, whose |r| has about that median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """Which loss. kind: see `KINDS`. c: of pseudo-Huber, in denoiser units: |r| from which a picture's pull stops to
    grow; None = `C_OF_A_PIXEL` for the size at hand. alpha: of SiD (Zhou et al. 2024, arXiv 2404.04057); 1 is half of
    L2."""

    kind: Kind = "pseudo-huber"
    c: float | None = None
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadUsage(f"unknown loss {self.kind!r}"[:100], hint=f"Known are {', '.join(KINDS)}")
        if self.c is not None and not 0.0 < self.c < float("inf"):
            raise BadUsage(f"c is a size of pictures' differences, above 0, not {self.c}")
        if not -10.0 <= self.alpha <= 10.0:
            raise BadUsage(f"alpha lies between -10 and 10, not {self.alpha}")

    def of_size(self, numbers: int) -> Matching:
        """The same with its c stated. numbers: of one picture, pixels times channels."""
        return self if self.c is not None else replace(self, c=C_OF_A_PIXEL * math.sqrt(numbers))


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherRecipe:
    """batch: pictures a step, of each process. rate: of Adam, at the start of the cosine. average: of the weights that
    are kept, per step.."""

    batch: int = 128
    rate: float = 1e-3
    warm_steps: int = 500
    average: float = 0.998
    still_from: float = 1.0  # these networks keep no statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillRecipe:
    """batch: pictures a step, of each process. rate, auxiliary_rate: of Adam; constant for half of the run, then half a
    cosine. first_beta: of Adam; with 0.9 the auxiliary network lags behind the generator. average: of the generator's
    weights that are kept, per step. start: sigma at which the generator calls its network, in sigma_data. levels: how
    the generator's sigma is drawn; most_along: of the grid, the share up to which. weighted: by SiD's normalizer."""

    matching: Matching = field(default_factory=Matching)
    batch: int = 64
    rate: float = 2e-4
    auxiliary_rate: float = 4e-4
    first_beta: float = 0.0
    average: float = 0.999
    warm_steps: int = 1
    still_from: float = 1.0
    start: float = 5.0
    levels: Levels = "log-normal"
    most_along: float = 0.8
    weighted: bool = True

    def at(self, rate: float) -> DistillRecipe:
        """The same at another rate; the auxiliary network's stays in proportion."""
        return replace(self, rate=rate, auxiliary_rate=self.auxiliary_rate * rate / self.rate)

    def of_batch(self, batch: int) -> DistillRecipe:
        """The same with other batches."""
        return replace(self, batch=batch)
