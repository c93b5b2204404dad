"""A picture with bars of class probabilities below it. Knows pixels and labels, no result."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

LEAST_WIDTH = 320
"""Of the drawing, px: a smaller picture stands in the middle of a wider one, since text has a size of its own."""
ROW = 22
"""Height of one bar, px."""
_PAPER, _BAR, _INK = (250, 250, 250), (150, 190, 235), (20, 20, 20)
_FONT, _SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.45


def with_bars(picture: NDArray[np.uint8], shares: Sequence[tuple[str, float]]) -> NDArray[np.uint8]:
    """uint8 (H + rows, at least LEAST_WIDTH, 3) RGB. picture: uint8 (H, W, 3) RGB. shares: (label,
    0..1), a row each. Characters beyond ASCII are drawn as ?, since OpenCV's font has no others."""
    height, width = picture.shape[:2]
    wide = max(width, LEAST_WIDTH)
    out = np.full((height + ROW * len(shares), wide, 3), _PAPER, np.uint8)
    left = (wide - width) // 2
    out[:height, left : left + width] = picture
    for row, (label, share) in enumerate(shares):
        top = height + row * ROW
        cv2.rectangle(out, (0, top + 2), (max(1, round(share * wide)) - 1, top + ROW - 3), _BAR, cv2.FILLED)
        text = f"{label} {100 * share:.1f} %".encode("ascii", "replace").decode("ascii")
        cv2.putText(out, text, (6, top + ROW - 7), _FONT, _SIZE, _INK, 1, cv2.LINE_AA)
    return out
