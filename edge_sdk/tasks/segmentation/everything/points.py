"""Where everything mode asks: grids of points, and the finer points between coarse ones. Knows no mask, no network.

Points are (x, y) in the caller's pixels, where an integer is the centre of a pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEPS = 4
"""Fine steps from one coarse point to the next: the hierarchical mode asks for 1 point in 16 first."""

BY_BOXES = 0.4
"""By boxes, the hierarchical mode has at most so many prompts, as a share of the points of the flat grid."""


def grid(side: int) -> NDArray[np.float64]:
    """float64 (side * side, 2) in (0, 1): (x, y) = ((i + 0.5) / side, (j + 0.5) / side), x fastest.

    As `build_point_grid` of segment-anything.
    """
    along = (np.arange(side) + 0.5) / side
    return np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)


def layer_sides(side: int, layers: int, divisor: int) -> tuple[int, ...]:
    """Points per side for the whole picture, then for the crops of each layer: int(side / divisor ** layer), at least 1
    (segment-anything divides by zero there)."""
    return tuple(max(1, int(side / divisor**layer)) for layer in range(layers + 1))


def coarse_points(side: int, width: int, height: int) -> NDArray[np.float64]:
    """float64 (n, 2) px: the first pass of the hierarchical mode, a grid of side // 4 (at least 1) points a side."""
    return grid(_coarse_side(side)) * (width, height)


def fine_points(side: int, width: int, height: int) -> NDArray[np.float64]:
    """float64 (n, 2) px: the points that the second pass may ask for, 15 around each coarse point, in its order.

    With c = max(1, side // 4) they are the places 1 to 4 c - 1 along each axis, in steps of size / (4 c), without the
    coarse points themselves: 897 of side 32. As `hierarchical_generate` of TinySAM where the picture's sides divide by
    `side`; elsewhere it rounds the steps down, so that most of a small picture is never asked for (a side of 63 px is
    stepped over in pixels, and one below 32 px not at all).
    """
    coarse = _coarse_side(side)
    last = STEPS * coarse
    offsets = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    offsets += [(2, j) for j in (-1, 0, 1)] + [(i, 2) for i in (-1, 0, 1)] + [(2, 2)]
    at = np.arange(coarse) * STEPS + STEPS // 2
    centres = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 1, 2)
    # Steps are counted in integers: as pixel positions, the last column would be in or out by a rounding error.
    steps = (centres + np.array(offsets)).reshape(-1, 2)
    return np.asarray(steps[(steps < last).all(axis=1)] * (width / last, height / last), np.float64)


def flat_count(side: int) -> int:
    """Points of the flat mode."""
    return side * side


def most_by_boxes(side: int) -> int:
    """Boxes that the hierarchical mode prompts at most."""
    return max(1, int(BY_BOXES * flat_count(side)))


def hierarchical_count(side: int) -> int:
    """Points that the hierarchical mode asks for or leaves out as covered: of both passes."""
    return (STEPS * _coarse_side(side) - 1) ** 2


def _coarse_side(side: int) -> int:
    return max(1, side // STEPS)
