"""Masks of one picture as one map of labels. Knows runs; no colour, no network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput
from edge_sdk.tasks.segmentation.rle import Rle

MOST_LABELS = 2**16 - 1
"""Masks of a label map: what 16 bits hold besides 0."""


def label_map(masks: Sequence[Rle], *, width: int, height: int) -> NDArray[np.uint16]:
    """uint16 (height, width): 0 = no mask, i = mask i - 1; where masks overlap, the smallest, of equal ones the first.

    Made of the runs, one mask at a time: costs their areas, not the picture's for each of them. Raises BadInput for
    more masks than 16 bits count.
    """
    if len(masks) > MOST_LABELS:
        raise BadInput(f"a label map holds {MOST_LABELS} masks, there are {len(masks)}", hint="Save them as JSON")
    columns = np.zeros(width * height, np.uint16)
    for index in sorted(range(len(masks)), key=lambda i: (masks[i].area_px, i), reverse=True):
        columns[_positions(masks[index])] = index + 1
    return np.ascontiguousarray(columns.reshape(width, height).T)


def _positions(mask: Rle) -> NDArray[np.int64]:
    """int64 (area,): where the ones of a mask are, column by column."""
    starts, ends = mask.ones
    lengths = ends - starts
    before = np.cumsum(lengths) - lengths  # ones before each run
    return np.asarray(np.repeat(starts - before, lengths) + np.arange(int(lengths.sum())), np.int64)
