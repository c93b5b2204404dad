"""Trunk features of training views, each computed once: what XS learns from. Knows no student and no loss.

A view is a picture under one seeded augmentation; view 0 of every picture is the picture itself. Features are kept in
memory as float16 up to a cap; a view beyond it is not made, and `views` says how many there can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.export.anomaly.augment import Augmentation, view
from edge_sdk.export.anomaly.data import Picture
from edge_sdk.export.pictures.store import PictureStore
from edge_sdk.export.training.device import CPU, Compute, array
from edge_sdk.export.trunk.lite0 import BLOCKS, Trunk, cells, stride_of
from edge_sdk.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Which views there are. each: per picture at most. memory_bytes: cap on the features kept."""

    augmentation: Augmentation
    each: int
    seed: int
    memory_bytes: int


class FeatureBank:
    """Features of numbered views: view k shows picture k % pictures, changed by the k-th seed (unchanged for the first
    round). Deterministic: a bank made again after a resume gives the same features. They are kept on the CPU, wherever
    they are computed and learned from."""

    def __init__(
        self, pictures: Sequence[Picture], store: PictureStore, record: Preprocessing, trunk: Trunk,
        blocks: Sequence[int], views: Views, *, compute: Compute = CPU,
    ) -> None:  # fmt: skip
        self._pictures, self._record, self._views = tuple(pictures), record, views
        self._store, self._compute, self._trunk = store, compute, compute.place(trunk)
        self._blocks = tuple(sorted(set(blocks)))
        shapes = {b: shape_of(b, record.width, record.height) for b in self._blocks}
        one_round = view_bytes(self._blocks, record.width, record.height) * len(self._pictures)
        rounds = max(1, min(views.each, views.memory_bytes // max(1, one_round)))
        self.views = rounds * len(self._pictures)
        # np.empty takes pages only when they are written, so an unused cap costs nothing.
        self._kept: dict[int, NDArray[Any]] = {b: np.empty((self.views, *s), np.float16) for b, s in shapes.items()}
        self._have = np.zeros(self.views, np.bool_)

    def __len__(self) -> int:
        """How many pictures."""
        return len(self._pictures)

    def fill(self, count: int, *, progress: Progress) -> None:
        """Computes the first `count` views now."""
        for k in range(count):
            progress(k, count, "features of the training pictures")
            self._make(k)

    def features(self, views: Sequence[int]) -> dict[int, Tensor]:
        """Block -> float32 (len(views), C, h, w), channels last, of the trunk's own scale."""
        for k in views:
            if not self._have[k]:
                self._make(k)
        at = np.asarray(views)
        return {
            b: self._compute.tensor(kept[at].astype(np.float32)).contiguous(memory_format=torch.channels_last)
            for b, kept in self._kept.items()
        }

    def _make(self, k: int) -> None:
        # One picture a pass: on a CPU its activations stay in the cache, those of a batch don't.
        with torch.inference_mode():
            outputs = self._trunk(self._compute.tensor(self._image(k)[None]), self._blocks)
        for block, output in outputs.items():
            self._kept[block][k] = array(output[0])
        self._have[k] = True

    def _image(self, k: int) -> NDArray[np.uint8]:
        picture = self._pictures[k % len(self._pictures)]
        if k < len(self._pictures):
            return self._store.tensor(picture.path, self._record)
        rgb = self._store.source(picture.path, self._record)
        return view(rgb, self._record, self._views.augmentation, np.random.default_rng([self._views.seed, k]))


def view_bytes(blocks: Sequence[int], width: int, height: int) -> int:
    """Memory that the kept features of one view take."""
    return 2 * sum(int(np.prod(shape_of(block, width, height))) for block in set(blocks))


def shape_of(block: int, width: int, height: int) -> tuple[int, int, int]:
    """(C, h, w) of a trunk block's output."""
    stride = stride_of(block)
    return BLOCKS[block].outputs, cells(height, stride), cells(width, stride)
