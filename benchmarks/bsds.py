"""The protocol of mask figures on BSDS500: which segments are asked for, what counts as right. Knows no network.

One box prompt for every segment of more than 400 px of every annotator's map, without jitter: box = [min x, min y,
max x + 1, max y + 1], px of the original picture. The answer is a mask at the original size, and its figure is the IoU
with the segment; mIoU is the plain mean over all segments. Spread is of pictures, not of segments, since annotators
repeat the same objects. On `test`: 200 pictures, 13,290 segments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk.export.tasks.segmentation.prompting import box_of, iou, on_grid
from edge_sdk.tasks.segmentation.frame import Frame

if TYPE_CHECKING:
    from edge_sdk.export.tinysam.distill.marked import MarkedPicture

LEAST_PX = 400
"""A segment that is asked for has more, counted at the original size."""
DRAWS = 2000
"""Of the bootstrap over pictures."""
FIT_STEPS = 32
"""Of `GridFit`. On 125 segments of `test` and a grid of 64 x 64: 93.2 without, 96.9 after 16 steps without momentum,
97.8 after 32 with it, 98.0 after 128."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Picture:
    """path: of the photograph. maps: of its label maps, one an annotator, segments from 1."""

    path: Path
    maps: tuple[Path, ...]

    def read(self) -> NDArray[np.uint8]:
        """(h, w, 3) RGB."""
        return np.asarray(cv2.cvtColor(cv2.imread(str(self.path)), cv2.COLOR_BGR2RGB), np.uint8)

    def segments(self) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Masks (n, h, w) of all annotators' segments that are asked for, and their boxes (n, 4)."""
        masks = []
        for path in self.maps:
            labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            large = np.flatnonzero(np.bincount(labels.ravel())[1:] > LEAST_PX) + 1
            masks += [labels == number for number in large]
        found = np.array(masks)
        return found, np.array([box_of(mask) for mask in found], np.float32).reshape(-1, 4)

    def marked(self) -> MarkedPicture:
        """As trainings take it."""
        from edge_sdk.export.tasks.segmentation.annotations import AnnotatedPicture, LabelMap
        from edge_sdk.export.tinysam.distill.marked import MarkedPicture

        annotators = tuple(LabelMap(path=path, content="") for path in self.maps)
        return MarkedPicture(AnnotatedPicture(path=self.path, part=self.path.stem, content="", annotators=annotators))


def pictures(root: Path, split: str) -> list[Picture]:
    """root: the folder with images/ and segmentation/. split: train, val or test."""
    paths = sorted((root / "images" / split).glob("*.jpg"), key=lambda path: int(path.stem))
    if not paths:
        raise SystemExit(f"{root} holds no images/{split}/*.jpg")
    labels = root / "segmentation" / split
    return [Picture(path, tuple(sorted(labels.glob(f"{path.stem}_*.png")))) for path in paths]


