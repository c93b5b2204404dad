"""Masks that passed the filters, at low resolution, and how much memory they may take. Knows no full-size pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_sdk.tasks.segmentation.decoding import Decoded
from edge_sdk.tasks.segmentation.everything.boxes import box_of, suppress
from edge_sdk.tasks.segmentation.everything.full_size import part_above
from edge_sdk.tasks.segmentation.everything.options import SearchOptions
from edge_sdk.tasks.segmentation.everything.partial_logits import PartialLogits, partial_logits
from edge_sdk.tasks.segmentation.everything.search_prompts import SearchPrompts
from edge_sdk.tasks.segmentation.everything.stability import stability
from edge_sdk.tasks.segmentation.frame import Frame, Window

HELD_BYTES = 64 * 2**20
"""Of logits of candidates of one crop: 256 masks that fill the frame of a network of 1024 px, thousands of smaller."""


@dataclass(slots=True, kw_only=True, eq=False)
class Candidate:
    """One mask at low resolution. point: (x, y) px of the crop, and prompt_box: x0, y0, x1, y1, None = the point was
    asked. mask: which of the prompt's masks this is.

    stability: at low resolution. box: float64 (4,), px of the crop, continuous. logits: over `window` in frame px
    (None = the whole frame), as far as full size depends on them; None where they were given up and have to be decoded
    again.
    """

    point: tuple[float, float]
    prompt_box: tuple[float, float, float, float] | None
    mask: int
    predicted_iou: float
    stability: float
    box: NDArray[np.float64]
    window: Window | None
    logits: PartialLogits | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Filter:
    """What a mask has to pass to become a candidate. frame: of the crop. masks: which of the decoder's are looked at.

    threshold: of the logits, above which a cell is in the mask.
    """

    frame: Frame
    options: SearchOptions
    masks: tuple[int, ...]
    threshold: float

    def candidates(self, decoded: Decoded, asked: SearchPrompts) -> list[Candidate]:
        """Of the answers to what was asked. By predicted IoU first, which needs no pixels; then by
        stability at low resolution, less the slack of the options, where the picture is and not its padding."""
        passed = decoded.iou[:, self.masks] > np.float32(self.options.predicted_iou)
        found = [self._candidate(decoded, asked, int(n), self.masks[k]) for n, k in np.argwhere(passed)]
        return [one for one in found if one is not None]

    def _candidate(self, decoded: Decoded, asked: SearchPrompts, prompt: int, mask: int) -> Candidate | None:
        logits, window = decoded.masks[prompt, mask], decoded.window(prompt, mask)
        rows, columns = self.frame.valid(logits.shape[0], window)
        seen = logits[rows, columns]
        stable = stability(seen, threshold=self.threshold, offset=self.options.stability_offset)
        if stable < self.options.stability - self.options.stability_slack:
            return None
        box = self._box(seen, rows.start, columns.start, logits.shape[0], window)
        if box is None:
            return None
        (x, y), rect = asked.points[prompt].tolist(), None
        if asked.boxes is not None:
            left, top, right, bottom = asked.boxes[prompt].tolist()
            rect = (left, top, right, bottom)
        return Candidate(
            point=(x, y), prompt_box=rect, mask=mask, predicted_iou=float(decoded.iou[prompt, mask]), stability=stable,
            box=box, window=window,
            logits=partial_logits(logits, (rows, columns), level=self.level),
        )  # fmt: skip

    @property
    def level(self) -> float:
        """The lowest logit that is asked for at full size."""
        return self.threshold - self.options.stability_offset

    def partial(self, logits: NDArray[np.float32], window: Window | None) -> PartialLogits:
        """What a candidate holds of its grid (m, m), which was decoded again."""
        return partial_logits(logits, self.frame.valid(logits.shape[0], window), level=self.level)

    def _box(
        self, seen: NDArray[np.float32], row: int, column: int, cells: int, window: Window | None
    ) -> NDArray[np.float64] | None:
        """Around the cells above the threshold, px of the crop; None of an empty mask."""
        left, top, right, bottom = box_of(seen > np.float32(self.threshold))
        if right == 0:
            return None
        x0, y0, x1, y1 = self.frame.whole if window is None else window
        corners = np.array([[left + column, top + row], [right + column, bottom + row]]) / cells
        placed = (corners * (x1 - x0, y1 - y0) + (x0, y0)) / (self.frame.scale_x, self.frame.scale_y)
        return np.clip(placed, 0.0, (self.frame.width, self.frame.height)).ravel()

    def is_stable(self, one: Candidate) -> bool:
        """Whether a candidate passes at full size. Looked at only where low resolution leaves a doubt: within the slack
        of the threshold. Its logits must be there."""
        if one.stability >= self.options.stability + self.options.stability_slack:
            return True
        assert one.logits is not None
        part = part_above(one.logits.grid, one.window, self.frame, level=self.level)
        exact = stability(part.logits, threshold=self.threshold, offset=self.options.stability_offset)
        return exact >= self.options.stability


def prompts_of(candidates: Sequence[Candidate]) -> SearchPrompts:
    """What each of these was an answer to; all of them to points, or all to boxes."""
    points = np.array([one.point for one in candidates], np.float64)
    boxes = [one.prompt_box for one in candidates if one.prompt_box is not None]
    return SearchPrompts(points, np.array(boxes, np.float64) if boxes else None)


def make_room(candidates: Sequence[Candidate], *, overlap: float, held_bytes: int = HELD_BYTES) -> int:
    """Give up the logits of the candidates that are least likely to be answered, until those of the others take at most
    `held_bytes`; how many were given up. Those that others suppress so far go first, then those of low predicted IoU.

    Nothing is lost: a candidate that is answered after all is decoded again from its prompt. So memory does not grow
    with the number of points.
    """
    held = [one for one in candidates if one.logits is not None]
    size = sum(one.logits.nbytes for one in held if one.logits is not None)
    if size <= held_bytes:
        return 0
    scores = np.array([one.predicted_iou for one in candidates])
    stay = suppress(np.array([one.box for one in candidates]), scores, overlap)
    standing = {id(candidates[index]) for index in stay}
    ranked = sorted(held, key=lambda one: (id(one) in standing, one.predicted_iou))
    given_up = 0
    for one in ranked:
        if size <= held_bytes:
            break
        assert one.logits is not None
        size -= one.logits.nbytes
        one.logits, given_up = None, given_up + 1
    return given_up
