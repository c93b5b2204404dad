"""Entry points of other packages: tasks, their export parts, and families. Knows none of these kinds.

An entry point is looked up by name and loaded on use. One that does not load, or loads as something else, is an error
that names its package; it is never left out in silence. Runtimes are read by their own registry, which lists all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from importlib import metadata
from typing import Any

from edge_sdk.errors import NotThere


def offered(group: str) -> dict[str, metadata.EntryPoint]:
    """Entry points of `group` by name, in the order of their names; loads nothing."""
    out: dict[str, metadata.EntryPoint] = {}
    for entry in _entries(group, tuple(sys.path)):
        out.setdefault(entry.name, entry)
    return out


@lru_cache(maxsize=16)
def _entries(group: str, path: tuple[str, ...]) -> tuple[metadata.EntryPoint, ...]:
    """path: sys.path, where packages are looked for. Reading them all takes milliseconds where many are installed, more
    than a look-up of a task may cost."""
    return tuple(sorted(metadata.entry_points(group=group), key=lambda one: (one.name, one.value)))


def package_of(entry: metadata.EntryPoint) -> str:
    """The name of the package that offers it."""
    return entry.dist.name if entry.dist is not None else entry.value


def _nothing(one: Any) -> str:
    """No fault: the default of `fault`."""
    return ""


def made(entry: metadata.EntryPoint, kind: Any, fault: Callable[[Any], str] = _nothing) -> Any:
    """What the entry point's factory makes: a `kind` (a class, or a protocol that can be checked at run time).

    fault: what is wrong with it beyond its type, "" = nothing. Raises NotThere that names the package: it does not
    load, or makes something else, something of another name, or with a fault; two packages offer the same name.
    """
    package, what = package_of(entry), f"{entry.name} ({entry.group})"
    same = {package_of(one) for one in _entries(entry.group, tuple(sys.path)) if one.name == entry.name}
    if len(same) > 1:
        raise NotThere(f"the packages {' and '.join(sorted(same))} offer {what}", hint="Remove all of them but one")
    repair = f"Repair or remove the package {package}"
    try:
        one = entry.load()()
    except (Exception, SystemExit) as exc:
        words = f"the package {package} offers {what}, and it does not load: {type(exc).__name__}: {exc}"
        raise NotThere(words, hint=repair) from exc
    if not isinstance(one, kind):
        wanted = vars(kind) if getattr(kind, "_is_protocol", False) else ()  # a class is missed as a whole
        lacks = ", ".join(name for name in wanted if not name.startswith("_") and not hasattr(one, name))
        raise NotThere(
            f"the package {package} offers {what}, and it makes no {kind.__name__}{lacks and f': it has no {lacks}'}",
            hint=repair,
        )
    name = getattr(one, "name", "")  # a class may declare the attribute and give it no value
    if name != entry.name:
        raise NotThere(f"the package {package} offers {what}, and it calls itself {name!r}", hint=repair)
    if problem := fault(one):
        raise NotThere(f"the package {package} offers {what}, and {problem}", hint=repair)
    return one
