"""What a report page is made of: cards, and sections of blocks. Knows no task, no family and no HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One large figure with its name and what stands behind it."""

    value: str
    name: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells as text; every row is as long as the header. first_marked: the first row is what the others are held
    against."""

    kind: ClassVar[str] = "table"

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    first_marked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A paragraph. marked: it stands out. small: a remark. preformatted: as a terminal would show it; title: of what is
    then folded away, opened: unless somebody should see it at once."""

    kind: ClassVar[str] = "text"

    text: str
    marked: bool = False
    small: bool = False
    preformatted: bool = False
    title: str = ""
    opened: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """svg: a whole element, made by us; nothing in it is escaped again."""

    svg: str
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawings:
    """Drawings side by side."""

    kind: ClassVar[str] = "drawings"

    drawings: tuple[Drawing, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One input with its answer. uri: a data address of a picture. detail: a few words more. wrong: a mistake."""

    uri: str
    file: str
    truth: str
    answer: str
    detail: str = ""
    wrong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Examples side by side."""

    kind: ClassVar[str] = "gallery"

    examples: tuple[Example, ...]


Block: TypeAlias = "Table | Text | Drawings | Gallery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A title and what stands under it, in order. title: "" = none."""

    title: str
    blocks: tuple[Block, ...]


def sentence(words: str) -> str:
    """With a capital."""
    return words[:1].upper() + words[1:]
