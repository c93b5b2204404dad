"""A teacher's sampler on a runtime: its network as a graph, called 35 times a picture. What one call is held against.

On the device nobody samples like this: it is here so that the teacher's pictures and time come from the same runtime as
the generator's. All that depends on sigma is a table in the graph, so that the comparison flatters the teacher.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_sdk.export.onestep.edm import STEPS, levels, sample
from edge_sdk.export.onestep.graph import ANSWER, ROW, SCALED, levels_graph
from edge_sdk.export.onestep.teacher import NetworkTeacher, TeacherFacts
from edge_sdk.export.onestep.unet import UNet
from edge_sdk.export.tasks.generation.real import pictures_of
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions, Session
from edge_sdk.tensors import BATCH

MOST_ROWS = 64


@dataclass(frozen=True, slots=True, eq=False)
class SampledOn:
    """Draws by the sampler. session: of `levels_graph` at the sampler's sigmas. steps: of Heun's method."""

    session: Session
    facts: TeacherFacts
    steps: int = STEPS

    @property
    def calls(self) -> int:
        """Of the network, for one picture."""
        return 2 * self.steps - 1

    def draw(self, noise: NDArray[np.float32], labels: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
        """uint8 (N, H, W, C) of standard normal noise (N, C, H, W), N up to MOST_ROWS. labels: (N,)."""
        rows = max(self.facts.classes, 1)
        places = {np.float32(sigma): place for place, sigma in enumerate(_levels(self.facts, self.steps))}

        def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
            at = np.float32(sigma[0])
            variance = float(at) ** 2 + self.facts.sigma_data**2
            row = np.full(len(noisy), places[at] * rows, np.int64) + (0 if labels is None else labels)
            scaled = noisy.numpy() * np.float32(1.0 / np.sqrt(variance))
            answer = torch.from_numpy(self.session.run({SCALED: scaled, ROW: row})[ANSWER])
            out: Tensor = self.facts.sigma_data**2 / variance * noisy
            out += float(at) * self.facts.sigma_data / variance**0.5 * answer
            return out

        drawn = sample(
            denoise, torch.from_numpy(noise), steps=self.steps, least=self.facts.least_sigma, most=self.facts.most_sigma
        )
        return pictures_of(drawn.numpy())


def sampled_on(teacher: NetworkTeacher, runtime: str, *, threads: int | None = None, steps: int = STEPS) -> SampledOn:
    """A teacher with a network of ours, on the runtime of that name. Raises NotThere."""
    network = teacher.network
    assert isinstance(network, UNet)
    graph = levels_graph(network, [float(sigma) for sigma in _levels(teacher.facts, steps)])
    options = CompileOptions(graph_name="teacher", threads=threads, axes={BATCH: MOST_ROWS})
    return SampledOn(registry.runtime(runtime).compile(graph, options), teacher.facts, steps)


def _levels(facts: TeacherFacts, steps: int) -> NDArray[np.float64]:
    """The sampler's sigmas without the 0 at the end, at which nothing is called."""
    return levels(steps, least=facts.least_sigma, most=facts.most_sigma)[:-1]
