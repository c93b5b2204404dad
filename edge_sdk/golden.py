"""Golden samples: expected outputs of a bundle's graphs, compared with those of a session. Knows no task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_sdk.bundle.manifest import GoldenSample, Graph
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadBundle
from edge_sdk.runtimes.protocol import Session
from edge_sdk.tensors import Array, Feeds, batch_size, joined, rows


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCheck:
    """One output of one golden sample on one session. worst: max |got - golden|; allowed: the manifest's bound.

    relative: worst over the largest golden value of that output. distance: |got - golden|_2 over the largest such norm
    of a golden value; allowed_distance: 0 = `worst` alone decides. position: in a batch; None: the sample ran alone.
    role: of the graph.
    """

    role: str
    sample: int
    output: str
    worst: float
    allowed: float
    relative: float
    distance: float
    allowed_distance: float = 0.0
    position: int | None = None

    @property
    def passed(self) -> bool:
        # False for NaN, on purpose
        return self.worst <= self.allowed or 0.0 < self.allowed_distance >= self.distance

    @property
    def used(self) -> float:
        """What share of the tolerance is used, by the measure that leaves more of it; above 1, or NaN: it failed."""
        shares = [_share(self.worst, self.allowed)]
        if self.allowed_distance:
            shares.append(_share(self.distance, self.allowed_distance))
        return min(shares) if self.passed else max(np.inf if np.isnan(one) else one for one in shares)


def _share(found: float, allowed: float) -> float:
    return found / allowed if allowed else 0.0 if found == 0.0 else float("inf")


def golden_feeds(bundle: Bundle, sample: GoldenSample, role: str) -> dict[str, Array]:
    """Feeds of one sample for the graphs of `role`. Raises BadBundle if it has none."""
    if role not in sample.feeds:
        raise BadBundle(f"a golden sample has no feeds for {role}", where=str(bundle.path), hint="Export it again")
    return {name: bundle.array(array) for name, array in sample.feeds[role].items()}


def golden_outputs(bundle: Bundle, sample: GoldenSample, graph: Graph) -> dict[str, Array]:
    """Expected outputs of `graph` for the sample's feeds. Raises BadBundle if an output is missing: it would pass
    unchecked."""
    stored = sample.outputs.get(graph.name, {})
    silent = [spec.name for spec in graph.outputs if spec.name not in stored]
    if silent:
        raise BadBundle(
            f"a golden sample has no expected value for graph {graph.name}, output {', '.join(silent)}",
            where=str(bundle.path), hint="Export it again",
        )  # fmt: skip
    return {name: bundle.array(array) for name, array in stored.items()}


def _magnitude(array: Array) -> float:
    return float(np.abs(array.astype(np.float64)).max(initial=0.0))


def _norm(array: Array) -> float:
    return float(np.sqrt(np.sum(np.square(array.astype(np.float64)))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Expected answers of one graph to a bundle's golden samples.

    scales, norms: by output, the largest magnitude and the largest L2 norm in any sample; tolerances are relative to
    them. Relative to its own sample, a nearly zero answer would get a tolerance below one quantization step.
    strongest: index of the sample with the largest answers, the hardest to pass with near-zero output.
    """

    bundle: Bundle
    graph: Graph
    scales: Mapping[str, float]
    norms: Mapping[str, float]
    strongest: int

    @classmethod
    def of(cls, bundle: Bundle, graph: Graph) -> Expected:
        """Read the golden answers once. Raises BadBundle if there are none, or if an answer of zeros would pass."""
        samples = bundle.manifest.golden
        if not samples:
            raise BadBundle("the bundle has no golden samples", where=str(bundle.path), hint="Export it again")
        values = [golden_outputs(bundle, sample, graph) for sample in samples]
        largest = [{name: _magnitude(value) for name, value in one.items()} for one in values]
        scales = {name: max(one[name] for one in largest) for name in largest[0]}
        norms = {name: max(_norm(one[name]) for one in values) for name in largest[0]}
        for name, scale in scales.items():
            bound = graph.tolerance.get(name)
            if bound is None or (scale and bound.absolute + bound.relative * scale >= scale) or bound.distance >= 1.0:
                what = "no tolerance" if bound is None else "a tolerance as large as its answers"
                raise BadBundle(
                    f"output {name} of graph {graph.name} has {what}", where=str(bundle.path), hint="Export it again"
                )
        shares = [sum(one[name] / scale for name, scale in scales.items() if scale) for one in largest]
        return cls(bundle=bundle, graph=graph, scales=scales, norms=norms, strongest=int(np.argmax(shares)))

    def feeds(self, index: int) -> dict[str, Array]:
        """Feeds of sample `index` for this graph."""
        return golden_feeds(self.bundle, self.bundle.manifest.golden[index], self.graph.role)

    def beside(self, index: int) -> dict[str, Array]:
        """What stands beside sample `index` in a batch: see `neighbour`."""
        return neighbour(self.feeds(index), self.feeds((index + 1) % len(self.bundle.manifest.golden)))

    def compare(self, index: int, got: Mapping[str, Array], *, position: int | None = None) -> list[OutputCheck]:
        """Every output of sample `index` as `answers` returns them; position: where in a batch it ran."""
        checks = []
        for name, want in golden_outputs(self.bundle, self.bundle.manifest.golden[index], self.graph).items():
            answer, scale, norm = got[name], self.scales[name], self.norms[name]
            bound, apart = self.graph.tolerance[name], _apart(answer, want)
            worst = float(apart.max(initial=0.0))
            checks.append(
                OutputCheck(
                    role=self.graph.role, sample=index, output=name, worst=worst,
                    allowed=bound.absolute + bound.relative * scale, relative=worst / scale if scale else worst,
                    distance=_norm(apart) / norm if norm else _norm(apart), allowed_distance=bound.distance,
                    position=position,
                )
            )  # fmt: skip
        return checks


