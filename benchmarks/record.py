"""How a benchmark's figures are kept: one JSON file in docs/results/, written whole or not at all. Knows no benchmark.

Every file says how it was made: command, commit, machine, versions, seeds, sample count. Use from a script:

    from record import write_record        (scripts run from the repository root: python benchmarks/name.py)
    write_record(Path("docs/results/int8_speed.json"), {"speedup": 1.9}, seeds=[0], samples=83)
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_sdk import atomic
from edge_sdk.profiling.machine import counters, machine, versions

SCHEMA = "edge-sdk.benchmark/1"
ROOT = Path(__file__).resolve().parents[1]


def write_record(
    path: Path,
    figures: Mapping[str, Any],
    *,
    seeds: Sequence[int],
    samples: int,
    notes: Sequence[str] = (),
    command: Sequence[str] | None = None,
) -> None:
    """Replace the JSON file at `path`; the old one stays until the new one is complete.

    figures: what was found, plain JSON values with their units in the keys; NaN and infinity are refused. samples: what
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
        "figures": figures,
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
