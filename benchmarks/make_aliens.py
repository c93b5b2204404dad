"""Makes the demo pictures that ship: ../shared/data/aliens scaled, as JPEG, with attribution beside them.

    python benchmarks/make_aliens.py ../shared/data/aliens

Writes export/efficientad/aliens, but for LICENSE.txt, which is Creative Commons' own text. Knows no network. Needs the
source pictures; nobody needs it to use the product.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import ROOT, options

OUT = ROOT / "export" / "efficientad" / "aliens"
FOLDERS = ("train/good", "test/good", "test/damaged")
WIDTH, HEIGHT, QUALITY = 275, 190, 90

ATTRIBUTION = """# Toy aliens

118 photographs of a moulded toy: 38 good ones to train on, 20 good and 60 damaged ones to test with.

- Work: the `aliens-dataset` of amazon-lookout-for-vision, https://github.com/aws-samples/amazon-lookout-for-vision
- Author: "Copyright Amazon.com, Inc. or its affiliates"
- Licence: Creative Commons Attribution-ShareAlike 4.0 International (CC BY-SA 4.0), the full text is in LICENSE.txt
  and at https://creativecommons.org/licenses/by-sa/4.0/legalcode
- Changed here: split into training and test pictures (every third normal picture, by number, is a test picture),
  scaled from 550 x 380 to 275 x 190 by area averaging, stored as JPEG of quality 90.

The pictures are data beside the code: the product's Apache-2.0 licence does not cover them. Whoever passes on changed
versions of them does so under CC BY-SA 4.0 too.

Made by `python benchmarks/make_aliens.py`.
"""


def make(source: Path) -> int:
    """Writes the folder and returns the bytes of its pictures."""
    import cv2
    import numpy as np

    from edge_sdk import preprocess

    total = 0
    for folder in FOLDERS:
        (OUT / folder).mkdir(parents=True, exist_ok=True)
        for path in sorted((source / folder).glob("*.png")):
            rgb = preprocess.resize(preprocess.read_rgb8(path, bit_depth=None), WIDTH, HEIGHT)
            bgr = np.ascontiguousarray(rgb[:, :, ::-1])
            done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            if not done:
                raise RuntimeError(f"{path} could not be encoded")
            target = OUT / folder / f"{path.stem}.jpg"
            target.write_bytes(encoded.tobytes())
            total += target.stat().st_size
    (OUT / "ATTRIBUTION.md").write_text(ATTRIBUTION, encoding="utf-8")
    return total


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("source", type=Path, nargs="?", default=ROOT.parent / "shared" / "data" / "aliens")
    return out


def main() -> None:
    """Looks for the pictures, then writes."""
    source: Path = parser().parse_args().source
    if missing := [folder for folder in FOLDERS if not (source / folder).is_dir()]:
        raise SystemExit(f"{source} has no folder {missing[0]}: nothing was written")
    print(f"{make(source) / 1e6:.2f} MB in {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
