"""Masks of one picture as one map of labels, and that map in colour. Knows runs and colours; no network."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput
from edge_sdk.tasks.segmentation.drawing import colour_of
from edge_sdk.tasks.segmentation.rle import Rle

MOST_LABELS = 2**16 - 1
"""Masks of a label map: what 16 bits hold besides 0."""
_COVER = 0.45
"""Share of the colour inside a mask; the picture shows through the rest."""


def label_map(masks: Sequence[Rle], *, width: int, height: int) -> NDArray[np.uint16]:
    """uint16 (height, width): 0 = no mask, i = mask i - 1; where masks overlap, the smallest, of equal ones the first.

    Made of the runs, one mask at a time: costs their areas, not the picture's for each of them. Raises BadInput for
    more masks than 16 bits count.
    """
    if len(masks) > MOST_LABELS:
        raise BadInput(f"a label map holds {MOST_LABELS} masks, there are {len(masks)}", hint="Save them as JSON")
    columns = np.zeros(width * height, np.uint16)
    for index in sorted(range(len(masks)), key=lambda i: (masks[i].area_px, i), reverse=True):
        columns[_positions(masks[index].counts)] = index + 1
    return np.ascontiguousarray(columns.reshape(width, height).T)


def _positions(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 (area,): where the ones of a mask are, column by column."""
    ends = np.cumsum(counts)
    starts, lengths = ends[0::2][: len(counts) // 2], counts[1::2]
    before = np.cumsum(lengths) - lengths  # ones before each run
    return np.asarray(np.repeat(starts - before, lengths) + np.arange(int(lengths.sum())), np.int64)


def coloured(picture: NDArray[np.uint8], labels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """uint8 (H, W, 3): the picture, RGB, with each label's colour over it and a line around it. labels: (H, W)."""
    colours = np.array([(0, 0, 0), *(colour_of(index) for index in range(int(labels.max())))], np.uint8)
    tint = colours[labels]
    rims = _rims(labels)
    inside = ((labels > 0) & ~rims)[:, :, None]
    out = np.where(inside, cv2.addWeighted(picture, 1.0 - _COVER, tint, _COVER, 0.0), picture)
    out[rims] = tint[rims]
    return np.asarray(out, np.uint8)


def _rims(labels: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """bool (H, W): labelled pixels with another label beside, above or below them."""
    rims = np.zeros(labels.shape, np.bool_)
    across, down = labels[:, :-1] != labels[:, 1:], labels[:-1] != labels[1:]
    rims[:, :-1] |= across
    rims[:, 1:] |= across
    rims[:-1] |= down
    rims[1:] |= down
    return rims & (labels > 0)
