"""The words that graphs and runtimes share about tensors: name, dtype, shape. Knows no picture and no file."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

DType: TypeAlias = Literal[
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64", "bool"
]
Array: TypeAlias = NDArray[Any]


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """name: as in the graph. shape: sizes of at least 0, or the name of a free axis; () is a scalar."""

    name: str
    dtype: DType
    shape: tuple[int | str, ...]

    def accepts(self, array: Array) -> str:
        """Empty if `array` fits, else what is wrong, as a sentence part."""
        if array.dtype != np.dtype(self.dtype):
            return f"{self.name} is {array.dtype}, the graph takes {self.dtype}"
        fits = array.ndim == len(self.shape) and all(
            isinstance(want, str) or want == have for want, have in zip(self.shape, array.shape, strict=False)
        )
        return "" if fits else f"{self.name} has shape {array.shape}, the graph takes {self.shape}"
