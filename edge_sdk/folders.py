"""The picture files of a folder: links followed once, and everything that is not taken counted. Decodes no picture."""

from __future__ import annotations

import os
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

from edge_sdk import encoded
from edge_sdk.errors import BadInput
from edge_sdk.shown import not_a_folder, shown


def pictures_in(folder: Path, *, recursive: bool, at_least: int = 1) -> tuple[Path, ...]:
    """The picture files of a folder, by name; recursive: those of its subfolders too.

    Hidden files and folders (their name begins with a dot) are left out: systems put thumbnails and halves of files
    there. Links to folders are followed, each folder is entered once. Broken links and subfolders that can't be looked
    into are among the pictures, since nobody knows what they hold: whoever decodes them says what is wrong. `left_out`
    tells of the others. Raises BadInput: not a folder, no permission, or fewer than `at_least` pictures.
    """
    found = _searched(folder, recursive=recursive)
    if len(found.pictures) < at_least:
        count = len(found.pictures)
        few = "there are no pictures in it" if not count else f"{count} pictures are too few, {at_least} the least"
        others = found.left_out()
        raise BadInput(
            f"{few}; {others}" if others else few, where=shown(folder), hint=f"Pictures are {encoded.KINDS} files"
        )
    return tuple(sorted(found.pictures))


def left_out(folder: Path, *, recursive: bool) -> str:
    """What `pictures_in` does not take, in words: "left out: 12 files that are not read as a picture (.heic 10,
    .gif 2)", or ""."""
    return _searched(folder, recursive=recursive).left_out()


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in `folder`, by name, and links to folders; none where it is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in _entries(folder) if os.path.isdir(path))


def broken_links_in(folder: Path) -> list[Path]:
    """Links directly in `folder` that lead nowhere, by name: perhaps folders on a drive that is not there."""
    return sorted(path for path in _entries(folder) if os.path.islink(path) and not os.path.exists(path))


@dataclass(slots=True)
class _Search:
    """What lies in a folder. kinds: suffix -> how many files have it. loops: links to a folder around this one."""

    pictures: list[Path] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    loops: list[Path] = field(default_factory=list)

    def left_out(self) -> str:
        """In words, or ""."""
        said = []
        if self.kinds:
            total, most = self.kinds.total(), self.kinds.most_common(5)
            listed = ", ".join(f"{shown(kind)} {count}" for kind, count in most) + (", ..." * (len(self.kinds) > 5))
            counted = "1 file that is" if total == 1 else f"{total} files that are"
            said.append(f"{counted} not read as a picture ({listed})")
        if self.loops:
            links = "1 link" if len(self.loops) == 1 else f"{len(self.loops)} links"
            said.append(f"{links} to a folder that this one lies in ({shown(self.loops[0].name)})")
        return f"left out: {' and '.join(said)}" if said else ""

    def take(self, path: Path) -> None:
        """A file, or what can't be looked at."""
        suffix = path.suffix.lower()
        known = suffix in encoded.SUFFIXES
        if not os.path.exists(path) or (known and os.path.isfile(path)):
            self.pictures.append(path)
        elif known:
            self.kinds[f"{suffix} that is no file"] += 1  # reading from a pipe would wait without end
        else:
            self.kinds[suffix or "no suffix"] += 1


def _searched(folder: Path, *, recursive: bool) -> _Search:
    if not folder.is_dir():
        raise not_a_folder(folder, "Name a folder of pictures")
    found, top = _Search(), _real(folder)
    entered, inside, links = {top}, [_entries(folder)], deque[Path]()
    while inside or links:
        if not inside:  # links wait for all real folders: where one has a name of its own, its pictures have it too
            inside += _entered(links.popleft(), entered, found)
            continue
        for path in inside.pop():
            if not os.path.isdir(path):
                found.take(path)
            elif recursive and os.path.islink(path):
                around = top.is_relative_to(_real(path))
                (found.loops if around else links).append(path)
            elif recursive:
                inside += _entered(path, entered, found)
    return found


def _entered(folder: Path, entered: set[Path], found: _Search) -> list[list[Path]]:
    """What lies in `folder`, unless it was entered before by whatever name."""
    if (real := _real(folder)) in entered:
        return []
    entered.add(real)
    try:
        return [_entries(folder)]
    except BadInput:
        found.pictures.append(folder)
        return []


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises for a link to itself before Python 3.13


def _entries(folder: Path) -> list[Path]:
    """All that is not hidden. Raises BadInput where the system does not let us look."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as exc:
        raise BadInput(
            f"can't look into it: {exc.strerror}", where=shown(folder), hint="Check its permissions"
        ) from exc
