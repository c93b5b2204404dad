"""Small pictures with label maps in a folder, and networks that are trained on them in a second."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from edge_sdk.export.tasks.segmentation.annotations import AnnotatedPicture, LabelMap
from edge_sdk.export.tinysam.distill.marked import MarkedPicture
from edge_sdk.export.tinysam.distill.recipe import DistillRecipe, PromptRecipe, ViewRecipe
from edge_sdk.export.tinysam.layout import DecoderLayout, SamLayout, TinyVitLayout
from edge_sdk.export.tinysam.sam import Sam

SIDE = 64
RECIPE = DistillRecipe(
    prompts=PromptRecipe(each=4, box_share=0.5, most_rounds=2), views=ViewRecipe(views=3, least_px=30),
    batch=2, rate=2e-3, warm_steps=1,
)  # fmt: skip
LAYOUT = SamLayout(
    encoder=TinyVitLayout(
        image_size=SIDE, dims=(8, 16, 16, 32), depths=(1, 1, 1, 1), heads=(1, 1, 1), windows=(8, 4, 4), width=32
    ),
    decoder=DecoderLayout(heads=2, mlp=32, prior=True),
)


def photographs(folder: Path, *, count: int = 4, write: bool = True) -> list[MarkedPicture]:
    """Coloured discs and bars on a ground, 60 x 80 px, two label maps each; the second leaves the ground unmarked.
    write: make the files; otherwise they are there."""
    if write:
        _write(folder, count)
    return [marked(folder / f"{k}.png", folder / f"{k}_0.png", folder / f"{k}_1.png") for k in range(count)]


def marked(picture: Path, *maps: Path) -> MarkedPicture:
    """A picture with label maps, one of each annotator."""
    annotators = tuple(LabelMap(path=path, content=path.name) for path in maps)
    return MarkedPicture(AnnotatedPicture(path=picture, part=picture.stem, content="", annotators=annotators))


def _write(folder: Path, count: int) -> None:
    rng = np.random.default_rng(5)
    for k in range(count):
        labels = np.ones((60, 80), np.uint8)
        cv2.circle(labels, (25, 30), 15, 2, -1)
        cv2.rectangle(labels, (50, 8 + k), (72, 50), 3, -1)
        colours = rng.integers(0, 255, (4, 3))
        cv2.imwrite(str(folder / f"{k}.png"), colours[labels].astype(np.uint8))
        for who in range(2):
            cv2.imwrite(str(folder / f"{k}_{who}.png"), np.where(labels > who, labels, 0))


def network(seed: int) -> Sam:
    torch.manual_seed(seed)
    return Sam(LAYOUT)
