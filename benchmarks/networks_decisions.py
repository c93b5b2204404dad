"""What a network decides from its output, and whether two outputs decide alike. Knows no network's file.

Each function takes the float graph's outputs and another graph's on the same samples, (1, ...) float32 each, and
answers `Agreement`. Classes: top-1 of the last axis. Text: greedy CTC over (1, steps, characters), blank 0. Boxes:
bounding rectangles of connected regions above THRESHOLD of a probability map (1, 1, h, w).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Outputs: TypeAlias = Sequence[NDArray[Any]]
Box: TypeAlias = tuple[int, int, int, int]
"""left, top, right, bottom in pixels, the last two beyond the region."""

THRESHOLD, NEAR_PX, SMALLEST_PX = 0.3, 2, 9
"""Of the detector: its published threshold; how far an edge may be; area of a region below which it is no text."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """same of total: decisions that are the same. what: what one decision is."""

    what: str
    same: int
    total: int


Decide: TypeAlias = Callable[[Outputs, Outputs], Agreement]


def classes(wanted: Outputs, got: Outputs) -> Agreement:
    """Samples whose most probable class is the same."""
    same = sum(int(a.argmax(-1).item() == b.argmax(-1).item()) for a, b in zip(wanted, got, strict=True))
    return Agreement("top-1 class of a sample", same, len(wanted))


def texts(wanted: Outputs, got: Outputs) -> Agreement:
    """Lines whose characters are all the same."""
    same = sum(greedy(a[0]) == greedy(b[0]) for a, b in zip(wanted, got, strict=True))
    return Agreement("whole text of a line", same, len(wanted))


def greedy(scores: NDArray[Any]) -> tuple[int, ...]:
    """Indices of characters: the best of each step, repetitions once, without the blank 0. scores: (steps, chars)."""
    best = scores.argmax(-1)
    changes = best[np.insert(best[1:] != best[:-1], 0, True)] if len(best) else best
    return tuple(int(one) for one in changes if one)


def boxes(wanted: Outputs, got: Outputs) -> Agreement:
    """Regions of the float map that the other has with each edge within NEAR_PX, less those that it has in addition."""
    same = total = 0
    for a, b in zip(wanted, got, strict=True):
        ours, theirs = regions(a[0, 0]), regions(b[0, 0])
        left = list(theirs)
        for box in ours:
            if (twin := next((one for one in left if near(box, one)), None)) is not None:
                left.remove(twin)
                same += 1
        total += max(len(ours), len(theirs))
    return Agreement(f"box of a region above {THRESHOLD}, within {NEAR_PX} px", same, total)


def regions(probability: NDArray[Any]) -> list[Box]:
    """Bounding rectangles of the 8-connected regions above THRESHOLD of (h, w), by position."""
    from scipy import ndimage

    marked, _ = ndimage.label(probability > THRESHOLD, structure=np.ones((3, 3), int))
    areas = np.bincount(marked.ravel())
    found = ndimage.find_objects(marked)
    return [
        (columns.start, rows.start, columns.stop, rows.stop)
        for number, (rows, columns) in enumerate(found, 1) if areas[number] >= SMALLEST_PX
    ]  # fmt: skip


def near(one: Box, other: Box) -> bool:
    """Whether each edge is within NEAR_PX of the other's."""
    return all(abs(a - b) <= NEAR_PX for a, b in zip(one, other, strict=True))
