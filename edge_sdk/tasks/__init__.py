"""Registry of tasks: the built-in ones and those of plug-ins. Importing it imports no task.

A new task is its file or folder beside this one and a line in `_HOMES`; a package of others adds one through the entry
point group `edge_sdk.tasks`, whose entries are callables without arguments that make a `Task`.
"""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING

import msgspec

from edge_sdk import plugins
from edge_sdk.errors import BadBundle
from edge_sdk.extras import UPDATE

if TYPE_CHECKING:
    from edge_sdk.tasks.base import Task

GROUP = "edge_sdk.tasks"
_MAX_ROLE = 40
"""A graph's name is the role, its variant, layout and runtime, and has 80 characters at most."""
ROLE = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{_MAX_ROLE - 1}}}")
"""What a role may be called."""
_HOMES = {
    "anomaly": ("edge_sdk.tasks.anomaly.task", "Anomaly"),
    "classification": ("edge_sdk.tasks.classification.task", "ClassificationTask"),
    "generation": ("edge_sdk.tasks.generation.task", "GenerationTask"),
    "segmentation": ("edge_sdk.tasks.segmentation.task", "SegmentationTask"),
    "tensor": ("edge_sdk.tasks.tensor", "TensorTask"),
}
OWN = tuple(_HOMES)
"""Names of the product's own tasks."""


def names() -> tuple[str, ...]:
    """Names of all tasks, as manifests write them: the product's own, then those of other packages."""
    return tuple(dict.fromkeys((*_HOMES, *plugins.offered(GROUP))))


def task(name: str, *, where: str = "") -> Task:
    """The task called `name`. Raises BadBundle, naming `where`, for one that is not known here; NotThere for one whose
    package does not load. The product's own names can't be taken by others."""
    if name in _HOMES:
        module, attribute = _HOMES[name]
        own: Task = getattr(importlib.import_module(module), attribute)()
        return own
    offered = plugins.offered(GROUP)
    if name not in offered:
        raise BadBundle(
            f"its task is {name!r}, this version knows {', '.join(names())}", where=where,
            hint=f"{UPDATE}, or the package that adds this task",
        )  # fmt: skip
    from edge_sdk.tasks.base import Task as Kind

    made: Task = plugins.made(offered[name], Kind, _fault)
    return made


def _fault(made: Task) -> str:
    """What is wrong with what the task's class states, "" = nothing. A bundle names its graphs after the roles, in
    archive members, so two roles may not differ in case alone."""
    from edge_sdk.tasks.base import Running

    for name, kind in (("settings", msgspec.Struct), ("predictor", Running)):
        found = getattr(made, name, None)
        if not isinstance(found, type) or not issubclass(found, kind):
            return f"its attribute {name} is {found!r}, no class made of {kind.__name__}"
    roles = made.roles
    if not isinstance(roles, tuple) or not roles or not all(isinstance(role, str) for role in roles):
        return f"its roles are {roles!r}, not a tuple of one name or more"
    if unfit := [role for role in roles if not ROLE.fullmatch(role)]:
        return f"its role {unfit[0][:80]!r} is no plain name: letters, digits, - and _, at most {_MAX_ROLE}"
    if len({role.lower() for role in roles}) < len(roles):
        return f"two of its roles have one name: {', '.join(roles)}"
    return ""
