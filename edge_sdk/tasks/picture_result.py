"""What every result for one picture holds beside its answer. Knows no task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edge_sdk.tasks.base import RunInfo
from edge_sdk.tasks.images import Source
from edge_sdk.tasks.plots import drawn_on


@dataclass(frozen=True, kw_only=True, eq=False)
class PictureResult(ABC):
    """The answer for one picture. ran: what produced it.

    source: the picture's name in texts; file: where it lies, None if pixels or bytes were given. bit_depth: by which
    16-bit values are read. notes: what a person should look at (a picture far too small, or grey instead of in colour).
    suffix: of what `save` writes.
    """

    suffix: ClassVar[str] = ".png"

    ran: RunInfo
    source: str = ""
    file: Path | None = None
    bit_depth: int | None = 16
    notes: tuple[str, ...] = ()

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Width and height of the picture, px."""

    def background(self, picture: Source | None) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB: the pixels to draw on. They may be the caller's own array: don't write to it.

        picture: as `predict` takes it, arrays RGB; None = read again from `file`. Raises BadInput: None, and the
        picture did not come from a file; what is no picture; one of another size.
        """
        return drawn_on(picture, self.file, bit_depth=self.bit_depth, size=self.size)
