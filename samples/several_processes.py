"""Verdicts on a folder of pictures in several processes, one line a picture. See docs/processes.md.

python samples/several_processes.py line3.edge photos/ --workers 2
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import sys
from pathlib import Path

import edge_sdk
from edge_sdk.errors import BadInput

_LOADED: list[edge_sdk.AnomalyDetector] = []


def start(bundle: Path, threads: int) -> None:
    """Once in each worker, after it was started: a predictor does not survive a fork."""
    _LOADED.append(edge_sdk.load_as(edge_sdk.AnomalyDetector, bundle, threads=threads))


def line_of(picture: Path) -> str:
    """One line; a file that is no picture is named, and the rest goes on."""
    try:
        return _LOADED[0].predict(picture).line()
    except BadInput as exc:
        return f"no result {exc}"


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of the runtime, in each worker")
    asked = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that the console can't show must not stop the rest
        sys.stdout.reconfigure(errors="backslashreplace")
    # spawn: a forked child would share the parent's threads, locks and half-used libraries
    context = multiprocessing.get_context("spawn")
    with context.Pool(asked.workers, initializer=start, initargs=(asked.bundle, asked.threads)) as pool:
        for line in pool.imap(line_of, sorted(asked.folder.iterdir())):
            print(line)


if __name__ == "__main__":
    main()
