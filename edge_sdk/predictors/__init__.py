"""The tasks that this version does, and the predictor of each: one file a task. Importing it imports none of them.

A new task is its file beside this one and a line in `_HOMES`. `load` makes every predictor by the same call:
`Class(bundle, graph, session, color=, max_batch=, why=, self_check=)`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, TypeAlias

from edge_sdk.errors import BadBundle
from edge_sdk.extras import UPDATE

if TYPE_CHECKING:
    from edge_sdk.predictors.anomaly import AnomalyDetector

    Predictor: TypeAlias = AnomalyDetector
    """Whatever `load` gives: the union of the classes of `_HOMES`."""

_HOMES = {
    "anomaly": ("edge_sdk.predictors.anomaly", "AnomalyDetector"),
}


def tasks() -> tuple[str, ...]:
    """Names of all tasks, as manifests write them."""
    return tuple(_HOMES)


def predictor(task: str, *, where: str = "") -> type[Predictor]:
    """The class that does `task`. Raises BadBundle, naming `where`, for a task that this version does not know."""
    if task not in _HOMES:
        raise BadBundle(
            f"its task is {task!r}, this version knows {', '.join(_HOMES)}", where=where,
            do=UPDATE,
        )  # fmt: skip
    module, name = _HOMES[task]
    made: type[Predictor] = getattr(importlib.import_module(module), name)
    return made
