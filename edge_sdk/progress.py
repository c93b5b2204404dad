"""The progress callback of long steps, which the caller passes in. Knows no terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int, str], None]
"""progress(done, total, note): called after each unit of work, by some steps before the first one too, with
0 <= done <= total; total 0 means unknown. note: what is being done, for people."""


def silent(done: int, total: int, note: str) -> None:
    """Show nothing: the default of every library call."""
