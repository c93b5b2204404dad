"""Real pictures as measures need them, and what drawn pictures are beside them. Knows no family and no runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_sdk.export.tasks.generation import classifier, eyes, measures, trunk_eyes
from edge_sdk.export.tasks.generation.classifier import Classifier
from edge_sdk.export.tasks.generation.data import GenerationData
from edge_sdk.export.tasks.generation.measures import Features, Statistics
from edge_sdk.export.tasks.generation.trunk_eyes import TrunkEyes
from edge_sdk.shown import shown

FRECHET, RECALL, PRECISION = "frechet", "recall", "precision"


@dataclass(frozen=True, slots=True, eq=False)
class Real:
    """What drawn pictures are held against. features: of real pictures. see: features of pictures (N, C, H, W) in
    [-1, 1]. classifier: None where there are no classes. expected: share of each class among the real ones, 1 = as
    often as all others. seen_by: what the features are, in words."""

    features: Features
    statistics: Statistics
    see: Callable[[NDArray[np.float32]], Features]
    classifier: Classifier | None = None
    expected: NDArray[np.float64] | None = None
    seen_by: str = ""

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


def real_of(data: GenerationData, *, seed: int = 0, folder: Path | None = None, write: bool = False) -> Real:
    """Real pictures as the measures need them, seen by what `data.eyes` names.

    folder: where a training keeps its classifier, so that it is trained once; write: keep it there. Raises BadInput for
    a graph that answers no features.
    """
    seen, count = scaled(data.pictures), len(data.names)
    asked = eyes.CLASSIFIER if count > 1 else eyes.TRUNK
    asked = data.eyes.name or asked
    made = _classifier(data, seen, seed, folder, write) if count > 1 else None
    if data.eyes.model is not None:
        see: Callable[[NDArray[np.float32]], Features] = eyes.GraphEyes(data.eyes.model, data.side).features
        words = f"features of {shown(asked)}"
    elif asked == eyes.TRUNK:
        see, words = TrunkEyes().features, f"block {trunk_eyes.BLOCK} of a pretrained EfficientNet-Lite0"
    else:
        assert made is not None  # `data.with_eyes` checked it
        see, words = made.features, f"the second layer of a classifier that is right for {100 * made.accuracy:.1f} %"
    features = see(seen)
    shares = None if made is None or data.labels is None else measures.shares(data.labels, count)
    return Real(features, Statistics.of(features), see, made, shares, words)


def _classifier(
    data: GenerationData, seen: NDArray[np.float32], seed: int, folder: Path | None, write: bool
) -> Classifier:
    """Kept in the folder, or trained."""
    place, of = (None if folder is None else folder / classifier.FILE), f"{data.digest} {seed}"
    if place is not None and (found := classifier.kept(place, of=of)) is not None:
        return found
    assert data.labels is not None
    made = classifier.trained(seen, data.labels, len(data.names), seed=seed)
    if place is not None and write:
        classifier.write(made, place, of=of)
    return made


def scaled(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 (N, H, W, C) as the networks see them: float32 (N, C, H, W) in [-1, 1]."""
    planes = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), np.float32)
    return np.asarray(planes / np.float32(127.5) - np.float32(1.0))


def pictures_of(drawn: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(N, C, H, W) in [-1, 1] as the graph gives it: uint8 (N, H, W, C), rounded half up."""
    levels = np.floor(np.clip(drawn * np.float32(127.5) + np.float32(128.0), 0.0, 255.0))
    return np.ascontiguousarray(levels.transpose(0, 2, 3, 1)).astype(np.uint8)
