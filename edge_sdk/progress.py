"""How a long step tells how far it is: a function that the caller passes in. Knows no terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int, str], None]
"""progress(done, total, note): called after each unit of work; total 0 means unknown."""


def silent(done: int, total: int, note: str) -> None:
    """The progress that shows nothing: the default of every library call."""
