"""How a benchmark's figures are kept: one JSON file in docs/results/, written whole or not at all. Knows no benchmark.

Every file says how it was made: command, commit, machine (instruction set included), versions, seeds, sample count. A
script that measures for long keeps its rows in `Rows` meanwhile, so that it resumes after it was stopped:

    from record import ROOT, Rows, options, write_record    (scripts run from the root: python benchmarks/name.py)

    rows = Rows(asked.out, asked)
    row = rows.row("int8 over fp32", lambda: {"speedup": ...})
    write_record(asked.out, {"ratios": [row]}, seeds=[0], samples=83)
    rows.discard()

Each script has a function `parser()`: tests parse the commands of all records with it. Nothing that is slow to import
(torch, onnx, a runtime) is imported before the arguments are understood.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_sdk import atomic
from edge_sdk.profiling.machine import counters, machine, versions

SCHEMA = "edge-sdk.benchmark/1"
ROOT = Path(__file__).resolve().parents[1]
NOT_COMPARED = frozenset({"out", "note", "published"})
"""Options that do not change how a row is measured."""


def options(about: str | None) -> argparse.ArgumentParser:
    """An empty parser. about: a script's docstring, shown as it stands."""
    return argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)


class Rows:
    """What was measured so far, a JSON object a line in OUT.part, until the record is written.

    Exits with a sentence where that file holds rows of other options or of another commit.
    """

    def __init__(self, out: Path, asked: argparse.Namespace) -> None:
        self._path = out.with_suffix(".part")
        about = {name: str(value) for name, value in sorted(vars(asked).items()) if name not in NOT_COMPARED}
        self._head = {"asked": about, "commit": _commit()}
        self._rows: dict[str, Any] = {}
        if self._path.exists():
            self._read()

    def row(self, name: str, measure: Callable[[], Any]) -> Any:
        """What was measured under this name before, else what `measure` answers now: plain JSON values."""
        if name not in self._rows:
            self._rows[name] = measure()
            new = not self._path.exists()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                lines = [self._head] if new else []
                file.writelines(json.dumps(line) + "\n" for line in [*lines, {"name": name, "row": self._rows[name]}])
        return self._rows[name]

    def discard(self) -> None:
        """The record is written: the rows are in it."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> None:
        whole, _, cut = self._path.read_text(encoding="utf-8").rpartition("\n")
        if not whole:  # killed in the first line
            self.discard()
            return
        head, *lines = whole.split("\n")
        if json.loads(head) != self._head:
            raise SystemExit(f"{self._path} holds rows of other options or of another commit: remove it to start anew")
        if cut:  # or the next row would stand behind the rest of one
            atomic.write(self._path, whole + "\n")
        self._rows = {kept["name"]: kept["row"] for kept in map(json.loads, lines)}


def write_record(
    path: Path,
    metrics: Mapping[str, Any],
    *,
    seeds: Sequence[int],
    samples: int,
    notes: Sequence[str] = (),
    command: Sequence[str] | None = None,
) -> None:
    """Replace the JSON file at `path`; the old one stays until the new one is complete.

    metrics: what was found, plain JSON values with their units in the keys; NaN and infinity are refused. samples: what
    one figure rests on (pictures, calls, pairs). command: None = this process's own.
    """
    entry = {
        "schema": SCHEMA,
        "name": path.stem,
        "command": _portable(sys.argv if command is None else command),
        "created_utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "seeds": list(seeds),
        "samples": samples,
        "notes": list(notes),
        "figures": metrics,
        "machine": asdict(machine()),
        "counters": asdict(counters()),
        "versions": versions(),
    }
    text = json.dumps(entry, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, text)


def _portable(command: Sequence[str]) -> list[str]:
    """Paths as seen from the repository root: the record must mean the same in another checkout."""
    inside, beside = f"{ROOT}{os.sep}", f"{ROOT.parent}{os.sep}"
    return ["python", *(part.replace(inside, "").replace(beside, f"..{os.sep}") for part in command)]


def _commit() -> str | None:
    """The commit checked out, with "+" if tracked files but records differ from it; None outside a repository."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/results"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")
