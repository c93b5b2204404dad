"""Replays the public complaints of docs/complaints.md, and writes what they measured into that page.

    python benchmarks/complaints.py --out docs/results/complaints.json

Each replay is one command of samples/complaints/, in a process of its own. With --only-page nothing is measured: the
page gets the tables of the record that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "samples" / "complaints"))
from complaints_page import PAGE, rendered
from record import ROOT, Rows, options, write_record
from table import COMPLAINTS

from edge_sdk import atomic

SCRIPTS = ROOT / "samples" / "complaints"


def replayed(script: str) -> dict[str, Any]:
    """What one replay prints. Ends the run where a claim does not hold, or a package is missing."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    call = [sys.executable, str(SCRIPTS / f"{script}.py"), "--json"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise SystemExit(f"{script} ended with {done.returncode}: {done.stdout}{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "complaints.json")
    out.add_argument("--only-page", action="store_true", help="measure nothing, write the page anew")
    return out


def main() -> None:
    """Every replay, the record, the page."""
    asked = parser().parse_args()
    if not asked.only_page:
        rows = Rows(asked.out, asked)
        found = {one.script: rows.row(one.script, lambda one=one: replayed(one.script)) for one in COMPLAINTS}
        write_record(
            asked.out, found, seeds=[0], samples=len(found),
            notes=["times: CPU time of one thread, int8 and float32 called in turn, medians of 40 ratios"],
        )  # fmt: skip
        rows.discard()
    record = json.loads(asked.out.read_text("utf-8"))
    atomic.write(PAGE, rendered(PAGE.read_text("utf-8"), record))


if __name__ == "__main__":
    main()
