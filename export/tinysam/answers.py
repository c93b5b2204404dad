"""How a model answers points on annotated pictures, whatever its networks are. Knows no network, no threshold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_sdk.export.tinysam.scenes.annotated import Annotated
from edge_sdk.tasks.segmentation.everything.stability import stability
from edge_sdk.tasks.segmentation.frame import Frame, Window

OFFSET = 1.0
"""Of the stability, as in segment-anything."""
Answers: TypeAlias = Callable[
    [Annotated, NDArray[np.int64]],
    Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]],
]
"""A model's answers to points (n, 2) = (x, y) on a picture: for each point the logits of its alternatives (K, m, m),
their predicted IoU (K,) and windows (K, 4) in px, None = the whole frame."""


def frame_of(one: Annotated, side: int) -> Frame:
    """Of a picture whose longest side is the frame's."""
    height, width = one.picture.shape[:2]
    return Frame(width=width, height=height, side=side, extent_height=height, extent_width=width)


def stability_of(logits: NDArray[np.float32], window: Window | None, frame: Frame) -> float:
    """Of a mask's logits, where the picture is."""
    return stability(logits[frame.valid(logits.shape[0], window)], threshold=0.0, offset=OFFSET)


def window_of(edges: NDArray[np.float32]) -> Window:
    """From numbers (4,)."""
    x0, y0, x1, y1 = (float(edge) for edge in edges)
    return x0, y0, x1, y1
