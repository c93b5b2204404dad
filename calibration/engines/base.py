"""What an engine is: from a prepared float graph to what int8 graphs are written from. Knows no engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edge_sdk.calibration.prepare import Prepared
from edge_sdk.calibration.source import Source


class Engine(Protocol):
    """Decides weights, biases and ranges; where Q/DQ stand is decided by the plan, for all engines alike. Stateless."""

    @property
    def name(self) -> str: ...

    def missing(self) -> str:
        """Why the engine can't run here; "" if it can."""

    def modes(self, prepared: Prepared) -> tuple[str, ...]:
        """What it would do to this float graph first, "" = nothing; the first is kept where errors are equal."""

    def source(self, prepared: Prepared, mode: str, variant: str, exclude: Sequence[str]) -> Source | None:
        """What the graphs of one variant are written from; None where nothing becomes int8.

        exclude: nodes that stay float, those of the options among them. Raises EdgeError.
        """
