"""Looks at a distillation from time to time: distance of features, coverage, classes; keeps the best generator.

Never by the generator's loss: it is signed, lies about zero at the optimum, and has no minimum to watch. Knows the
measures of the task; draws with the averaged weights and the same noise each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_sdk.export.onestep.distillation import Distillation
from edge_sdk.export.tasks.generation.real import FRECHET, Real, pictures_of
from edge_sdk.export.training.checkpoint import Position
from edge_sdk.export.training.device import array
from edge_sdk.export.training.loop import Seen
from edge_sdk.tasks.generation.noise import noise

SEED = 2**63
"""Of the noise that is looked at: far from seeds that anybody gives."""
APART = 0.3
"""How far a class may be from its share among the real pictures."""
_BATCH = 256


@torch.no_grad()
def drawn_by(
    draw: Callable[[Tensor, Tensor | None], Tensor], count: int, shape: tuple[int, ...], classes: int, *,
    seed: int = SEED, device: torch.device | None = None,
) -> NDArray[np.uint8]:  # fmt: skip
    """uint8 (count, H, W, C): pictures 0 to count - 1 of `seed`, the classes in turn."""
    parts = []
    for at in range(0, count, _BATCH):
        rows = range(at, min(at + _BATCH, count))
        start = torch.from_numpy(noise(seed, rows, shape)).to(device)
        labels = torch.tensor([row % classes for row in rows], device=device) if classes else None
        parts.append(pictures_of(array(draw(start, labels)).astype(np.float32)))
    return np.concatenate(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Monitor:
    """What `loop.run` calls as its watch. patience: looks without a better one that end the run, None = it goes on."""

    lesson: Distillation
    real: Real
    every: int
    count: int = 5000
    patience: int | None = 10

    @torch.no_grad()
    def look(self, position: Position) -> Seen:
        kept, best = self.lesson.kept.eval(), self.lesson.best
        facts = self.lesson.facts
        shape = (facts.channels, facts.side, facts.side)
        device = next(kept.parameters()).device
        found = self.real.of(drawn_by(kept, self.count, shape, facts.classes, device=device))
        found["apart"] = self.lesson.apart()
        best.since += 1
        even = max(1.0 - found.get("least_class", 1.0), found.get("most_class", 1.0) - 1.0) <= APART
        if even and found[FRECHET] < float(best.value):
            best.value.fill_(found[FRECHET])
            best.since.fill_(0)
            best.generator.load_state_dict(kept.state_dict())
        enough = self.patience is not None and int(best.since) >= self.patience
        return Seen(values=found, enough=enough)
