"""Golden samples: what a bundle promises, held against what a compiled graph answers. Knows no task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_sdk.bundle.manifest import GoldenSample, Graph
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadBundle
from edge_sdk.runtimes.protocol import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCheck:
    """One output of one golden sample on one session. worst: max |got - golden|; allowed: the manifest's bound."""

    sample: int
    output: str
    worst: float
    allowed: float
    relative: float

    @property
    def passed(self) -> bool:
        return self.worst <= self.allowed  # False for NaN, on purpose


def golden_tensor(bundle: Bundle, sample: GoldenSample) -> NDArray[np.uint8]:
    """The network input (1, h, w, 3) that the sample's picture must become."""
    return np.frombuffer(bundle.read(sample.tensor), np.uint8).reshape(sample.tensor_shape)


def golden_outputs(bundle: Bundle, sample: GoldenSample, graph: Graph) -> dict[str, NDArray[np.float32]]:
    """What `graph` must answer to the sample's tensor."""
    members = sample.outputs.get(graph.name)
    if members is None:
        raise BadBundle(f"a golden sample has no outputs for graph {graph.name}", where=str(bundle.path))
    return {
        name: np.frombuffer(bundle.read(member), "<f4").reshape(sample.output_shapes[name]).astype(np.float32)
        for name, member in members.items()
    }


def golden_scales(bundle: Bundle, graph: Graph) -> dict[str, float]:
    """Per output the largest magnitude in any golden sample: what a tolerance is relative to. A good part's map is
    nearly flat, and a share of it would be less than one quantization step."""
    scales: dict[str, float] = {}
    for sample in bundle.manifest.golden:
        for name, value in golden_outputs(bundle, sample, graph).items():
            scales[name] = max(scales.get(name, 0.0), float(np.abs(value).max(initial=0.0)))
    return scales


@dataclass(frozen=True, slots=True)
class Judge:
    """Holds outputs of one graph against its golden samples."""

    bundle: Bundle
    graph: Graph
    scales: dict[str, float]

    @classmethod
    def of(cls, bundle: Bundle, graph: Graph) -> Judge:
        """Reads the scales once."""
        return cls(bundle, graph, golden_scales(bundle, graph))

    def compare(
        self, index: int, got: dict[str, NDArray[np.float32]], *, position: int | None = None
    ) -> list[OutputCheck]:
        """Every output of sample `index`; in a batch, of the row at `position`."""
        checks = []
        for name, want in golden_outputs(self.bundle, self.bundle.manifest.golden[index], self.graph).items():
            row = got[name] if position is None else got[name][position : position + 1]
            scale, bound = self.scales[name], self.graph.tolerance[name]
            worst = float(np.abs(row.astype(np.float64) - want).max()) if row.shape == want.shape else float("inf")
            checks.append(
                OutputCheck(
                    sample=index, output=name if position is None else f"{name}[{position}]", worst=worst,
                    allowed=bound.absolute + bound.relative * scale, relative=worst / scale if scale else worst,
                )
            )  # fmt: skip
        return checks


def check_session(bundle: Bundle, graph: Graph, session: Session, *, samples: int | None = None) -> list[OutputCheck]:
    """Runs golden tensors one by one. samples: how many, None = all."""
    judge, checks = Judge.of(bundle, graph), []
    for i, sample in enumerate(bundle.manifest.golden[:samples]):
        checks += judge.compare(i, session.run({graph.inputs[0].name: golden_tensor(bundle, sample)}))
    return checks
