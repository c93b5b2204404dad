"""A tiny product for tests of XS: grey discs on a textured ground, and the smallest networks that still are XS."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from edge_sdk.export.anomaly.augment import Augmentation
from edge_sdk.export.efficientad.xs.model import Source, XsConfig, XsLayout, XsModel, new_model
from edge_sdk.export.efficientad.xs.train import quantiles_of, statistics_of
from edge_sdk.export.trunk.lite0 import load_trunk

SIDE = 128

LAYOUT = XsLayout(
    taps=(4, 7, 10, 14), stem=8, width=16, map_stride=8,
    sources=(Source(4, weight=0.5), Source(7), Source(10, "cosine"), Source(14), Source(14, "weighted")),
)  # fmt: skip
CONFIG = XsConfig(
    layout=LAYOUT,
    fixed=Augmentation(scale=0.02, shift=0.02, light=0.05),
    views=3,
    fresh=1,
    batch=4,
    warm_steps=4,
    checkpoint_every_s=0.0,
)


def part(rng: np.random.Generator, *, damaged: bool = False, side: int = 96) -> NDArray[np.uint8]:
    """One picture, uint8 (side, side, 3)."""
    picture = np.full((side, side, 3), 200, np.uint8)
    centre = (side // 2 + int(rng.integers(-2, 3)), side // 2 + int(rng.integers(-2, 3)))
    cv2.circle(picture, centre, side // 3, (90, 110, 120), -1, cv2.LINE_AA)
    cv2.circle(picture, centre, side // 8, (40, 40, 60), -1, cv2.LINE_AA)
    if damaged:
        cv2.line(picture, (10, 20), (side - 10, side - 30), (250, 20, 20), 4, cv2.LINE_AA)
    return np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


def folder_of_parts(root: Path, *, good: int = 8) -> Path:
    """MVTec layout with `good` training pictures."""
    rng = np.random.default_rng(5)
    for i in range(good):
        _write(root / "train" / "good" / f"p{i}.png", part(rng))
    for i in range(2):
        _write(root / "test" / "good" / f"g{i}.png", part(rng))
        _write(root / "test" / "scratch" / f"s{i}.png", part(rng, damaged=True))
    return root


def _write(path: Path, rgb: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.ascontiguousarray(rgb[:, :, ::-1]))


def pictures(count: int, *, width: int = SIDE, height: int = SIDE, seed: int = 0) -> NDArray[np.uint8]:
    """Network inputs, uint8 (count, height, width, 3)."""
    rng = np.random.default_rng(seed)
    return np.stack([cv2.resize(part(rng), (width, height), interpolation=cv2.INTER_AREA) for _ in range(count)])


def untrained(layout: XsLayout = LAYOUT, *, width: int = SIDE, height: int = SIDE) -> XsModel:
    """A model with real statistics and quantiles, and a student whose batch norms have seen a few pictures."""
    trunk = load_trunk(layout.taps[-1])
    images = torch.from_numpy(pictures(4, width=width, height=height))
    with torch.no_grad():
        features = trunk(images, layout.blocks)
        model = new_model(layout, trunk, statistics_of([features], layout.blocks), seed=0)
        model.student.train()
        for _ in range(5):
            model.maps(features)
        model.eval()
        for tap in layout.weighted:
            wrong = model.difference(tap, model.learned(features), features)
            model.set_weights(tap, wrong.permute(0, 2, 3, 1).flatten(0, 2))
        model.quantiles = quantiles_of(model, [features], (0.9, 0.995))
    return model
