"""Seeded values of any type, as a graph's input takes them. Knows no graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge_sdk.tensors import Array

RANGES: Mapping[str, tuple[float, float]] = {
    "uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767), "bool": (0, 1),
}  # fmt: skip
"""By type, the values that are drawn evenly, both included; floats from -1 to 1; other integers 0 or 1, which an index
into almost anything can be."""
FLOATS, INTEGERS = (-1.0, 1.0), (0, 1)


def drawn(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Evenly drawn values of a type (see RANGES)."""
    if np.issubdtype(np.dtype(dtype), np.floating):
        return rng.uniform(*FLOATS, shape).astype(dtype)
    low, high = RANGES.get(dtype, INTEGERS)
    return rng.integers(int(low), int(high), shape, endpoint=True).astype(dtype)
