"""Verdicts on a folder of pictures, one CSV line a picture.

python samples/folder_to_csv.py line3.edge photos/
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path

import edge_sdk
from edge_sdk.errors import BadInput


def write_csv(bundle: Path, folder: Path) -> None:
    """CSV on stdout: file, verdict, score, threshold, number of regions, milliseconds."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that the console can't show must not stop the rest
        sys.stdout.reconfigure(errors="backslashreplace")
    table = csv.writer(sys.stdout)
    table.writerow(["file", "verdict", "score", "threshold", "regions", "ms"])
    with edge_sdk.load_as(edge_sdk.AnomalyDetector, bundle) as detector:
        for file in sorted(folder.iterdir()):
            try:
                result = detector.predict(file)
            except BadInput as exc:  # a stray text file, a cut picture: named, and the rest goes on
                print(exc, file=sys.stderr)
                continue
            row = [file.name, result.verdict.label, f"{result.score:.5f}", result.verdict.threshold]
            table.writerow([*row, len(result.regions), f"{result.ran.stages_ms['total']:.1f}"])


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    write_csv(asked.bundle, asked.folder)


if __name__ == "__main__":
    main()
