"""Judges a folder of pictures, one CSV line a picture. Run: python samples/judge_folder.py line3.edge photos/"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import edge_sdk
from edge_sdk.errors import BadInput


def main(bundle: Path, folder: Path) -> None:
    """CSV on stdout: file, verdict, score, threshold, number of regions, milliseconds."""
    table = csv.writer(sys.stdout)
    table.writerow(["file", "verdict", "score", "threshold", "regions", "ms"])
    with edge_sdk.load(bundle) as detector:
        for file in sorted(folder.iterdir()):
            try:
                result = detector.predict(file)
            except BadInput as exc:  # a stray text file, a cut picture: named, and the rest goes on
                print(exc, file=sys.stderr)
                continue
            row = [file.name, result.verdict.label, f"{result.score:.5f}", result.verdict.threshold]
            table.writerow([*row, len(result.regions), f"{result.ran.stages_ms['total']:.1f}"])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
