"""What a training step is fed: pictures with masks from every source, as frames with prompts. Knows no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk.export.tasks.segmentation.annotations import AnnotatedPicture
from edge_sdk.export.tasks.segmentation.prompting import box_of, innermost
from edge_sdk.export.tinysam.scenes import annotated
from edge_sdk.export.tinysam.scenes.annotated import Annotated, Rgb
from edge_sdk.export.tinysam.scenes.drawn import Materials, scene
from edge_sdk.export.tinysam.scenes.prompts import anywhere, jittered
from edge_sdk.export.tinysam.scenes.regions import SCALES, regions

LEAST_PX = 24
"""Smallest mask in a frame that is asked for, px."""
CUTOUT_LEAST_PX = 250
TRANSPLANTED = 0.3
"""Share of marked pictures whose things are laid on another ground."""
EACH = 4
"""Objects cut from one picture at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a step. image: (S, S, 3), the picture at the top left. extent: its height and width, px.

    masks: (Q, S, S), 0 or 1, one for each prompt. boxes: (q, 4) of the first q masks; points: (Q - q, 2) of the others.
    """

    image: Rgb
    extent: tuple[int, int]
    masks: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    points: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How often each source is drawn from. real: marked pictures. regions: of `scenes.regions`; few, for they teach
    that a point means a surface, where marked pictures teach that it means a thing."""

    drawn: float = 0.35
    real: float = 0.55
    regions: float = 0.1


@dataclass(frozen=True, eq=False)
class Mixture:
    """marked: by kind; kinds are drawn from as often as the roots of their sizes say, so that 15 pictures are not lost
    beside 200, nor seen as often. photographs: for regions. side: of a frame, px. boxes, points: prompts a frame. A
    source that is empty is not drawn from."""

    marked: Sequence[Sequence[AnnotatedPicture]]
    photographs: Sequence[Rgb]
    materials: Materials
    side: int
    boxes: int = 3
    points: int = 6
    shares: Shares = field(default_factory=Shares)
    _regions: dict[tuple[int, int], NDArray[np.uint16]] = field(default_factory=dict, init=False, repr=False)

    def frame(self, rng: np.random.Generator) -> Frame:
        """One frame; another is drawn where a picture has no mask that is large enough."""
        while True:
            one = annotated.scaled(self._annotated(rng), self.side)
            h, w = one.picture.shape[:2]
            areas = one.masks.reshape(len(one.masks), h * w).sum(1) if len(one.masks) else np.zeros(0)
            good = np.flatnonzero((areas >= LEAST_PX) & (areas < 0.95 * h * w))
            if len(good):
                return self._prompted(rng, one, good)

    def picture(self, rng: np.random.Generator) -> Annotated:
        """A picture with all of its masks, its longest side `side` px, as frames are made of, without wear."""
        return annotated.scaled(self._annotated(rng), self.side)

    def _prompted(self, rng: np.random.Generator, one: Annotated, good: NDArray[np.intp]) -> Frame:
        count = self.boxes + self.points
        order = rng.permutation(good)
        chosen = np.resize(order, count) if len(order) < count else order[:count]
        h, w = one.picture.shape[:2]
        image = np.zeros((self.side, self.side, 3), np.uint8)
        image[:h, :w] = annotated.worn(rng, annotated.glaring(rng, one.picture))
        masks = np.zeros((count, self.side, self.side), np.uint8)
        masks[:, :h, :w] = one.masks[chosen]
        boxes = [box_of(one.masks[k]).astype(np.float32) for k in chosen[: self.boxes]]
        boxes = [jittered(rng, box) if rng.random() < 0.5 else box for box in boxes]
        points = [self._point(rng, one.masks[k]) for k in chosen[self.boxes :]]
        return Frame(image, (h, w), masks, np.array(boxes, np.float32), np.array(points, np.float32))

    @staticmethod
    def _point(rng: np.random.Generator, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The innermost pixel, which people tend to click at, or any other."""
        return innermost(mask).astype(np.float32) if rng.random() < 0.5 else anywhere(rng, mask)

    def _annotated(self, rng: np.random.Generator) -> Annotated:
        real = self.shares.real if self.marked else 0.0
        shares = np.array([self.shares.drawn, real, self.shares.regions if self.photographs else 0.0])
        kind = int(rng.choice(3, p=shares / shares.sum()))
        if kind == 0:
            return scene(rng, self.materials, self.side)
        if kind == 1:
            source = self.marked[int(rng.choice(len(self.marked), p=_by_root([len(kind) for kind in self.marked])))]
            one = read(source[int(rng.integers(len(source)))], rng)
        else:
            one = self._divided(rng)
        one = annotated.turned(rng, annotated.cropped(rng, one))
        if kind == 1 and rng.random() < TRANSPLANTED:
            one = annotated.transplanted(rng, one, self.materials.surface(rng, *one.picture.shape[:2]))
        if rng.random() < 0.25:
            one = annotated.shrunk(rng, one)
        return Annotated(annotated.coloured(rng, one.picture), one.masks)

    def _divided(self, rng: np.random.Generator) -> Annotated:
        """A photograph and its regions, at one of the scales; kept once computed."""
        key = int(rng.integers(len(self.photographs))), int(rng.integers(len(SCALES)))
        picture = self.photographs[key[0]]
        if key not in self._regions:
            self._regions[key] = regions(picture, SCALES[key[1]]).astype(np.uint16)
        labels = self._regions[key]
        counts = np.bincount(labels.ravel())
        large = np.flatnonzero(counts >= 100)
        if len(large) > 40:
            large = rng.choice(large, 40, replace=False)
        return Annotated(picture, labels[None] == large[:, None, None])


def _by_root(counts: Sequence[int]) -> NDArray[np.float64]:
    """Chances, proportional to the square roots of counts."""
    roots = np.sqrt(np.asarray(counts, np.float64))
    return np.asarray(roots / roots.sum())


def read(picture: AnnotatedPicture, rng: np.random.Generator) -> Annotated:
    """A picture from disk, as one of its annotators marked it."""
    pixels = picture.pixels()
    annotator = picture.annotators[int(rng.integers(len(picture.annotators)))]
    masks = list(annotator.masks(*pixels.shape[:2]))
    return Annotated(pixels, np.array(masks, bool).reshape(-1, *pixels.shape[:2]))


def cutouts(
    marked: Sequence[Sequence[AnnotatedPicture]], *, most: int, seed: int
) -> list[tuple[Rgb, NDArray[np.uint8]]]:
    """Real objects with their pixels, (h, w, 3) and (h, w), cut from marked photographs."""
    rng = np.random.default_rng([seed, 5])
    out: list[tuple[Rgb, NDArray[np.uint8]]] = []
    for source in marked:
        for k in rng.permutation(len(source))[: max(1, most // len(marked) // EACH)]:
            one = read(source[int(k)], rng)
            large = [m for m in one.masks if m.sum() >= CUTOUT_LEAST_PX]
            for mask in large[:EACH]:
                x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
                if x > 0 and y > 0 and x + w < mask.shape[1] and y + h < mask.shape[0]:  # whole, not cut by the rim
                    here = slice(y - 1, y + h + 1), slice(x - 1, x + w + 1)
                    out.append((one.picture[here].copy(), mask[here].astype(np.uint8)))
    return out
