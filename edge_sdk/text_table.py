"""Formats rows as a plain text table for logs, pipes and mails. Knows no terminal (cli/terminal.py does)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol


class TableWriter(Protocol):
    """A function that formats rows as text."""

    def __call__(self, header: Sequence[str], rows: Iterable[Sequence[str]], /) -> str:
        """The whole table, lines separated by "\\n"."""


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]], /) -> str:
    """Format rows in columns as wide as their widest cell, two spaces apart. One line per row, never cut."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)
