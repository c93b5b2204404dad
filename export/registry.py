"""The families that the product knows, by name. Importing it imports no family."""

from __future__ import annotations

from edge_sdk.errors import BadUsage
from edge_sdk.export.family import Family
from edge_sdk.extras import need

_HOMES = {"efficientad": ("edge_sdk.export.efficientad.family", "EfficientAD")}


def names() -> tuple[str, ...]:
    """Names of all families."""
    return tuple(_HOMES)


def family(name: str) -> Family:
    """The family called `name`. Raises BadUsage if there is none, NotThere where its packages are missing."""
    if name not in _HOMES:
        raise BadUsage(f"there is no family {name}", do=f"One of {', '.join(_HOMES)}")
    module, attribute = _HOMES[name]
    made: Family = getattr(need(module, extra="export"), attribute)()
    return made
