"""The engine of this product: the float graph as it is, every range method, biases corrected by its own arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

from edge_sdk.calibration.prepare import Prepared
from edge_sdk.calibration.source import Source


class Portable:
    """Needs no other package."""

    name = "portable"

    def missing(self) -> str:
        return ""

    def modes(self, prepared: Prepared) -> tuple[str, ...]:
        return ("",)

    def source(self, prepared: Prepared, mode: str, variant: str, exclude: Sequence[str]) -> Source:
        options = prepared.options
        return Source(
            watched=prepared.base, variant=variant, exclude=tuple(exclude), margin=options.margin,
            methods=options.trials.range_methods,
        )  # fmt: skip
