"""A training of XS that ends in seconds: few pictures, the smallest network. Knows no test."""

from __future__ import annotations

from pathlib import Path

import cv2
import tiny

from edge_sdk.export.anomaly.augment import Augmentation
from edge_sdk.export.efficientad.xs.model import Source, XsConfig, XsLayout

CONFIG = XsConfig(
    layout=XsLayout(
        taps=(4, 7), stem=8, width=16, map_stride=8, sources=(Source(4, weight=0.5), Source(7, "weighted"))
    ),
    fixed=Augmentation(scale=0.02, shift=0.02, light=0.05),
    views=3,
    fresh=1,
    batch=4,
    warm_steps=4,
    checkpoint_every_s=0.0,
)


def folder_of_parts(root: Path, *, good: int, tests: int) -> None:
    """`good` training pictures; of the `tests` test pictures every other one is damaged."""
    for name in ("train/good", "test/good", "test/square"):
        (root / name).mkdir(parents=True)
    for i in range(good):
        cv2.imwrite(str(root / "train" / "good" / f"p{i}.png"), tiny.picture(i))
    for i in range(tests):
        kind = "square" if i % 2 else "good"
        cv2.imwrite(str(root / "test" / kind / f"t{i}.png"), tiny.picture(100 + i, damaged=bool(i % 2)))
