"""Draws metal parts for a generator to learn from: a zip with a folder for each kind (dent, good, scratch, stain).

Pictures are 32 x 32 px, grey. Another --seed draws other parts of the same kinds, to measure against. Then

    python benchmarks/onestep_parts.py --count 8000 --seed 0 --out parts.zip
    edge-sdk train onestep parts.zip --base 16 --out parts.edge
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from edge_sdk import atomic
from edge_sdk.export.onestep.parts import KINDS, parts
from edge_sdk.tasks.generation.result import png

WHEN = (2026, 1, 1, 0, 0, 0)
"""Of every file in the zip: the same pictures make the same bytes."""


def packed(count: int, seed: int) -> bytes:
    """The zip's bytes. count: pictures of all kinds together, the kinds in turn."""
    pictures, kinds = parts(count, seed=seed)
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_STORED) as archive:
        for at, (picture, kind) in enumerate(zip(pictures, kinds, strict=True)):
            entry = zipfile.ZipInfo(f"{KINDS[kind]}/{at:05d}.png", WHEN)
            archive.writestr(entry, png(picture))
    return held.getvalue()


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--count", type=int, default=8000, help="pictures of all kinds together")
    made.add_argument("--seed", type=int, default=0, help="of the parts")
    made.add_argument("--out", type=Path, required=True, metavar="ZIP")
    return made


def main(words: list[str] | None = None) -> int:
    asked = parser().parse_args(words)
    atomic.write(asked.out, packed(asked.count, asked.seed))
    print(f"{asked.out}: {asked.count} pictures, {asked.out.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
