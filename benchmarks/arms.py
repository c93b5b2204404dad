"""What the arms of one experiment were measured as, a JSON file each, with what each was made of. Knows no experiment.

A file holds {"made_of": {name: text}, "row": {...}}. One that was made of something else is refused: a record
names the command that it was written by, and all of its rows must be of that command. Several processes may work in one
folder; an arm is worked on by one of them at a time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_sdk import atomic, locks


class Arms:
    """The files of one folder."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder. Raises CantWrite."""
        self._folder = atomic.folder(folder)

    def found(self, name: str, made_of: Mapping[str, str]) -> dict[str, Any] | None:
        """The row of an arm, None where it was not measured yet. Exits where it was made of something else."""
        from edge_sdk.export.training.identity import differences  # it loads torch

        path = self._folder / f"{name}.json"
        if not path.exists():
            return None
        kept = json.loads(path.read_text("utf-8"))
        before = kept.get("made_of")
        if before is None:
            raise SystemExit(f"{path} does not say what it was made of: remove it, or name another folder with --runs")
        if changed := differences(before, made_of):
            raise SystemExit(
                f"{path} was measured with other options ({'; '.join(changed)}): name another folder with --runs"
            )
        row: dict[str, Any] = kept["row"]
        return row

    def row(
        self, name: str, made_of: Mapping[str, str], measure: Callable[[], dict[str, Any]], *, wait: bool = False
    ) -> dict[str, Any] | None:
        """As `found`; what is not there is measured and kept. None: another process works on it, and `wait` is not
        asked for."""
        with self.working(name, wait=wait) as mine:
            row = self.found(name, made_of)
            if row is None and mine:
                row = measure()
                kept = {"made_of": dict(made_of), "row": row}
                atomic.write(self._folder / f"{name}.json", json.dumps(kept, indent=1, allow_nan=False) + "\n")
            return row

    @contextmanager
    def working(self, name: str, *, wait: bool) -> Iterator[bool]:
        """Hold the lock of an arm. False: another process holds it. The lock of a killed process is free."""
        with (self._folder / f"{name}.lock").open("ab") as file:
            try:
                mine = locks.take(file, patience_s=math.inf if wait else 0.0)
            except OSError as exc:
                locks.no_locks(self._folder, exc, "don't work on one arm from two processes at once")
                mine = True
            yield mine
