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


def compare_output(
    index: int, label: str, got: NDArray[np.float32], want: NDArray[np.float32], graph: Graph, name: str
) -> OutputCheck:
    """Output `name` against its golden value, by the tolerance that the manifest states for it; shown as `label`."""
    scale = float(np.abs(want).max(initial=0.0))
    bound = graph.tolerance[name]
    worst = float(np.abs(got.astype(np.float64) - want).max()) if got.shape == want.shape else float("inf")
    return OutputCheck(
        sample=index, output=label, worst=worst, allowed=bound.absolute + bound.relative * scale,
        relative=worst / scale if scale else worst,
    )  # fmt: skip


def check_session(bundle: Bundle, graph: Graph, session: Session, *, samples: int | None = None) -> list[OutputCheck]:
    """Runs golden tensors one by one. samples: how many, None = all."""
    checks = []
    for i, sample in enumerate(bundle.manifest.golden[:samples]):
        got = session.run({graph.inputs[0].name: golden_tensor(bundle, sample)})
        for name, want in golden_outputs(bundle, sample, graph).items():
            checks.append(compare_output(i, name, got[name], want, graph, name))
    return checks
