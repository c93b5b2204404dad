"""Golden samples: what a bundle promises, held against what a compiled graph answers. Knows no task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_sdk.bundle.manifest import GoldenSample, Graph
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadBundle
from edge_sdk.runtimes.protocol import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCheck:
    """One output of one golden sample on one session. worst: max |got - golden|; allowed: the manifest's bound.

    relative: worst over the largest golden value of that output. position: in a batch; None: the sample ran alone.
    """

    sample: int
    output: str
    worst: float
    allowed: float
    relative: float
    position: int | None = None

    @property
    def passed(self) -> bool:
        return self.worst <= self.allowed  # False for NaN, on purpose


def golden_tensor(bundle: Bundle, sample: GoldenSample) -> NDArray[np.uint8]:
    """The network inputs (tiles, h, w, 3) that the sample's picture must become; one but for tiles."""
    return np.frombuffer(bundle.read(sample.tensor), np.uint8).reshape(sample.tensor_shape)


def golden_outputs(bundle: Bundle, sample: GoldenSample, graph: Graph) -> dict[str, NDArray[np.float32]]:
    """What `graph` must answer to the sample's tensor, by output (tiles, ...). BadBundle if any output is left out:
    what is not promised can't be checked, and would pass."""
    members = sample.outputs.get(graph.name, {})
    silent = [spec.name for spec in graph.outputs if spec.name not in members]
    if silent:
        raise BadBundle(
            f"a golden sample does not say what graph {graph.name} answers as {', '.join(silent)}",
            where=str(bundle.path), do="Export it again",
        )  # fmt: skip
    return {
        name: np.frombuffer(bundle.read(member), "<f4").reshape(sample.output_shapes[name]).astype(np.float32)
        for name, member in members.items()
    }


def _largest(bundle: Bundle, graph: Graph) -> list[dict[str, float]]:
    """By sample and output, the largest magnitude of the golden values."""
    return [
        {name: float(np.abs(value).max(initial=0.0)) for name, value in golden_outputs(bundle, sample, graph).items()}
        for sample in bundle.manifest.golden
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Holds outputs of one graph against its golden samples.

    scales: per output the largest magnitude in any sample: what a tolerance is relative to. A good part's map is nearly
    flat, and a share of it would be less than one quantization step. strongest: index of the sample with the largest
    answers: the one that a wrong runtime can't pass by answering little.
    """

    bundle: Bundle
    graph: Graph
    scales: Mapping[str, float]
    strongest: int

    @classmethod
    def of(cls, bundle: Bundle, graph: Graph) -> Judge:
        """Reads the golden answers once. Raises BadBundle where there are none, or where answering nothing would do."""
        largest = _largest(bundle, graph)
        if not largest:
            raise BadBundle("the bundle holds no golden samples", where=str(bundle.path), do="Export it again")
        scales = {name: max(one.get(name, 0.0) for one in largest) for name in largest[0]}
        for name, scale in scales.items():
            bound = graph.tolerance.get(name)
            if bound is None or (scale and bound.absolute + bound.relative * scale >= scale):
                what = "no tolerance" if bound is None else "a tolerance as large as its answers"
                raise BadBundle(
                    f"output {name} of graph {graph.name} has {what}", where=str(bundle.path), do="Export it again"
                )
        shares = [sum(one[name] / scale for name, scale in scales.items() if scale) for one in largest]
        return cls(bundle=bundle, graph=graph, scales=scales, strongest=int(np.argmax(shares)))

    def compare(
        self, index: int, got: Mapping[str, NDArray[np.float32]], *, position: int | None = None
    ) -> list[OutputCheck]:
        """Every output of sample `index` as `answers` gives them; position: where in a batch it ran."""
        checks = []
        for name, want in golden_outputs(self.bundle, self.bundle.manifest.golden[index], self.graph).items():
            row, scale, bound = got[name], self.scales[name], self.graph.tolerance[name]
            worst = float(np.abs(row.astype(np.float64) - want).max()) if row.shape == want.shape else float("inf")
            checks.append(
                OutputCheck(
                    sample=index, output=name, worst=worst, allowed=bound.absolute + bound.relative * scale,
                    relative=worst / scale if scale else worst, position=position,
                )
            )  # fmt: skip
        return checks


def answers(session: Session, tensor: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Outputs (tiles, ...) of one picture's network inputs (tiles, h, w, 3), which run one at a time."""
    name = session.inputs[0].name
    return joined([session.run({name: tile[None]}) for tile in tensor])


def joined(rows: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Outputs of several calls, one behind the other."""
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def check_session(bundle: Bundle, graph: Graph, session: Session, *, strongest_only: bool = False) -> list[OutputCheck]:
    """Replays the golden samples, one network input at a time: all of them, or the one with the largest answers."""
    judge = Judge.of(bundle, graph)
    checks: list[OutputCheck] = []
    for i in (judge.strongest,) if strongest_only else range(len(bundle.manifest.golden)):
        checks += judge.compare(i, answers(session, golden_tensor(bundle, bundle.manifest.golden[i])))
    return checks
