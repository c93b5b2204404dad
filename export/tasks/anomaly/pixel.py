"""How well a map finds defective pixels: pixel AUROC and AU-PRO over a test set. Knows maps and masks, no picture.

AU-PRO: the mean over all defect regions of the test set (8-connected, each weighing the same whatever its size) of the
share found, as a function of the share of defect-free pixels wrongly found, averaged over 0..limit of the latter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput, BadUsage

Map: TypeAlias = NDArray[np.floating[Any]]
Mask: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelQuality:
    """auroc, aupro: 0..1. limit: of the false positive rate. regions: of defects; unseen_regions: left no pixel.

    excluded: pixels never seen by the network, left out of everything. method: "exact", or "histogram" with its bins.
    """

    auroc: float
    aupro: float
    limit: float
    pictures: int
    regions: int
    unseen_regions: int
    defect_pixels: int
    background_pixels: int
    excluded: int
    method: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One picture. map: (H, W) scores at the mask's own size. mask: (H, W), defect where > 0; None: a good picture.

    seen: bool (H, W), False where the network saw nothing; None: it saw all. name: for messages.
    """

    map: Map
    mask: Mask | None
    seen: NDArray[np.bool_] | None = None
    name: str = ""


Method: TypeAlias = Literal["exact", "histogram"]


class PixelTally:
    """Both metrics over pictures that come one after the other, the good ones included.

    "histogram" groups scores by the leading 18 bits of their float32 pattern: constant memory, off by about 1e-4.
    "exact" keeps and sorts every pixel. limit: of the false positive rate, for AU-PRO.
    """

    def __init__(self, *, limit: float = 0.30, method: Method = "histogram") -> None:
        if not 0 < limit <= 1:
            raise BadUsage(f"a limit of {limit} must lie in 0..1", hint="The usual limit is 0.3")
        self._limit = limit
        self._counts: _Counts = _Sorted() if method == "exact" else _Histogram()
        self._pictures = self._regions = self._unseen = self._excluded = 0

    def add(self, sample: Sample) -> None:
        """One more picture. BadInput where its map and its mask differ in size, or its map holds NaN."""
        scores, labels, seen = _checked(sample)
        self._pictures += 1
        self._excluded += labels.size - int(np.count_nonzero(seen))
        found = int(labels.max())
        if sample.seen is None:
            scores, labels = scores.ravel(), labels.ravel()
        else:
            scores, labels = scores[seen], labels[seen]
        size = np.bincount(labels, minlength=found + 1)[1:]
        self._unseen += int(np.count_nonzero(size == 0))
        self._counts.add(scores, labels, size)
        self._regions += found

    def quality(self) -> PixelQuality:
        """Of all pictures so far. BadInput where they have no defect, or no background."""
        return _result(
            self._counts, self._limit, pictures=self._pictures, regions=self._regions, unseen=self._unseen,
            excluded=self._excluded,
        )  # fmt: skip


def regions_of(mask: Mask) -> NDArray[np.int32]:
    """Number of the 8-connected defect region per pixel, from 1; 0 = background. (H, W) -> int32 (H, W)."""
    import cv2

    binary = np.ascontiguousarray(np.asarray(mask) > 0, dtype=np.uint8)
    _, labels = cv2.connectedComponents(binary, connectivity=8, ltype=cv2.CV_32S)
    return np.asarray(labels, dtype=np.int32)


class _Counts(Protocol):
    """Collects pixels, and gives them back as groups of equal score, highest first."""

    def add(self, scores: NDArray[np.float32], labels: NDArray[np.int32], sizes: NDArray[np.int64]) -> None: ...
    def groups(self) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
        """Per group: overlap (sum of 1 / region size), defect pixels, background pixels."""

    @property
    def method(self) -> str: ...


class _Sorted:
    method = "exact"

    def __init__(self) -> None:
        self._scores: list[NDArray[np.float32]] = []
        self._weights: list[NDArray[np.float32]] = []

    def add(self, scores: NDArray[np.float32], labels: NDArray[np.int32], sizes: NDArray[np.int64]) -> None:
        self._scores.append(scores)
        self._weights.append(_weights(labels, sizes).astype(np.float32))

    def groups(self) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
        scores, weights = np.concatenate(self._scores), np.concatenate(self._weights)
        order = np.argsort(-scores, kind="stable")
        scores, weights = scores[order], weights[order]
        starts = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1]]))
        inside = weights > 0
        # float64 and int64: float32 sums stop counting at 2^24, which 256 maps of 256 x 256 already reach
        overlap = np.add.reduceat(weights, starts, dtype=np.float64)
        defect = np.add.reduceat(inside, starts, dtype=np.int64)
        return overlap, defect, np.diff(np.append(starts, len(scores))) - defect


