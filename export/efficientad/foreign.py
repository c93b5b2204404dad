"""What calibration sees beside good parts: foreign pictures and damage that we make ourselves. Knows no network.

Good parts alone would set every range by what is normal, and what matters, the strongest defects, would be clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadInput
from edge_sdk.export.efficientad.features import prepared
from edge_sdk.export.efficientad.textures import texture
from edge_sdk.export.family import Picture, PictureSet, Trained
from edge_sdk.preprocess import pictures_in
from edge_sdk.tensors import Array

FOREIGN_SHARE, DAMAGED_SHARE = 0.25, 0.25
"""Of the calibration pictures; the rest are good parts as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeds:
    """Feeds {"image": uint8 (1, h, w, 3)} for one graph; the same arrays in every pass, made one at a time.

    good: training pictures as they are. damaged: training pictures that get a seeded damage each. folder: of foreign
    pictures, None = procedural textures. foreign: how many of those.
    """

    good: tuple[Picture, ...]
    damaged: tuple[Picture, ...]
    foreign: int
    folder: Path | None
    record: Preprocessing
    seed: int

    @classmethod
    def of(cls, data: PictureSet, trained: Trained, record: Preprocessing, *, count: int) -> Feeds:
        """`count` feeds: half good training pictures, a quarter damaged ones, a quarter foreign pictures; never a test
        picture, never one that is held out for the threshold."""
        out = {p.path for p in trained.held_out}
        kept = [p for p in data.train if p.path not in out]
        rng = np.random.default_rng([trained.options.seed, 1])
        foreign, damaged = round(FOREIGN_SHARE * count), round(DAMAGED_SHARE * count)
        order = [kept[i] for i in rng.permutation(len(kept))]
        good = tuple(order[: max(count - foreign - damaged, 1)])
        again = tuple(order[i % len(order)] for i in range(count - foreign - len(good)))
        return cls(
            good=good, damaged=again, foreign=foreign, folder=trained.options.penalty, record=record,
            seed=trained.options.seed,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.good) + len(self.damaged) + self.foreign

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for picture in self.good:
            yield {"image": prepared(picture, self.record)[None]}
        for k, picture in enumerate(self.damaged):
            yield {"image": damage(prepared(picture, self.record), np.random.default_rng([self.seed, 2, k]))[None]}
        files = foreign_files(self.folder) if self.folder is not None else ()
        for k in range(self.foreign):
            yield {"image": foreign_picture(files, self.record, np.random.default_rng([self.seed, 3, k]))[None]}


def foreign_files(folder: Path) -> tuple[Path, ...]:
    """The pictures of a folder and of those in it, in a fixed order. Raises BadInput if there are none."""
    files = pictures_in(Path(folder), recursive=True, at_least=0)
    if not files:
        raise BadInput("there are no pictures in it", where=str(folder), do="Leave it out to take generated textures")
    return files


def foreign_picture(files: Sequence[Path], record: Preprocessing, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One foreign picture as the network takes it, uint8 (h, w, 3): of `files`, or generated where there are none."""
    if not files:
        return np.asarray(preprocess.apply(texture(rng, max(record.width, record.height)), record).tensor[0])
    file = files[int(rng.integers(len(files)))]
    return np.asarray(preprocess.apply(preprocess.decode(file), record, where=str(file)).tensor[0])


def damage(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A copy of `picture`, uint8 (h, w, 3), with one to three kinds of damage."""
    out: NDArray[np.uint8] = np.array(picture, np.uint8)
    for index in rng.permutation(len(_KINDS))[: int(rng.integers(1, 4))]:
        _KINDS[index](out, rng)
    return out


def _box(out: NDArray[np.uint8], rng: np.random.Generator) -> tuple[slice, slice]:
    """A random box of 3 to 30 % of each side."""
    h, w = out.shape[:2]
    tall, wide = (max(2, int(side * rng.uniform(0.03, 0.3))) for side in (h, w))
    top, left = int(rng.integers(0, h - tall + 1)), int(rng.integers(0, w - wide + 1))
    return slice(top, top + tall), slice(left, left + wide)


def _cut_paste(out: NDArray[np.uint8], rng: np.random.Generator) -> None:
    box = _box(out, rng)
    piece = out[box][::-1].copy() if rng.random() < 0.5 else out[box][:, ::-1].copy()
    top = int(rng.integers(0, out.shape[0] - piece.shape[0] + 1))
    left = int(rng.integers(0, out.shape[1] - piece.shape[1] + 1))
    out[top : top + piece.shape[0], left : left + piece.shape[1]] = piece


def _line(out: NDArray[np.uint8], rng: np.random.Generator) -> None:
    h, w = out.shape[:2]
    points = np.stack([rng.integers(0, w, 4), rng.integers(0, h, 4)], axis=1).astype(np.int32)
    colour = tuple(int(v) for v in rng.integers(0, 256, 3))
    cv2.polylines(out, [points], False, colour, int(rng.integers(1, 6)), cv2.LINE_AA)


def _noise(out: NDArray[np.uint8], rng: np.random.Generator) -> None:
    box = _box(out, rng)
    out[box] = rng.integers(0, 256, out[box].shape, dtype=np.uint8)


def _blur(out: NDArray[np.uint8], rng: np.random.Generator) -> None:
    box = _box(out, rng)
    out[box] = cv2.GaussianBlur(np.ascontiguousarray(out[box]), (0, 0), float(rng.uniform(2.0, 8.0)))


def _blank(out: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Black, white or any grey, as a missing piece or a reflection is."""
    out[_box(out, rng)] = int(rng.choice([0, 255, int(rng.integers(0, 256))]))


_KINDS: tuple[Callable[[NDArray[np.uint8], np.random.Generator], None], ...] = (
    _cut_paste, _line, _noise, _blur, _blank,
)  # fmt: skip