@dataclass(frozen=True, eq=False)
class Scores:
    """IoU (n,) of each segment, its share of its picture, and its picture's number."""

    iou: NDArray[np.float64]
    share: NDArray[np.float64]
    picture: NDArray[np.int64]

    def summary(self) -> dict[str, Any]:
        """In percent: mIoU with its standard error, mean of pictures' means, by area class."""
        from edge_sdk.export.tasks.segmentation.metrics import AREAS  # it loads onnx

        sums, counts = self.sums()
        classes = {}
        for name, (low, high) in AREAS.items():
            inside = (self.share >= low) & (self.share < high)
            classes[name] = {"segments": int(inside.sum()), "miou": _percent(self.iou[inside])}
        return {
            "miou": _percent(self.iou), "standard_error": round(float(bootstrap(sums, counts).std()), 2),
            "mean_per_picture": _percent(sums[counts > 0] / counts[counts > 0]),
            "by_share_of_picture": classes, "segments": len(self.iou), "pictures": int((counts > 0).sum()),
        }  # fmt: skip

    def sums(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Each picture's sum of IoUs and number of segments."""
        length = int(self.picture.max()) + 1
        return np.bincount(self.picture, self.iou, length), np.bincount(self.picture, minlength=length)


def bootstrap(sums: NDArray[np.float64], counts: NDArray[np.int64], *, seed: int = 0) -> NDArray[np.float64]:
    """mIoU in percent of DRAWS sets of pictures, drawn with repetition. The same seed draws the same sets."""
    drawn = np.random.default_rng(seed).integers(0, len(sums), (DRAWS, len(sums)))
    return 100.0 * sums[drawn].sum(1) / counts[drawn].sum(1)


def _percent(values: NDArray[np.float64]) -> float | None:
    return round(100.0 * float(values.mean()), 2) if len(values) else None


class GridFit:
    """Segments brought to a mask grid of cells x cells over the whole frame, and back: what such a grid can express.

    averaged: each cell holds its share of the segment. fitted: from there by gradient steps to the logits whose mask,
    interpolated as `Frame.place` does it, agrees best; of all steps the best counts. The best of all grids is searched
    for, not known: the true bound is at least the fitted one.
    """

    def __init__(self, frame: Frame, cells: int) -> None:
        self._frame, self._cells = frame, cells
        # Interpolation is linear and separable: the picture's logits are rows @ grid @ columns.T.
        lines = np.eye(cells, dtype=np.float32)
        self._rows, self._columns = (
            np.stack([np.take(frame.whole_frame_logits(_repeated(one, axis)), 0, axis=1 - axis) for one in lines], 1)
            for axis in (0, 1)
        )

    def averaged(self, segment: Mask) -> NDArray[np.float32]:
        """float32 (cells, cells), -1 to 1."""
        return on_grid(segment, self._frame, None, self._cells)

    def fitted(self, segment: Mask, *, steps: int = FIT_STEPS) -> NDArray[np.float32]:
        """float32 (cells, cells): no worse than the averaged one but for rounding. Raises BadInput for an empty one."""
        grid = self.averaged(segment)
        part = self._part(box_of(segment).astype(int))
        rows, columns = self._rows[part[0]][:, part[2]], self._columns[part[1]][:, part[3]]
        truth = segment[part[:2]]
        signs = np.where(truth, np.float32(1), np.float32(-1))
        weight = np.maximum(np.outer(rows.sum(0), columns.sum(0)), 1e-3)
        now, speed, best = grid[part[2:]].copy(), np.float32(0), -1.0
        for step in range(steps + 1):
            logits = rows @ now @ columns.T
            if (agreement := iou(logits > 0, truth)) > best:
                best = agreement
                grid[part[2:]] = now
            if step < steps:  # of the logistic loss of 8 times the logits, with momentum
                gradient = rows.T @ (signs - np.tanh(4.0 * logits)) @ columns / weight
                speed = 0.9 * speed + gradient
                now = (now + 2.0 * speed).astype(np.float32)
        return grid

    def _part(self, box: NDArray[np.int64]) -> tuple[slice, slice, slice, slice]:
        """Rows and columns of the picture around a box, two cells on each side, and of the grid what reaches there."""
        out, frame, cell = [], self._frame, self._frame.side / self._cells
        sides = ((box[1], box[3], self._rows, frame.scale_y), (box[0], box[2], self._columns, frame.scale_x))
        for low, high, lines, scale in sides:
            margin = int(2 * cell / scale) + 1
            pixels = slice(max(0, low - margin), high + margin)
            used = np.flatnonzero(lines[pixels].any(axis=0))
            out.append((pixels, slice(used[0], used[-1] + 1)))
        return out[0][0], out[1][0], out[0][1], out[1][1]


def _repeated(line: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """A grid whose rows (axis 0) or columns (axis 1) hold the numbers of `line`."""
    return np.ascontiguousarray(np.repeat(np.expand_dims(line, 1 - axis), len(line), axis=1 - axis))


Answer = Callable[[Picture, NDArray[np.bool_], NDArray[np.float32]], Iterator[dict[str, Mask]]]
"""Of a picture, its segments and their boxes: masks at the original size by name, for each box in turn. What looks at
the segments is a bound, not an answer."""


def evaluate(shown: Sequence[Picture], answer: Answer, *, progress: Callable[[int, int], None]) -> dict[str, Scores]:
    """Scores by name of what `answer` yields."""
    rows: dict[str, list[float]] = {}
    share, number = [], []
    for k, one in enumerate(shown):
        segments, boxes = one.segments()
        for segment, masks in zip(segments, answer(one, segments, boxes), strict=True):
            for name, mask in masks.items():
                rows.setdefault(name, []).append(iou(mask, segment))
            share.append(segment.mean())
            number.append(k)
        progress(k + 1, len(shown))
    shares, numbers = np.array(share), np.array(number)
    return {name: Scores(np.array(values), shares, numbers) for name, values in rows.items()}
