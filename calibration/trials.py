"""What is tried for int8, as a value: light, since families state it before anything heavy is imported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_sdk.errors import BadUsage
from edge_sdk.shown import shown

RANGE_METHODS = ("minmax", "percentile-99.99", "percentile-99.999", "mse", "entropy")
"""Of `ranges.fit`."""
ENGINE_NAMES = ("portable", "nncf")
"""Those of `engines.ENGINES`, which this module can't import: engines read the options."""


def some_of(what: str, given: Sequence[str], known: Sequence[str], *, where: str = "") -> None:
    """Raise BadUsage where `given` is empty or names one that is not known. what: one of them, as a noun."""
    unknown = [shown(str(one))[:80] for one in given if one not in known]
    if unknown or not given:
        found = f"unknown {what} {unknown[0]}" if unknown else f"no {what} is named"
        raise BadUsage(f"{found}; available: {', '.join(known)}", where=where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """What is tried for each int8 variant; the nearest to the float graph is kept, the first of several equal ones.

    engines, range_methods: each engine (`engines.ENGINES`) with each method of `ranges.fit` is a candidate. compared:
    on how many samples, spread over all, errors are measured and layouts proven equal. tune_s: time for choosing ranges
    one tensor at a time, 0 = not at all; what another variant has found is taken over. equalise: whether channels are
    equalised as well, where there are any to equalise (`calibration.statistics.equalise`). within: where the nearest is
    farther than this from the float graph, operators stay float until it is not; None = it stays as it is. search_s:
    time for finding these operators. scales: whether to report how the values of each output moved, also as each
    runtime here answers.
    """

    engines: tuple[str, ...] = ("portable",)
    range_methods: tuple[str, ...] = ("minmax",)
    compared: int = 4
    tune_s: float = 0.0
    equalise: bool = False
    within: float | None = None
    search_s: float = 300.0
    scales: bool = False

    def __post_init__(self) -> None:
        some_of("engine", self.engines, ENGINE_NAMES)
        some_of("range method", self.range_methods, RANGE_METHODS)
        if not (math.isfinite(self.tune_s) and self.tune_s >= 0.0):
            raise BadUsage(f"tune_s is a time in seconds, not {self.tune_s}")
        if self.within is not None and not 0.0 < self.within < 1.0:
            raise BadUsage(f"within is a relative difference between 0 and 1, not {self.within}")
        if self.compared < 1:
            raise BadUsage(f"errors are measured on at least one sample, not on {self.compared}")


THOROUGH = Trials(
    engines=ENGINE_NAMES, range_methods=("minmax", "percentile-99.99", "mse"), compared=8, tune_s=30.0, equalise=True,
    within=0.1, scales=True,
)  # fmt: skip
"""For graphs that nobody has looked at: no method is best for all."""
ONE = Trials()
"""What is known to suit a family's own graphs."""
