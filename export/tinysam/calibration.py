"""Pictures for calibration: frames as in training, made by code where nothing else is given. Knows no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from edge_sdk.export.tasks.segmentation.annotations import BitMask
from edge_sdk.export.tinysam.scenes.mixture import Frame, Mixture


@dataclass(frozen=True, slots=True, eq=False)
class FramePicture:
    """One frame of training as a picture with masks."""

    frame: Frame
    path: Path

    def pixels(self) -> NDArray[np.uint8]:
        """uint8 (h, w, 3) RGB, without the frame's rest."""
        height, width = self.frame.extent
        return self.frame.image[:height, :width]

    def masks(self, height: int, width: int) -> Iterator[BitMask]:
        """bool (height, width) each."""
        for mask in self.frame.masks:
            yield mask[:height, :width] > 0


@dataclass(frozen=True, slots=True, eq=False)
class FramePictures(Sequence[FramePicture]):
    """`total` frames: the same number gives the same frame. Each is drawn when it is first asked for and then kept, its
    masks packed, 0.6 MB at 384 px: three roles go through them several times, and drawing takes longer than a role's
    graph."""

    mixture: Mixture
    total: int
    seed: int
    _kept: dict[int, _Packed] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.total

    @overload
    def __getitem__(self, at: int) -> FramePicture: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[FramePicture]: ...
    def __getitem__(self, at: int | slice) -> FramePicture | Sequence[FramePicture]:
        if isinstance(at, slice):
            return [self[k] for k in range(*at.indices(self.total))]
        if at not in self._kept:
            self._kept[at] = _Packed.of(self.mixture.frame(np.random.default_rng([self.seed, 9, int(at)])))
        return FramePicture(self._kept[at].frame(), Path(f"frame {int(at)}"))


@dataclass(frozen=True, slots=True, eq=False)
class _Packed:
    """A frame, its masks as bits."""

    packed: Frame
    shape: tuple[int, ...]

    @classmethod
    def of(cls, frame: Frame) -> _Packed:
        return cls(replace(frame, masks=np.packbits(frame.masks)), frame.masks.shape)

    def frame(self) -> Frame:
        """The frame as it was drawn."""
        count = int(np.prod(self.shape))
        return replace(self.packed, masks=np.unpackbits(self.packed.masks, count=count).reshape(self.shape))