def difference(got: Array, want: Array) -> float:
    """max |got - want|; infinity if shapes differ, NaN if only one of them has a NaN at some place."""
    return float(_apart(got, want).max(initial=0.0))


def _apart(got: Array, want: Array) -> NDArray[np.float64]:
    """|got - want|, float64; one infinity if shapes differ, NaN where only one of them has a NaN."""
    if got.shape != want.shape:
        return np.full(1, np.inf)
    a, b = got.astype(np.float64), want.astype(np.float64)
    equal = (a == b) | (np.isnan(a) & np.isnan(b))  # equal infinities and equal NaN are equal answers
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(equal, 0.0, np.abs(a - b)))


def answers(session: Session, feeds: Feeds) -> dict[str, Array]:
    """Outputs for one sample's feeds; rows of the batch axis run one at a time."""
    count = batch_size(feeds, session.inputs)
    if count is None or count == 1:
        return session.run(feeds)
    return joined([session.run(rows(feeds, session.inputs, i, i + 1)) for i in range(count)], session.outputs)


def in_batches(session: Session, feeds: Feeds, decoy: Feeds, *, size: int, position: int) -> dict[str, Array]:
    """As `answers`, with each row at `position` of a batch of `size`; the other rows are the first of `decoy`."""

    def beside(row: Feeds, others: Feeds) -> dict[str, Array]:
        return {
            spec.name: np.concatenate([row[spec.name] if i == position else others[spec.name] for i in range(size)])
            if spec.batched
            else row[spec.name]
            for spec in session.inputs
        }

    others = rows(decoy, session.inputs, 0, 1)
    out = []
    for i in range(batch_size(feeds, session.inputs) or 0):
        got = session.run(beside(rows(feeds, session.inputs, i, i + 1), others))
        batched = {spec.name for spec in session.outputs if spec.batched}
        out.append({name: value[position : position + 1] if name in batched else value for name, value in got.items()})
    return joined(out, session.outputs)


def neighbour(feeds: Feeds, following: Feeds) -> dict[str, Array]:
    """What stands beside `feeds` in a batch: `following`, or its own values in another order where that has other
    shapes or is the same. Always values that are valid for the graph: an index stays an index."""
    if all(following[name].shape[1:] == array.shape[1:] for name, array in feeds.items()):
        alike = all(np.array_equal(following[name], array) for name, array in feeds.items())
        if not alike:
            return dict(following)
    return {name: np.asarray(np.flip(array)) for name, array in feeds.items()}


def check_session(bundle: Bundle, graph: Graph, session: Session, *, strongest_only: bool = False) -> list[OutputCheck]:
    """Replay all golden samples, or only the one with the largest answers; rows of a batch one at a time."""
    expected = Expected.of(bundle, graph)
    checks: list[OutputCheck] = []
    for i in (expected.strongest,) if strongest_only else range(len(bundle.manifest.golden)):
        checks += expected.compare(i, answers(session, expected.feeds(i)))
    return checks
