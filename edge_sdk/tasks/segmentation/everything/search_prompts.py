"""What everything mode asks the decoder: one prompt in each place, a point or a box. Knows no mask, no network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_sdk.tasks.segmentation.frame import Frame
from edge_sdk.tasks.segmentation.prompts import BOTTOM_RIGHT, FOREGROUND, NO_TOKEN, PADDING, TOP_LEFT


@dataclass(frozen=True, slots=True, eq=False)
class SearchPrompts:
    """Prompts in n places. points: float64 (n, 2), x and y in px of the crop. boxes: float64 (n, 4), x0, y0, x1, y1;
    these are the prompts then, and the points only say where they were guessed."""

    points: NDArray[np.float64]
    boxes: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, which: slice) -> SearchPrompts:
        return SearchPrompts(self.points[which], None if self.boxes is None else self.boxes[which])

    def tokens(self, frame: Frame, tokens: int | None) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """float32 (n, T, 2) in frame px and int32 (n, T): two tokens each, a point on the object and the padding, or
        the corners of a box. tokens: T where the graph states it, None = 2."""
        xy = np.zeros((len(self), tokens or 2, 2), np.float32)
        labels = np.full(xy.shape[:2], NO_TOKEN, np.int32)
        if self.boxes is None:
            xy[:, 0], labels[:, :2] = frame.forward(self.points), (FOREGROUND, PADDING)
        else:
            xy[:, :2], labels[:, :2] = frame.forward(self.boxes.reshape(-1, 2, 2)), (TOP_LEFT, BOTTOM_RIGHT)
        return xy, labels
