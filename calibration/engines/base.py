"""What an engine is: from a prepared float graph to int8 graphs in the canonical layout. Knows no engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.calibration.prepare import Prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to an int8 graph. mode: how the engine treats the float graph first, "" = as it is. ranges: how it chose
    what int8 holds of each activation."""

    engine: str
    mode: str
    ranges: str

    def __str__(self) -> str:
        return ", ".join(part for part in (self.engine, self.mode, self.ranges) if part)


class Engine(Protocol):
    """Turns what was prepared into int8 graphs. An engine has no state."""

    @property
    def name(self) -> str: ...

    def missing(self) -> str:
        """Why the engine can't run here; "" if it can."""

    def modes(self, prepared: Prepared) -> tuple[str, ...]:
        """What it would do to this float graph first; in the order of preference where errors are equal."""

    def graphs(
        self, prepared: Prepared, mode: str, variant: str, exclude: Sequence[str]
    ) -> Iterator[tuple[str, list[Int8Graph]]]:
        """By way of choosing ranges, the int8 graphs of one variant: one for each plan that differs, none where nothing
        becomes int8. What all of them share is done before the first is made.

        exclude: nodes that stay float, `prepared.subject.exclude` among them. Raises EdgeError.
        """
