"""Frames of photographs with label maps: views of a picture, true masks, first prompts. Knows no network.

A view (crop, mirror, colours) is drawn from the seed, the picture and the view's number alone, so that the same view
comes back with the same pixels, and what a teacher makes of it can be stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput
from edge_sdk.export.tasks.segmentation.prompting import box_of
from edge_sdk.export.tinysam.distill.recipe import PromptRecipe, ViewRecipe
from edge_sdk.export.tinysam.scenes import annotated
from edge_sdk.export.tinysam.scenes.annotated import Annotated, Masks, Rgb
from edge_sdk.export.tinysam.scenes.mixture import Frame
from edge_sdk.export.tinysam.scenes.prompts import anywhere, jittered

Labels = NDArray[np.int32]
_TRIES = 200
"""Views without a mask that is large enough, before the data are called unusable."""


class Marked(Protocol):
    """A picture and what one or more annotators marked on it."""

    @property
    def annotators(self) -> int: ...
    def read(self) -> Rgb:
        """Its pixels. Raises BadInput."""

    def labels(self, which: int, like: Rgb) -> Sequence[Labels]:
        """Label maps (h, w), 0 = unmarked, that hold every segment of one annotator; more than one where segments lie
        on each other. Raises BadInput: unreadable, or of another size than the picture `like`."""


@dataclass(frozen=True, eq=False)
class Views:
    """Frames of `photographs`, `side` px. seed: of the views."""

    photographs: Sequence[Marked]
    side: int
    prompts: PromptRecipe
    views: ViewRecipe
    seed: int

    def frame(self, rng: np.random.Generator) -> Frame:
        """A frame of a random picture with `prompts.each` prompts. Raises BadInput where no picture has a mask that is
        large enough."""
        for _ in range(_TRIES):
            which = int(rng.integers(len(self.photographs)))
            view = int(rng.integers(self.views.views)) if self.views.views else None
            image, maps = self._viewed(which, view, rng)
            masks = self._masks(maps, rng)
            if len(masks):
                return self._prompted(image, masks, rng)
        least = f"{self.views.least_px} px in a frame of {self.side} px"
        raise BadInput(f"in {_TRIES} views no mask has {least}", hint="Check the label maps")

    def whole(self) -> int:
        """How many frames have pixels of their own: what a store of embeddings has to hold; 0 = without end."""
        return len(self.photographs) * self.views.views

    def pixels(self, number: int) -> Frame:
        """The frame of one of `whole()`, without masks and prompts: to fill a store beforehand."""
        which, view = divmod(number, self.views.views)
        image, _ = self._viewed(which, view, np.random.default_rng(0))
        nothing = np.zeros((0, 4), np.float32)
        return Frame(*self._framed(image), np.zeros((0, self.side, self.side), np.uint8), nothing, nothing[:, :2])

    def _viewed(self, which: int, view: int | None, rng: np.random.Generator) -> tuple[Rgb, list[Labels]]:
        """The picture as this view shows it, at the frame's scale, and some of its label maps at their own scale."""
        one = self.photographs[which]
        picture = one.read()
        chosen = rng.permutation(one.annotators)[: self.views.maps]
        maps = [labels for k in chosen for labels in one.labels(int(k), picture)]
        drawn = rng if view is None else np.random.default_rng([self.seed, 2, which, view])
        top, left, height, width = self._crop(view, picture.shape[0], picture.shape[1], drawn)
        here = slice(top, top + height), slice(left, left + width)
        mirrored = view == 1 or (view not in (0, 1) and drawn.random() < 0.5)
        picture, maps = picture[here], [one[here] for one in maps]
        if mirrored:
            picture, maps = picture[:, ::-1], [one[:, ::-1] for one in maps]
        nothing = np.zeros((0, height, width), bool)
        image = annotated.scaled(Annotated(np.ascontiguousarray(picture), nothing), self.side).picture
        if view not in (0, 1) and self.views.colour:
            image = annotated.coloured(drawn, image, strength=self.views.colour)
        return image, maps

    def _crop(self, view: int | None, h: int, w: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Top, left, height and width of what this view shows."""
        if view in (0, 1):
            return 0, 0, h, w
        scale, aspect = rng.uniform(self.views.least_side, 1.0), np.exp(rng.uniform(-0.15, 0.15))
        ch, cw = (max(1, min(side, int(side * scale * factor))) for side, factor in ((h, aspect), (w, 1 / aspect)))
        return int(rng.integers(h - ch + 1)), int(rng.integers(w - cw + 1)), ch, cw

    def _masks(self, maps: list[Labels], rng: np.random.Generator) -> Masks:
        """Masks of the frame's prompts, at the frame's scale; none where no segment is large enough."""
        found: list[tuple[Labels, int]] = []
        for labels in maps:
            scale = (self.side / max(labels.shape)) ** 2
            areas = np.bincount(labels.ravel())
            areas[0] = 0
            large = np.flatnonzero((areas * scale >= self.views.least_px) & (areas < 0.95 * labels.size))
            found += [(labels, int(number)) for number in large]
        order = rng.permutation(len(found))[: self.prompts.each]
        large_ones = np.array([found[k][0] == found[k][1] for k in order]).reshape(-1, *maps[0].shape)
        small = annotated.scaled(Annotated(np.zeros((*maps[0].shape, 3), np.uint8), large_ones), self.side).masks
        small = small[small.any((1, 2))]  # a thin segment may lose every pixel when it shrinks
        return np.resize(small, (self.prompts.each, *small.shape[1:])) if len(small) else small

    def _prompted(self, image: Rgb, small: Masks, rng: np.random.Generator) -> Frame:
        """small: one mask for each prompt, some of them repeated where there were fewer."""
        boxes = [box_of(one).astype(np.float32) for one in small[: self.prompts.boxes]]
        boxes = [jittered(rng, box, most=self.prompts.jitter) if rng.random() < 0.5 else box for box in boxes]
        points = [anywhere(rng, one) for one in small[self.prompts.boxes :]]
        framed = np.zeros((len(small), self.side, self.side), np.uint8)
        framed[:, : small.shape[1], : small.shape[2]] = small
        found, extent = self._framed(image)
        return Frame(
            found, extent, framed,
            np.array(boxes, np.float32).reshape(-1, 4), np.array(points, np.float32).reshape(-1, 2),
        )  # fmt: skip

    def _framed(self, image: Rgb) -> tuple[Rgb, tuple[int, int]]:
        """The picture at the top left of a square frame, and its height and width."""
        h, w = image.shape[:2]
        out = np.zeros((self.side, self.side, 3), np.uint8)
        out[:h, :w] = image
        return out, (h, w)
