"""The words that graphs and runtimes share about tensors: name, dtype, shape. Knows no picture and no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

DType: TypeAlias = Literal[
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64", "bool"
]
Array: TypeAlias = NDArray[Any]
Feeds: TypeAlias = Mapping[str, Array]
"""Arrays by input name: what a session is fed."""

BATCH = "N"
"""The name of the batch axis."""


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """name: as in the graph. shape: sizes of at least 0, or the name of a free axis; () is a scalar.

    "N" is the batch: rows along it do not depend on each other.
    """

    name: str
    dtype: DType
    shape: tuple[int | str, ...]

    @property
    def batched(self) -> bool:
        """Whether axis 0 is the batch."""
        return self.shape[:1] == (BATCH,)

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of its free axes, in order."""
        return tuple(size for size in self.shape if isinstance(size, str))

    def accepts(self, array: Array) -> str:
        """Empty if `array` fits, else what is wrong, as a sentence part."""
        return self.misfit(str(array.dtype), array.shape)

    def misfit(self, dtype: str, shape: tuple[int, ...]) -> str:
        """Empty if an array of `dtype` and `shape` fits, else what is wrong, as a sentence part."""
        if dtype != self.dtype:
            return f"{self.name} is {dtype}, the graph takes {self.dtype}"
        fits = len(shape) == len(self.shape) and all(
            isinstance(want, str) or want == have for want, have in zip(self.shape, shape, strict=True)
        )
        return "" if fits else f"{self.name} has shape {shape}, the graph takes {self.shape}"


def row_counts(feeds: Feeds, specs: Sequence[TensorSpec]) -> dict[str, int]:
    """How many rows each input with a batch axis has, by name: equal numbers in valid feeds. Only arrays count."""
    arrays = {spec.name: feeds[spec.name] for spec in specs if spec.batched and spec.name in feeds}
    return {name: array.shape[0] for name, array in arrays.items() if isinstance(array, np.ndarray) and array.ndim}


def batch_size(feeds: Feeds, specs: Sequence[TensorSpec]) -> int | None:
    """How many rows the batch axis of `feeds` has; None where no input has one."""
    return min(row_counts(feeds, specs).values(), default=None)


def rows(feeds: Feeds, specs: Sequence[TensorSpec], start: int, stop: int) -> dict[str, Array]:
    """`feeds` with rows start..stop-1 of every input that has a batch axis, the others whole."""
    batched = {spec.name for spec in specs if spec.batched}
    return {name: array[start:stop] if name in batched else array for name, array in feeds.items()}


def joined(answers: Sequence[Mapping[str, Array]], specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Outputs of several calls as one: along the batch axis where there is one, else those of the first call."""
    if len(answers) == 1:
        return dict(answers[0])
    batched = {spec.name for spec in specs if spec.batched}
    return {
        name: np.concatenate([one[name] for one in answers]) if name in batched else value
        for name, value in answers[0].items()
    }
