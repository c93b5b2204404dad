"""Real pictures as measures need them, and what drawn pictures are beside them. Knows no family and no runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_sdk.export.tasks.generation import classifier, measures
from edge_sdk.export.tasks.generation.classifier import Classifier
from edge_sdk.export.tasks.generation.measures import Features, Statistics
from edge_sdk.export.tasks.generation.trunk_eyes import TrunkEyes

FRECHET, RECALL, PRECISION = "frechet", "recall", "precision"


@dataclass(frozen=True, slots=True, eq=False)
class Real:
    """What drawn pictures are held against. features: of real pictures. see: features of pictures (N, C, H, W) in
    [-1, 1]. classifier: None where there are no classes. expected: share of each class among the real ones, 1 = as
    often as all others."""

    features: Features
    statistics: Statistics
    see: Callable[[NDArray[np.float32]], Features]
    classifier: Classifier | None = None
    expected: NDArray[np.float64] | None = None

    def of(self, pictures: NDArray[np.uint8]) -> dict[str, float]:
        """All measures of drawn pictures, uint8 (N, H, W, C)."""
        seen = scaled(pictures)
        features = self.see(seen)
        count = min(len(features), len(self.features))
        found = {
            FRECHET: measures.frechet(Statistics.of(features), self.statistics),
            RECALL: measures.covered(features[:count], self.features[:count]),
            PRECISION: measures.covered(self.features[:count], features[:count]),
            "saturated": float(np.mean((pictures == 0) | (pictures == 255))),
        }
        if self.classifier is not None and self.expected is not None:
            classes = self.classifier.classes(seen)
            shares = measures.shares(classes, len(self.expected)) / self.expected
            found |= {"least_class": float(shares.min()), "most_class": float(shares.max())}
        return found


def real_of(pictures: NDArray[np.uint8], labels: NDArray[np.int64] | None, classes: int, *, seed: int = 0) -> Real:
    """Real pictures, uint8 (N, H, W, C), as the measures need them: seen by a classifier that is trained on them, or
    by a pretrained trunk where they have no classes."""
    seen = scaled(pictures)
    if labels is None or classes < 2:
        see: Callable[[NDArray[np.float32]], Features] = TrunkEyes().features
        features = see(seen)
        return Real(features, Statistics.of(features), see)
    made = classifier.trained(seen, labels, classes, seed=seed)
    features = made.features(seen)
    return Real(features, Statistics.of(features), made.features, made, measures.shares(labels, classes))


def scaled(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 (N, H, W, C) as the networks see them: float32 (N, C, H, W) in [-1, 1]."""
    planes = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), np.float32)
    return np.asarray(planes / np.float32(127.5) - np.float32(1.0))


def pictures_of(drawn: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(N, C, H, W) in [-1, 1] as the graph gives it: uint8 (N, H, W, C), rounded half up."""
    levels = np.floor(np.clip(drawn * np.float32(127.5) + np.float32(128.0), 0.0, 255.0))
    return np.ascontiguousarray(levels.transpose(0, 2, 3, 1)).astype(np.uint8)
