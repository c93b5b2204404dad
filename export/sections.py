"""What a report page is made of: cards, and sections of blocks. Knows no task, no family and no HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeAlias

Tone: TypeAlias = Literal["pass", "alert", "neutral"]


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
    """A paragraph. marked: it stands out. small: a remark."""

    kind: ClassVar[str] = "text"

    text: str
    marked: bool = False
    small: bool = False


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
    """One input with its answer. uri: a data address of a picture. truth: what is right, "" = there is no such word for
    it. detail: a few words more. tone: the colour of the answer: "pass", "alert" for one to look into, "neutral" where
    nothing is compared. wrong: a mistake."""

    uri: str
    file: str
    truth: str
    answer: str
    detail: str = ""
    tone: Tone = "neutral"
    wrong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Examples side by side. columns: how many on a wide screen, 0 = as many as fit."""

    kind: ClassVar[str] = "gallery"

    examples: tuple[Example, ...]
    columns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """Blocks that a reader opens. opened: at once."""

    kind: ClassVar[str] = "folded"

    title: str
    blocks: tuple[Table | Text, ...]
    opened: bool = False


Block: TypeAlias = "Table | Text | Drawings | Gallery | Folded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A title and what stands under it, in order. title: "" = none. facts: metrics in it, entries of report.json."""

    title: str
    blocks: tuple[Block, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


def filled(table: Table) -> Table:
    """Without the columns in which no row has anything. The first column names the rows and stays."""
    if not table.rows:
        return table
    kept = [at for at in range(len(table.header)) if not at or any(row[at] not in ("", "-") for row in table.rows)]
    return replace(
        table, header=tuple(table.header[at] for at in kept),
        rows=tuple(tuple(row[at] for at in kept) for row in table.rows),
    )  # fmt: skip


def sentence(words: str) -> str:
    """With a capital."""
    return words[:1].upper() + words[1:]


def facts_table(facts: Mapping[str, Any]) -> Table:
    """Names and values of any JSON object as text: a row per value, per member of an object of objects, and per object
    of a list."""
    return Table(header=("fact", "value"), rows=tuple(_rows("", facts)))


def _rows(prefix: str, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping) and any(isinstance(inner, Mapping) for inner in value.values()):
            yield from _rows(f"{name}, ", value)
        elif isinstance(value, (list, tuple)) and any(isinstance(inner, Mapping) for inner in value):
            yield from _rows(f"{name} ", {str(number): inner for number, inner in enumerate(value, start=1)})
        else:
            yield name, _words(value)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key.replace('_', ' ')} {_words(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(_words(inner) for inner in value) or "none"
    if value is None or isinstance(value, bool):
        return "none" if value is None else "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
