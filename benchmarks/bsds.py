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
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk.export.tasks.segmentation.prompting import box_of, iou

LEAST_PX = 400
"""A segment that is asked for has more, counted at the original size."""
CLASSES = (("below 1 %", 0.0, 0.01), ("1 to 10 %", 0.01, 0.1), ("above 10 %", 0.1, 1.01))
"""Of a segment's share of its picture."""
DRAWS = 2000
"""Of the bootstrap over pictures."""
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
        sums, counts = self.sums()
        classes = {}
        for name, low, high in CLASSES:
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
