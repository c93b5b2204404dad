"""Times of single layers inside the runtimes, by the runtimes' own profilers. Knows no task.

A separate run: a profiler makes the call slower, so the sum of its layers is no latency.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_sdk.bundle.signing import Trust
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadUsage
from edge_sdk.golden import Expected
from edge_sdk.loading import VariantWanted, choose, compiled
from edge_sdk.runtimes.cache import default_cache_folder
from edge_sdk.runtimes.protocol import CompileOptions, Explanation, LayerTime, ProfiledSession
from edge_sdk.runtimes.targets import Choice
from edge_sdk.tensors import rows
from edge_sdk.text_table import TableWriter, text_table

SHOWN = 25
"""Layers listed in the text; one line has the sum of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """One role's graph. layers: in the order of execution, ms of one run each. explanation: asked for, and what ran."""

    bundle_sha256: str
    role: str
    variant: str
    explanation: Explanation
    layers: tuple[LayerTime, ...]

    @property
    def total_ms(self) -> float:
        """Sum over all layers, ms; what the runtime does between them is not in it."""
        return float(sum(layer.ms for layer in self.layers))

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON object."""
        return {**asdict(self), "total_ms": self.total_ms}

    def text(self, table: TableWriter = text_table) -> str:
        """A table of the slowest layers."""
        e, total = self.explanation, self.total_ms
        slowest = sorted(self.layers, key=lambda layer: -layer.ms)
        rows = [
            (one.name, one.op, one.kernel or "-", one.precision or "-", f"{one.ms:.3f}", f"{one.ms / (total or 1):.0%}")
            for one in slowest[:SHOWN]
        ]
        lines = [
            f"{self.role}: {self.variant} on {e.runtime} {e.version}, {e.device}, {e.threads} threads",
            table(("layer", "op", "kernel", "precision", "ms", "share"), rows),
        ]
        if rest := slowest[SHOWN:]:
            lines.append(f"and {len(rest)} more layers, {sum(layer.ms for layer in rest):.3f} ms")
        return "\n".join([*lines, f"sum {total:.3f} ms, by the runtime's own profiler: slower than a plain call"])


def layers(
    path: Path | str, *, runtime: str | None = None, variant: VariantWanted = None, device: str | None = None,
    threads: int | None = None, trust: Trust = "if-present", cache: Path | None = None,
) -> tuple[LayerReport, ...]:  # fmt: skip
    """For each role, runs the golden sample with the largest answers through the graph that `load` would take.

    One row of a batch. Arguments and errors: as `edge_sdk.load`. Raises BadUsage where a runtime gives no times.
    """
    with Bundle.open(Path(path), trust=trust, lazy=True) as bundle:
        choices = choose(bundle, runtime=runtime, variant=variant, device=device)
        folder = cache or default_cache_folder()
        options = CompileOptions(threads=threads, cache_dir=folder, profile_layers=True)
        return tuple(_of_role(bundle, role, choice, options) for role, choice in choices.items())


def _of_role(bundle: Bundle, role: str, choice: Choice, options: CompileOptions) -> LayerReport:
    graph, session = compiled(bundle, role, choice, options)
    try:
        if not isinstance(session, ProfiledSession):
            raise BadUsage(f"{choice.runtime} reports no times of layers", hint="Name another runtime with --runtime")
        expected = Expected.of(bundle, graph)
        feeds = rows(expected.feeds(expected.strongest), session.inputs, 0, 1)
        return LayerReport(
            bundle_sha256=bundle.digest, role=role, variant=graph.variant, explanation=session.explain(),
            layers=session.layer_times({name: np.ascontiguousarray(array) for name, array in feeds.items()}),
        )  # fmt: skip
    finally:
        session.close()