class _Histogram:
    _SHIFT = 14  # 18 of 32 bits stay: sign, exponent and 9 bits of the mantissa, steps of 0.2 %

    def __init__(self) -> None:
        self._bins = 1 << (32 - self._SHIFT)
        self._overlap = np.zeros(self._bins, np.float64)
        self._defect, self._background = np.zeros(self._bins, np.int64), np.zeros(self._bins, np.int64)
        self.method = f"histogram of {self._bins} float32 bins"

    def add(self, scores: NDArray[np.float32], labels: NDArray[np.int32], sizes: NDArray[np.int64]) -> None:
        bins = (_rising_bits(scores) >> self._SHIFT).astype(np.intp)
        inside = np.flatnonzero(labels)
        found = np.bincount(bins[inside], minlength=self._bins)
        self._overlap += np.bincount(bins[inside], weights=_weights(labels[inside], sizes), minlength=self._bins)
        self._defect += found
        self._background += np.bincount(bins, minlength=self._bins) - found

    def groups(self) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
        return self._overlap[::-1], self._defect[::-1], self._background[::-1]


def _rising_bits(scores: NDArray[np.float32]) -> NDArray[np.uint32]:
    """float32 bit patterns turned so that they rise with the value, negative ones included."""
    bits: NDArray[np.uint32] = (scores + np.float32(0)).view(np.uint32)  # + 0: -0.0 and 0.0 are one score
    negative = (bits.view(np.int32) >> 31).view(np.uint32)  # every bit set where the sign is
    bits ^= negative | np.uint32(1 << 31)
    return bits


def _weights(labels: NDArray[np.int32], sizes: NDArray[np.int64]) -> Floats:
    """1 / region size inside a region, 0 outside."""
    of_region = np.zeros(len(sizes) + 1, np.float64)
    of_region[1:] = 1.0 / np.maximum(sizes, 1)
    return of_region[labels]


def _result(counts: _Counts, limit: float, *, pictures: int, regions: int, unseen: int, excluded: int) -> PixelQuality:
    if regions - unseen == 0:
        raise BadInput(
            "no defect pixel in the whole set, so there is no pixel figure", hint="Give masks of the defects"
        )
    overlap, defect, background = counts.groups()
    defects, clean = int(defect.sum()), int(background.sum())
    if clean == 0:
        raise BadInput("no defect-free pixel in the whole set, so there is no pixel figure", hint="Add good pictures")
    rates = np.concatenate([[0.0], np.cumsum(background) / clean])
    found = np.concatenate([[0.0], np.cumsum(defect) / defects])
    per_region = np.concatenate([[0.0], np.cumsum(overlap) / (regions - unseen)])
    return PixelQuality(
        auroc=_area(rates, found, 1.0),
        aupro=_area(rates, per_region, limit) / limit,
        limit=limit,
        pictures=pictures,
        regions=regions,
        unseen_regions=unseen,
        defect_pixels=defects,
        background_pixels=clean,
        excluded=excluded,
        method=counts.method,
    )


def _area(x: Floats, y: Floats, end: float) -> float:
    """Trapezoids under y(x) from 0 to `end`; x rises to 1. Linear between points, also at the cut."""
    inside = int(np.searchsorted(x, end, side="right"))
    if inside < len(x):
        share = (end - x[inside - 1]) / (x[inside] - x[inside - 1])
        last = y[inside - 1] + share * (y[inside] - y[inside - 1])
        x, y = np.append(x[:inside], end), np.append(y[:inside], last)
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2.0)


def _checked(sample: Sample) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]:
    scores = np.asarray(sample.map, dtype=np.float32)
    if scores.ndim != 2 or scores.size == 0:
        raise BadInput(f"the map has shape {scores.shape}, (H, W) is needed", where=sample.name)
    if np.isnan(scores).any():
        raise BadInput("the map holds NaN", where=sample.name, hint="edge-sdk verify shows which runtime computes it")
    for what, array in (("mask", sample.mask), ("seen", sample.seen)):
        if array is not None and array.shape != scores.shape:
            raise BadInput(
                f"the map is {scores.shape}, its {what} {array.shape} pixels",
                where=sample.name,
                hint="Resize the map to the mask, never the mask: thin defects would vanish",
            )
    labels = np.zeros(scores.shape, np.int32) if sample.mask is None else regions_of(sample.mask)
    seen = np.ones(scores.shape, np.bool_) if sample.seen is None else np.asarray(sample.seen, np.bool_)
    return scores, labels, seen
