"""Which physical part a picture shows, by what the user states, and which pictures are the same file twice.

Pictures of one part are not independent: every split and every count of evidence is by part. Knows names, tables,
bytes; decodes no picture.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.shown import shown, unreadable

SEEN = "training_pictures"
"""Note in a bundle's provenance that holds the `seen_note` of its model."""
SEEN_DIGITS = 16
"""Hexadecimal digits kept of the sha256 of each picture that a model learned from: 64 bits, no content, no name."""


class Grouping:
    """Names the part that a picture below `folder` shows.

    group: None, each picture is a part of its own; a regular expression, searched in the path below `folder` (with /),
    whose first group, or whole match, names the part; or "FILE.csv:COLUMN", a table in `folder` (see `parts_of_table`).
    Raises BadUsage for a group that does not fit a picture, BadInput for a table that can't be read.
    """

    def __init__(self, folder: Path, group: str | None) -> None:
        self._folder, self._group = folder, group
        self._table: Mapping[str, str] | None = None
        self._pattern: re.Pattern[str] | None = None
        if group is None:
            return
        name, _, column = group.rpartition(":")
        if name.lower().endswith(".csv"):
            self._table = parts_of_table(folder / name, column)
            return
        try:
            self._pattern = re.compile(group)
        except re.error as exc:
            raise BadUsage(f"{group!r} is not a regular expression: {exc}", where="--group") from exc

    def __call__(self, path: Path) -> str:
        inside = path.relative_to(self._folder).as_posix()
        if self._table is not None:
            for key in (inside, path.name):
                if key in self._table:
                    return self._table[key]
            raise BadUsage(f"no row names {shown(inside)}", where=f"--group {self._group}", hint="Add it to the table")
        if self._pattern is None:
            return inside
        match = self._pattern.search(inside)
        if match is None:
            raise BadUsage(
                f"it does not fit {shown(inside)}",
                where=f"--group {self._group}",
                hint="Write it so that it fits every picture",
            )
        return match.group(1) if self._pattern.groups and match.group(1) is not None else match.group(0)


def parts_of_table(table: Path, column: str) -> dict[str, str]:
    """File below the folder -> part, from a CSV with the columns "file", `column`, and perhaps "split" and "class".

    A file's bare name is a key too where it names one part only. Bytes that are no UTF-8 stay those of the file's name.
    """
    try:
        with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or ()
    except (OSError, csv.Error) as exc:
        raise BadInput(f"the table of parts can't be read: {exc}", where=str(table)) from exc
    if missing := [name for name in ("file", column) if name not in columns]:
        raise BadInput(
            f"the table of parts has no column {missing[0]!r}", where=str(table), hint="--group FILE.csv:COLUMN"
        )
    out: dict[str, str] = {}
    bare: dict[str, set[str]] = {}
    for line, row in enumerate(rows, 2):
        if row["file"] is None or row[column] is None:
            raise BadInput(
                f"line {line} of the table of parts has too few values", where=str(table),
                hint=f"Write a file and its {column} into each line",
            )  # fmt: skip
        folders = [row[name] for name in ("split", "class") if row.get(name)]
        out["/".join([*folders, row["file"]])] = row[column]
        bare.setdefault(Path(row["file"]).name, set()).add(row[column])
    return {name: next(iter(parts)) for name, parts in bare.items() if len(parts) == 1} | out


def content(path: Path) -> str:
    """sha256 of a file, in hex. Two pictures with the same one are copies. Raises BadInput for a file that is gone."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as exc:
        raise unreadable(path, exc) from exc


def seen_note(contents: Iterable[str]) -> str:
    """What a bundle keeps of the pictures that its model learned from: the first digits of each `content`, sorted."""
    return "".join(sorted({one[:SEEN_DIGITS] for one in contents}))


def seen_in(note: str) -> frozenset[str]:
    """The first SEEN_DIGITS of each content in a `seen_note`."""
    return frozenset(note[at : at + SEEN_DIGITS] for at in range(0, len(note), SEEN_DIGITS))


def data_digest(pictures: Iterable[tuple[str, str, str, str]]) -> str:
    """sha256 over (bare name, part, label, `content`) of pictures, in their order, so that it is the same in whatever
    folder they lie; "" without pictures. part: "" where no group was stated. Names count by their bytes, UTF-8 or not.
    """
    total, count = hashlib.sha256(), 0
    for name, part, label, contents in pictures:
        total.update(f"{name}\0{part}\0{label}\0{contents}\n".encode("utf-8", "surrogateescape"))
        count += 1
    return total.hexdigest() if count else ""
