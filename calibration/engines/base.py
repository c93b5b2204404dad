"""What an engine is: from a prepared float graph to int8 graphs in the canonical layout. Knows no engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.calibration.prepare import Prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to an int8 graph. method: of the engine's own; a range method where it has no other choice."""

    engine: str
    method: str

    def __str__(self) -> str:
        return f"{self.engine}, {self.method}"


class Engine(Protocol):
    """Turns what was prepared into int8 graphs. An engine has no state: what takes long, it does in `graphs`."""

    @property
    def name(self) -> str: ...

    def missing(self) -> str:
        """Why the engine can't run here; "" if it can."""

    def methods(self, prepared: Prepared) -> tuple[str, ...]:
        """What it would try on this graph, in the order of preference where errors are equal."""

    def graphs(self, prepared: Prepared, method: str, variant: str, exclude: Sequence[str]) -> list[Int8Graph]:
        """The int8 graphs of one variant, one for each plan that differs; none where nothing becomes int8.

        exclude: nodes that stay float, `prepared.exclude` among them. Raises EdgeError.
        """
