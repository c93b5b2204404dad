"""Stage times of one call, on one monotonic clock. Knows no stage's meaning."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Stages:
    """Times the steps of one call: `stages("resize", step, *arguments)` runs the step; a name used twice adds up."""

    def __init__(self) -> None:
        self._began = time.perf_counter_ns()
        self._ns: dict[str, int] = {}

    def __call__(self, name: str, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        began = time.perf_counter_ns()
        try:
            return step(*args, **kwargs)
        finally:
            self._ns[name] = self._ns.get(name, 0) + time.perf_counter_ns() - began

    def ms(self) -> dict[str, float]:
        """Milliseconds by stage, then `overhead` (what no stage holds) and `total` since this object was made."""
        total = time.perf_counter_ns() - self._began
        out = {name: ns / 1e6 for name, ns in self._ns.items()}
        return {**out, "overhead": (total - sum(self._ns.values())) / 1e6, "total": total / 1e6}
