"""What calibration sees: good parts, the same damaged, and foreign pictures. Knows no network.

Good parts alone would set every range by what is normal, and what matters, the strongest defects, would be clipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.export.anomaly.damage import damage
from edge_sdk.export.anomaly.data import AnomalyData, AnomalyTrained, Picture
from edge_sdk.export.anomaly.foreign import ForeignPictures
from edge_sdk.export.pictures.one_input import require_one_input
from edge_sdk.export.pictures.store import PictureStore
from edge_sdk.tensors import Array

FOREIGN_SHARE, DAMAGED_SHARE = 0.25, 0.25
"""Of the calibration pictures; the rest are good parts as they are."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnomalySamples:
    """Feeds {input: uint8 (1, h, w, 3)} for one graph; the same arrays in every pass, made one at a time.

    input: name of the graph's input. good: training pictures as they are. damaged: training pictures that get a seeded
    damage each. folder: of foreign pictures, None = procedural textures. foreign: how many of those.
    """

    input: str
    good: tuple[Picture, ...]
    damaged: tuple[Picture, ...]
    foreign: int
    folder: Path | None
    record: Preprocessing
    seed: int
    store: PictureStore

    def __post_init__(self) -> None:
        require_one_input(self.record)

    @classmethod
    def of(
        cls, data: AnomalyData, trained: AnomalyTrained, record: Preprocessing, *, input: str, count: int,
        ood: Path | None,
    ) -> AnomalySamples:  # fmt: skip
        """`count` feeds: half good training pictures, a quarter damaged ones, a quarter foreign pictures; never a test
        picture, never one that is held out for the threshold. Each good picture is there once: where they are too few
        for the half, more of them are damaged, each in its own way."""
        kept = data.learned(trained)
        rng = np.random.default_rng([trained.options.seed, 1])
        foreign, damaged = round(FOREIGN_SHARE * count), round(DAMAGED_SHARE * count)
        order = [kept[i] for i in rng.permutation(len(kept))]
        good = tuple(order[: max(count - foreign - damaged, 1)])
        again = tuple(order[i % len(order)] for i in range(count - foreign - len(good)))
        return cls(
            input=input, good=good, damaged=again, foreign=foreign, folder=ood, record=record,
            seed=trained.options.seed, store=data.store,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.good) + len(self.damaged) + self.foreign

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for picture in self.good:
            yield {self.input: self.store.tensor(picture.path, self.record)[None]}
        for k, picture in enumerate(self.damaged):
            rng = np.random.default_rng([self.seed, 2, k])
            yield {self.input: damage(self.store.tensor(picture.path, self.record), rng)[None]}
        foreign = ForeignPictures.of(self.folder, self.record)
        for k in range(self.foreign):
            yield {self.input: foreign.draw(np.random.default_rng([self.seed, 3, k]))[None]}
