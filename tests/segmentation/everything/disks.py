"""A picture of disks, and a decoder that answers by arithmetic, on any crop: for each point the disk below it, for each
box the disk that fills it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_sdk.tasks.segmentation.decoding import Decoded, EncodedImage
from edge_sdk.tasks.segmentation.everything.boxes import overlaps
from edge_sdk.tasks.segmentation.everything.crops import Crop
from edge_sdk.tasks.segmentation.frame import Frame

SIDE = 256
Disk = tuple[float, float, float]
"""x, y and radius, px of the picture, continuous."""


def frame_of(width: int, height: int, side: int = SIDE) -> Frame:
    scale = side / max(width, height)
    return Frame(
        width=width, height=height, side=side, extent_width=max(1, round(width * scale)),
        extent_height=max(1, round(height * scale)),
    )  # fmt: skip


def encode(crop: Crop) -> EncodedImage:
    """What a fake encoder answers: where the crop lies."""
    features = {"origin": np.array(crop.box[:2], np.float32)}
    return EncodedImage(features=features, frame=frame_of(crop.width, crop.height), digest="", bundle="")


@dataclass
class Disks:
    """The decoder. Masks 1 to 3 of a prompt: the disk under a point (the smallest) or the one in a box, one of 0.6
    times its radius, and one of 1.5 times; mask 0 is everything. Logits: distance to the rim, times `steep`, in px of
    the picture.

    iou: predicted for masks 1 to 3. Beside all disks masks are empty and predicted badly. windows: whether each mask is
    a grid over a window around its disk. most_rows: of a batch. calls: sizes of the batches that
    were decoded; by_boxes: whether each was of boxes.
    """

    disks: Sequence[Disk]
    cells: int = 64
    steep: float = 1.0
    iou: tuple[float, float, float] = (0.95, 0.9, 0.5)
    windows: bool = False
    tokens: int | None = None
    most_rows: int = 1000
    calls: list[int] = field(default_factory=list)
    by_boxes: list[bool] = field(default_factory=list)

    def decode(self, encoded: EncodedImage, tokens: NDArray[np.float32], labels: NDArray[np.int32], /) -> Decoded:
        boxes = bool((labels[:, :2] == (2, 3)).all())
        assert boxes or (labels[:, :2] == (1, -1)).all()
        self.calls.append(len(tokens))
        self.by_boxes.append(boxes)
        frame, origin = encoded.frame, encoded.features["origin"]
        scale = np.array([frame.scale_x, frame.scale_y])
        masks = np.full((len(tokens), 4, self.cells, self.cells), -20.0, np.float32)
        iou = np.full((len(tokens), 4), 0.1, np.float32)
        windows = np.tile(np.array(frame.whole, np.float32), (len(tokens), 4, 1))
        for row, at in enumerate(tokens[:, :2] / scale + origin):
            under = [one for one in self.disks if (_in_box(one, at) if boxes else _under(one, at[0] + 0.5))]
            if not under:
                continue
            x, y, radius = min(under, key=lambda one: one[2])
            iou[row, 1:] = self.iou
            for mask, share in ((1, 1.0), (2, 0.6), (3, 1.5)):
                if self.windows:
                    centre, reach = (np.array([x, y]) - origin) * scale, 1.3 * radius * share * scale.max()
                    windows[row, mask] = (*(centre - reach), *(centre + reach))
                masks[row, mask] = self._disk(windows[row, mask], scale, origin, (x, y, radius * share))
        return Decoded(masks=masks, iou=iou, windows=windows, whole_frame=not self.windows)

    def _disk(
        self, window: NDArray[np.float32], scale: NDArray[np.float64], origin: NDArray[np.float32], disk: Disk
    ) -> NDArray[np.float32]:
        centres = (np.arange(self.cells) + 0.5) / self.cells
        x = (window[0] + centres * (window[2] - window[0])) / scale[0] + origin[0]
        y = (window[1] + centres * (window[3] - window[1])) / scale[1] + origin[1]
        distance = np.hypot(x[None, :] - disk[0], y[:, None] - disk[1])
        logits: NDArray[np.float32] = (self.steep * (disk[2] - distance)).astype(np.float32)
        return logits


def _under(disk: Disk, point: NDArray[np.float64]) -> bool:
    return bool(np.hypot(*(point - disk[:2])) < disk[2])


def _in_box(disk: Disk, corners: NDArray[np.float64]) -> bool:
    """Whether a box (2, 2) and that around the disk are the same but for a fifth."""
    around = np.add.outer((-disk[2], disk[2]), disk[:2])
    return bool(overlaps(around.ravel(), corners.reshape(1, 4))[0] > 0.8)


def drawn(disk: Disk, width: int, height: int) -> NDArray[np.bool_]:
    """bool (height, width): the disk's pixels."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    return np.asarray(np.hypot(x - disk[0], y - disk[1]) < disk[2])
