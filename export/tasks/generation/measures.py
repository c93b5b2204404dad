"""How far drawn pictures are from real ones, in numbers: distances of features, coverage, classes. Knows no network.

Frechet distance: Heusel et al. 2017 (arXiv 1706.08500). Precision and recall: Kynkäänniemi et al. 2019 (arXiv
1904.06991). Both depend on how many pictures they see, so only figures of equal counts compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
"""(n, numbers): one row for each picture."""
NEIGHBOURS = 3
_ROWS = 512


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Mean (d,) and covariance (d, d) of features, float64. count: of pictures."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    count: int

    @classmethod
    def of(cls, features: Features) -> Statistics:
        exact = features.astype(np.float64)
        return cls(exact.mean(0), np.atleast_2d(np.cov(exact, rowvar=False)), len(exact))


def frechet(one: Statistics, other: Statistics) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), >= 0; in squared units of the features."""
    root = _root(one.covariance)
    # The product under the root has the eigenvalues of C1 C2, and is symmetric, so that they are real.
    crossed = np.linalg.eigvalsh(root @ other.covariance @ root)
    both = float(np.sqrt(np.clip(crossed, 0.0, None)).sum())
    apart = float(np.square(one.mean - other.mean).sum())
    return max(apart + float(np.trace(one.covariance) + np.trace(other.covariance)) - 2.0 * both, 0.0)


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(matrix)
    out: NDArray[np.float64] = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    return out


def covered(within: Features, points: Features, *, neighbours: int = NEIGHBOURS) -> float:
    """Share of `points` that lie nearer to some member of `within` than its own `neighbours`-th neighbour does.

    covered(drawn, real) is recall, covered(real, drawn) is precision. Take as many of each.
    """
    k = min(neighbours, len(within) - 1)
    own = np.concatenate([np.partition(part, k, axis=1)[:, k] for part in _distances(within, within)])
    hits = [np.any(part <= own, axis=1) for part in _distances(points, within)]
    return float(np.mean(np.concatenate(hits)))


def _distances(rows: Features, columns: Features) -> list[NDArray[np.float64]]:
    """Squared, in parts of some hundred rows."""
    b = columns.astype(np.float64)
    squares = np.square(b).sum(1)
    parts = []
    for at in range(0, len(rows), _ROWS):
        a = rows[at : at + _ROWS].astype(np.float64)
        parts.append(np.clip(np.square(a).sum(1)[:, None] + squares - 2.0 * a @ b.T, 0.0, None))
    return parts


def shares(labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """(classes,): how often each is there, in units of a uniform share: 1 = as often as all others."""
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    out: NDArray[np.float64] = counts / max(len(labels), 1) * classes
    return out


def psnr(mean_squared: float) -> float:
    """dB of a mean squared error of 8-bit levels; infinity for none."""
    return float("inf") if mean_squared <= 0 else float(10.0 * np.log10(255.0**2 / mean_squared))


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """How two lists of pictures of the same seeds differ. psnr_db: of the mean squared error over all. mean_db: mean of
    each picture's own, at most `MOST_DB`. worst_db: of the worst hundredth, at least one picture. similarity: mean
    structural similarity, at most 1."""

    count: int
    psnr_db: float
    mean_db: float
    worst_db: float
    similarity: float


MOST_DB = 100.0
"""Stands for equal pictures in a mean."""


def paired(ones: NDArray[np.uint8], others: NDArray[np.uint8]) -> Paired:
    """Of pictures uint8 (N, H, W, C), row by row."""
    apart = ones.astype(np.float64) - others.astype(np.float64)
    errors = np.square(apart).reshape(len(apart), -1).mean(1)
    each = np.array([min(psnr(float(error)), MOST_DB) for error in errors])
    worst = np.sort(errors)[-max(1, len(errors) // 100) :]
    alike = [similarity(one, other) for one, other in zip(ones, others, strict=True)]
    return Paired(
        count=len(errors), psnr_db=psnr(float(errors.mean())), mean_db=float(each.mean()),
        worst_db=psnr(float(worst.mean())), similarity=float(np.mean(alike)),
    )  # fmt: skip


_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WINDOW = 7


def similarity(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Structural similarity (Wang et al. 2004) of two pictures (H, W, C), in windows of 7 x 7, or of all of a smaller
    picture; the mean over places and channels."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    size = min(_WINDOW, *a.shape[:2])
    mean_a, mean_b = _windows(a, size), _windows(b, size)
    var_a, var_b = _windows(a * a, size) - mean_a**2, _windows(b * b, size) - mean_b**2
    both = _windows(a * b, size) - mean_a * mean_b
    top = (2 * mean_a * mean_b + _C1) * (2 * both + _C2)
    return float((top / ((mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2))).mean())


def _windows(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Means over all windows of size x size that lie inside."""
    seen = np.lib.stride_tricks.sliding_window_view(values, (size, size), axis=(0, 1))
    out: NDArray[np.float64] = seen.mean(axis=(-2, -1))
    return out


def spread_of(pictures: NDArray[np.uint8]) -> float:
    """Root of the variance between pictures, pixel by pixel, in grey levels: near 0 where all are one picture."""
    return float(np.sqrt(pictures.astype(np.float64).reshape(len(pictures), -1).var(axis=0).mean()))


def counted_classes(found: NDArray[np.int64], names: Sequence[str]) -> dict[str, int]:
    """How many pictures of each class."""
    counts = np.bincount(found, minlength=len(names))
    return {name: int(count) for name, count in zip(names, counts, strict=True)}
