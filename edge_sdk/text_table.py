"""Rows as text in columns, for logs, pipes and mails. Knows no meaning and no terminal (cli/terminal.py does)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol


class TableWriter(Protocol):
    """What makes text of rows."""

    def __call__(self, header: Sequence[str], rows: Iterable[Sequence[str]], /) -> str:
        """The whole table, lines separated by "\\n"."""


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]], /) -> str:
    """Every column as wide as its widest cell, two spaces between, nothing behind the last. A line a row, never cut."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)
