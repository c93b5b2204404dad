"""Golden samples of a segmenter: a point, a box, and several points with a box, on different pictures.

Of several alternatives the refiner gets the one with the highest predicted IoU. Where two are nearly equal, rounding
decides which, so that a right device would fail: pictures are preferred on which the decision is clear.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk.export.family import Exported
from edge_sdk.export.golden_pictures import png, shrunk
from edge_sdk.export.pack import axes_of
from edge_sdk.export.tasks.base import Golden
from edge_sdk.export.tasks.segmentation.annotations import AnnotatedPicture, BitMask
from edge_sdk.export.tasks.segmentation.prompting import box_of, innermost
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions
from edge_sdk.tasks.base import Setup
from edge_sdk.tasks.images import stored_picture
from edge_sdk.tasks.segmentation.settings import DECODER, ENCODER, IOU
from edge_sdk.tasks.segmentation.task import SegmentationTask
from edge_sdk.tensors import Array

PICTURES = 6
"""Of which two are tried for each kind of prompt."""
PROMPTS = ("point", "box", "points and box")
_SIDE = 256
"""Of a drawn picture, px."""


def golden(pictures: Sequence[AnnotatedPicture], exported: Exported, setup: Setup) -> list[Golden]:
    """Three samples, each followed by a spare one. pictures: annotated ones to choose from, none = drawn ones."""
    scenes = list(_scenes(pictures)) or [drawn(seed) for seed in range(PICTURES)]
    tried = [
        Golden(source={**stored_picture(png(rgb)), **_prompt(PROMPTS[i % len(PROMPTS)], mask)}, label=PROMPTS[i % 3])
        for i, (rgb, mask) in enumerate(scenes)
    ]
    margins = _margins(tried, exported, setup)
    out = []
    for kind in PROMPTS:
        those = sorted((i for i, one in enumerate(tried) if one.label == kind), key=lambda i: -margins[i])
        out += [Golden(source=tried[i].source, label=kind, spare=rank > 0) for rank, i in enumerate(those)]
    return out


def _scenes(pictures: Sequence[AnnotatedPicture]) -> Iterator[tuple[NDArray[np.uint8], BitMask]]:
    """PICTURES spread evenly over those given, no larger than a golden picture, each with its largest segment."""
    for at in np.unique(np.linspace(0, len(pictures) - 1, PICTURES).astype(int)) if len(pictures) else ():
        pixels = pictures[at].pixels()
        rgb = shrunk(pixels)
        sizes = [(int(np.count_nonzero(mask)), mask) for mask in pictures[at].masks(*pixels.shape[:2])]
        if sizes:
            mask = max(sizes, key=lambda one: one[0])[1].astype(np.uint8)
            small = cv2.resize(mask, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_NEAREST) > 0
            if small.any():
                yield rgb, np.asarray(small)


def drawn(seed: int) -> tuple[NDArray[np.uint8], BitMask]:
    """A picture with a bright disk on a noisy ground, uint8 (H, W, 3), and the disk, bool (H, W): for models that come
    without pictures."""
    rng = np.random.default_rng(seed)
    height, width = _SIDE - 16 * (seed % 3), _SIDE
    ground = rng.normal(rng.integers(50, 110, 3), 9, (height, width, 3))
    mask = np.zeros((height, width), np.uint8)
    cv2.circle(mask, (width // 3 + 11 * seed, height // 2 - 5 * seed), 30 + 4 * seed, 1, cv2.FILLED)
    ground[mask == 1] = rng.normal(rng.integers(140, 220, 3), 9, (int(mask.sum()), 3))
    return np.clip(np.rint(ground), 0, 255).astype(np.uint8), mask == 1


def _prompt(kind: str, mask: BitMask) -> dict[str, Array]:
    """Arrays of a stored source beside the picture."""
    point: dict[str, Array] = {"points": innermost(mask)[None], "labels": np.array([1], np.int32)}
    if kind == "point":
        return point
    box: dict[str, Array] = {"boxes": box_of(mask)}
    if kind == "box" or mask.all():
        return box
    beside = innermost(~mask)
    return {**box, "points": np.stack([innermost(mask), beside]), "labels": np.array([1, 0], np.int32)}


def _margins(tried: Sequence[Golden], exported: Exported, setup: Setup) -> list[float]:
    """Of each sample, how far the highest predicted IoU of its alternatives is above the second; 1 where there is no
    second one."""
    task, out = SegmentationTask(), []
    sessions = {}
    try:
        for role in (ENCODER, DECODER):
            graph = exported.graphs[role]
            options = CompileOptions(graph_name=role, axes=axes_of(graph, setup.inputs[role]))
            sessions[role] = registry.runtime("onnxruntime").compile(graph.onnx, options)
        for one in tried:
            answered: dict[str, Mapping[str, Array]] = {}
            for role, session in sessions.items():
                answered[role] = session.run(task.feeds(setup, one.source, role, answered))
            scores = np.sort(answered[DECODER][IOU][0, list(setup.settings.multimask)])
            out.append(float(scores[-1] - scores[-2]) if len(scores) > 1 else 1.0)
    finally:
        for session in sessions.values():
            session.close()
    return out
