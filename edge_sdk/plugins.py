"""What packages of others add through entry points: runtimes, tasks and families. Knows no kind of them.

An entry point is looked up by name and loaded when it is asked for. One that does not load is an error that names its
package, never a shorter list.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

from edge_sdk.errors import NotThere


def offered(group: str) -> dict[str, metadata.EntryPoint]:
    """Entry points of `group` by name, in the order of their names; loads nothing. Of one name the first counts."""
    out: dict[str, metadata.EntryPoint] = {}
    for entry in sorted(metadata.entry_points(group=group), key=lambda one: (one.name, one.value)):
        out.setdefault(entry.name, entry)
    return out


def made(entry: metadata.EntryPoint) -> Any:
    """What the entry point's factory makes. Raises NotThere that names the package and what went wrong."""
    package = entry.dist.name if entry.dist is not None else entry.value
    try:
        return entry.load()()
    except Exception as exc:
        raise NotThere(
            f"the package {package} offers {entry.name} ({entry.group}), and it does not load: {exc}",
            do=f"Repair or remove the package {package}",
        ) from exc
