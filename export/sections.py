"""What a report page is made of: cards, and sections of blocks. Knows no task, no family and no HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One large figure with its name and what stands behind it."""

    value: str
    name: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells as text; every row is as long as the header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A paragraph. preformatted: as a terminal would show it. folded: shown when somebody asks; title: what for."""

    text: str
    preformatted: bool = False
    folded: bool = False
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawings:
    """SVG drawings side by side."""

    svg: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One input with its answer. uri: a data address of a picture. wrong: whether the answer is a mistake."""

    uri: str
    file: str
    truth: str
    answer: str
    wrong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Examples side by side."""

    examples: tuple[Example, ...]


Block: TypeAlias = "Table | Text | Drawings | Gallery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A title and what stands under it, in order."""

    title: str
    blocks: tuple[Block, ...]
