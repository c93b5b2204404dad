"""What a replay measured, as rows and claims, and the command line of all replays. Knows no complaint's subject.

A row has one figure of the usual tool and one of edge-sdk. A claim is a sentence with its outcome in this run: the
process ends with 1 if one does not hold.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from table import Complaint, complaint

from edge_sdk.errors import EdgeError, NotThere
from edge_sdk.text_table import text_table

Value: TypeAlias = "float | int | str | None"
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Row:
    """what: is measured. usual, ours: numbers in `unit`, or words; None where one of the two has no such thing."""

    what: str
    usual: Value
    ours: Value
    unit: str = ""

    @property
    def cells(self) -> tuple[str, str, str]:
        """For a table: numbers with four digits."""
        return self.what, *(shown(value, self.unit) for value in (self.usual, self.ours))


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence that this run confirmed or refuted."""

    text: str
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """usual, ours: what was called, the headings of the two columns. notes: what was left out, and why."""

    usual: str
    ours: str
    rows: Sequence[Row]
    claims: Sequence[Claim]
    notes: Sequence[str] = ()

    @property
    def text(self) -> str:
        """The table, the claims, the notes."""
        table = text_table(("", f"usual: {self.usual}", f"edge-sdk: {self.ours}"), [row.cells for row in self.rows])
        claims = [f"{'holds' if one.holds else 'DOES NOT HOLD'}: {one.text}" for one in self.claims]
        return "\n".join([table, "", *claims, *self.notes])


def shown(value: Value, unit: str) -> str:
    """A value as a cell of a table."""
    if value is None or isinstance(value, str):
        return value or NOTHING
    return f"{value:.4g} {unit}".rstrip()


def parser(about: Complaint) -> argparse.ArgumentParser:
    """The command line of every replay."""
    threads = ", ".join(about.reported)
    out = argparse.ArgumentParser(prog=f"{about.script}.py", description=f"{about.title}. Reported in {threads}.")
    out.add_argument("--json", action="store_true", help="print one JSON object")
    return out


def run(script: str, replay: Callable[[Path], Replay]) -> None:
    """Replay in an empty folder, print, exit: 0 all claims hold, 1 one does not, 4 a package is missing."""
    about = complaint(Path(script).stem)
    asked = parser(about).parse_args()
    try:
        _check_packages(about)
        with tempfile.TemporaryDirectory(prefix="edge-sdk-complaint-") as folder:
            found = replay(Path(folder))
    except EdgeError as exc:
        print(exc, file=sys.stderr)
        raise SystemExit(exc.exit_code) from exc
    print(json.dumps(asdict(found)) if asked.json else f"{about.title}\n\n{found.text}")
    raise SystemExit(0 if all(claim.holds for claim in found.claims) else 1)


def installed(package: str) -> bool:
    """Whether a package can be imported; imports it not."""
    return importlib.util.find_spec(package) is not None


def child(words: Sequence[str], *, environment: dict[str, str] | None = None) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a process of this interpreter that finds the same packages."""
    path = os.pathsep.join(part for part in sys.path if part)
    return [sys.executable, *words], {**os.environ, "PYTHONPATH": path, **(environment or {})}


def _check_packages(about: Complaint) -> None:
    if missing := [name for name in about.needs if not installed(name)]:
        raise NotThere(f"{', '.join(missing)} not installed: {about.title!r} can't be replayed without")
