"""Scenes drawn by code: objects on grounds, mosaics, benches of long things, packings of many small ones. Knows no
network.

Nothing in them has a name; they teach that a thing shares a surface and ends at an edge, in every texture, size,
shape, contrast and clutter that code can draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk.export.pictures.textures import octaves, texture
from edge_sdk.export.tinysam.scenes.annotated import Annotated, Rgb, coloured
from edge_sdk.export.tinysam.scenes.shapes import Mask, blob, ellipse, jointed, shape

LEAST_PX = 30
"""Smallest visible part of an object that is asked for, px."""
LEAST_VISIBLE = 0.35
"""Of an object that others cover."""
SEVERAL = 0.3
"""Share of things that are made of several surfaces: a thing that is clicked does not end where its material does."""
DRAWN_TEXTURES = 160


@dataclass(frozen=True, slots=True, eq=False)
class Materials:
    """surfaces: pictures to cut textures from. cutouts: real objects, (pixels, mask) of equal size."""

    surfaces: Sequence[Rgb]
    cutouts: Sequence[tuple[Rgb, Mask]] = ()

    @classmethod
    def of(cls, photographs: Sequence[Rgb], cutouts: Sequence[tuple[Rgb, Mask]], *, seed: int) -> Materials:
        """Photographs and textures drawn by code, half and half as they are drawn from."""
        return cls([*photographs, *_textures(seed)], cutouts)

    def surface(self, rng: np.random.Generator, height: int, width: int) -> Rgb:
        """A surface of (height, width, 3): part of a photograph or texture, a plain colour, a shading."""
        kind = rng.random()
        if kind < 0.25:
            return _plain(rng, height, width)
        half = len(self.surfaces) - DRAWN_TEXTURES
        low, high = (0, half) if half and rng.random() < 0.6 else (half, len(self.surfaces))
        source = self.surfaces[int(rng.integers(low, high))]
        part = float(np.exp(rng.uniform(np.log(0.15), 0.0))) * min(source.shape[:2])
        scale = part / max(height, width)
        h, w = max(2, min(source.shape[0], int(height * scale))), max(2, min(source.shape[1], int(width * scale)))
        y, x = int(rng.integers(0, source.shape[0] - h + 1)), int(rng.integers(0, source.shape[1] - w + 1))
        how = cv2.INTER_AREA if h > height else cv2.INTER_LINEAR
        cut = np.asarray(cv2.resize(source[y : y + h, x : x + w], (width, height), interpolation=how), np.uint8)
        return coloured(rng, cut, strength=1.5)


@lru_cache(maxsize=1)
def _textures(seed: int) -> tuple[Rgb, ...]:
    """Drawn once: training, thresholds and calibration each ask for them, and they take seconds."""
    rng = np.random.default_rng([seed, 77])
    return tuple(texture(rng, 320) for _ in range(DRAWN_TEXTURES))


def scene(rng: np.random.Generator, materials: Materials, side: int) -> Annotated:
    """One scene, its longest side `side` px."""
    short = int(side * rng.uniform(0.6, 1.0))
    height, width = (short, side) if rng.random() < 0.5 else (side, short)
    kind = rng.random()
    canvas = _Canvas(rng, materials, height, width)
    if kind < 0.2:
        canvas.mosaic(int(rng.integers(3, 14)))
        canvas.objects(int(rng.integers(0, 5)))
    elif kind < 0.35:
        canvas.packing()
        canvas.objects(int(rng.integers(0, 2)))
    elif kind < 0.7:
        canvas.bench(int(rng.integers(1, 9)))
    else:
        if rng.random() < 0.4:
            canvas.mosaic(int(rng.integers(2, 5)))
        canvas.objects(int(rng.integers(2, 19)))
    return canvas.done()


class _Canvas:
    """A scene in the making: pixels, and masks in the order in which they were painted."""

    def __init__(self, rng: np.random.Generator, materials: Materials, height: int, width: int) -> None:
        self.rng, self.materials, self.height, self.width = rng, materials, height, width
        self.picture = materials.surface(rng, height, width).astype(np.float32)
        self.masks: list[tuple[NDArray[np.bool_], int]] = []  # visible part, area as painted

    def mosaic(self, count: int) -> None:
        """Regions without objects: the picture divided among points, along warped distances."""
        h, w = (self.height + 1) // 2, (self.width + 1) // 2  # at half the resolution: borders are smooth anyway
        ys, xs = 2.0 * np.mgrid[0:h, 0:w].astype(np.float32)
        side = max(self.height, self.width)
        warp = float(self.rng.uniform(0.0, 0.15)) * side
        bend = [octaves(self.rng, max(h, w), rough=float(self.rng.uniform(0.3, 0.6)))[:h, :w] for _ in "xy"]
        stretch = self.rng.uniform(0.4, 1.0)
        at = self.rng.uniform(0, 1, (count, 2)) * (self.width, self.height)
        away = [
            np.hypot(xs + warp * bend[0] - x, (ys + warp * bend[1] - y) / stretch) - self.rng.uniform(0, 0.1) * side
            for x, y in at
        ]
        size = (self.width, self.height)
        owner = np.argmin(np.stack([cv2.resize(one.astype(np.float32), size) for one in away]), 0)
        for k in range(count):
            region = owner == k
            if region.any():
                mask = region.astype(np.uint8)
                self.paint(mask, self.materials.surface(self.rng, *mask[_around(mask)].shape), shade=False)

    def objects(self, count: int) -> None:
        """Things of all sizes, some of them real ones, some with parts."""
        side = max(self.height, self.width)
        for _ in range(count):
            radius = float(np.exp(self.rng.uniform(np.log(0.02), np.log(0.42)))) * side
            centre = self.rng.uniform(0, 1, 2) * (self.width, self.height)
            if self.materials.cutouts and self.rng.random() < 0.3:
                self.cutout((float(centre[0]), float(centre[1])), radius)
                continue
            mask = shape(self.rng, self.height, self.width, (float(centre[0]), float(centre[1])), radius)
            self.paint(mask, self.fill(mask))
            if radius > 0.1 * side and self.rng.random() < 0.15:
                at = centre + self.rng.uniform(-0.4, 0.4, 2) * radius
                part = shape(
                    self.rng, self.height, self.width, (float(at[0]), float(at[1])), radius * self.rng.uniform(0.2, 0.6)
                )
                part &= mask
                self.paint(part, self.fill(part), part=True)

    def bench(self, count: int) -> None:
        """Long things of several parts, real ones among them, that lie beside each other. Each part has a surface of
        its own, and none a mask of its own: a click on a hammer's head means the hammer."""
        side = max(self.height, self.width)
        taken = np.zeros((self.height, self.width), np.uint8)
        for _ in range(count):
            x, y = (float(v) for v in self.rng.uniform(0.05, 0.95, 2) * (self.width, self.height))
            radius = float(self.rng.uniform(0.08, 0.4)) * side
            if self.materials.cutouts and self.rng.random() < 0.3:
                self.cutout((x, y), radius)
                continue
            parts = jointed(self.rng, self.height, self.width, (x, y), radius)
            whole = np.maximum.reduce(parts)
            if (whole & taken).sum() > 0.1 * whole.sum():
                continue
            taken |= whole
            self.assembled(parts)

    def assembled(self, parts: Sequence[Mask]) -> None:
        """Paint the parts of one thing; some share a surface, some wear a mark."""
        order = range(len(parts)) if self.rng.random() < 0.5 else range(len(parts) - 1, -1, -1)
        fill: NDArray[Any] | None = None
        here = _around(np.maximum.reduce(parts))
        for k in order:
            if fill is None or self.rng.random() < 0.75:
                inside = np.maximum.reduce(parts)[here] > 0
                fill = self.materials.surface(self.rng, *inside.shape).astype(np.float32)
            if parts[k].any():
                local = _around(parts[k])
                rows = slice(local[0].start - here[0].start, local[0].stop - here[0].start)
                columns = slice(local[1].start - here[1].start, local[1].stop - here[1].start)
                self.lay(parts[k], fill[rows, columns])
        whole = np.maximum.reduce(parts)
        if self.rng.random() < 0.4:
            ys, xs = np.nonzero(whole)
            k = int(self.rng.integers(len(xs)))
            mark = shape(self.rng, self.height, self.width, (float(xs[k]), float(ys[k])), 0.1 * float(np.ptp(xs)) + 3)
            mark &= whole
            if mark.any():
                self.lay(mark, self.materials.surface(self.rng, *mark[_around(mark)].shape))
        self.own(whole)

    def packing(self) -> None:
        """Many things of one kind: grains, cells, screws in a box; they touch and hardly overlap."""
        side = max(self.height, self.width)
        radius = float(np.exp(self.rng.uniform(np.log(0.012), np.log(0.1)))) * side
        kind = blob if self.rng.random() < 0.6 else ellipse
        alike = self.rng.random() < 0.6
        surface = self.materials.surface(self.rng, self.height, self.width)
        taken = np.zeros((self.height, self.width), np.uint8)
        for _ in range(int(self.rng.integers(8, 60))):
            centre = self.rng.uniform(0, 1, 2) * (self.width, self.height)
            mask = np.zeros((self.height, self.width), np.uint8)
            kind(self.rng, mask, centre, radius * float(np.exp(self.rng.normal(0, 0.35))))
            if (mask & taken).sum() > 0.2 * mask.sum() or not mask.any():
                continue
            taken |= mask
            if alike:
                fill = surface[_around(mask)] * self.rng.uniform(0.6, 1.3) + self.rng.normal(0, 12, 3)
                self.paint(mask, np.clip(fill, 0, 255))
            else:
                self.paint(mask, self.fill(mask))

    def fill(self, mask: Mask) -> NDArray[Any]:
        """A surface for what lies around the mask; one in five hardly differs from what lies below, one in three things
        has several surfaces, as a handle and its blade."""
        if not mask.any():
            return np.zeros((1, 1, 3), np.float32)
        here = _around(mask)
        inside = mask[here] > 0
        if self.rng.random() < SEVERAL:
            return self.several(inside)
        found = self.materials.surface(self.rng, *inside.shape).astype(np.float32)
        if self.rng.random() < 0.2:
            below = self.picture[here][inside].mean(0)
            offset = self.rng.normal(0, 25, 3) + self.rng.choice([-1, 1]) * self.rng.uniform(8, 30)
            found = 0.3 * (found - found[inside].mean(0)) + below + offset
        return found

    def several(self, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Two or three surfaces, one after another along the mask."""
        ys, xs = np.nonzero(inside)
        spread = np.cov(np.stack([xs, ys])) if len(xs) > 1 else np.eye(2)
        along = np.linalg.eigh(spread)[1][:, 1]
        at = xs * along[0] + ys * along[1]
        ends = np.sort(self.rng.uniform(at.min(), at.max(), int(self.rng.integers(1, 3))))
        rows, columns = np.indices(inside.shape)
        piece = np.searchsorted(ends, columns * along[0] + rows * along[1])
        found = [self.materials.surface(self.rng, *inside.shape).astype(np.float32) for _ in range(len(ends) + 1)]
        return np.asarray(np.choose(piece[..., None], found), np.float32)

    def cutout(self, centre: tuple[float, float], radius: float) -> None:
        """A real object, turned and scaled."""
        pixels, mask = self.materials.cutouts[int(self.rng.integers(len(self.materials.cutouts)))]
        h, w = mask.shape
        scale = min(2.0, 2 * radius / max(h, w))
        turn = cv2.getRotationMatrix2D((w / 2, h / 2), float(self.rng.uniform(0, 360)), scale)
        turn[:, 2] += np.subtract(centre, (w / 2, h / 2))
        size = (self.width, self.height)
        placed = (cv2.warpAffine(mask, turn, size, flags=cv2.INTER_LINEAR) > 0).astype(np.uint8)
        if placed.any():
            fill = cv2.warpAffine(pixels, turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            self.paint(placed, coloured(self.rng, np.asarray(fill, np.uint8)[_around(placed)]), shade=False)

    def paint(self, mask: Mask, fill: NDArray[Any], *, part: bool = False, shade: bool = True) -> None:
        """Lay `fill` where the mask is; what it covers of others is theirs no longer."""
        if mask.sum() >= LEAST_PX:
            self.lay(mask, fill, shade=shade)
            self.own(mask, part=part)

    def lay(self, mask: Mask, fill: NDArray[Any], *, shade: bool = True) -> None:
        """Pixels alone: `fill`, of the size of `_around(mask)`, with soft edges, shading and sometimes a shadow."""
        here = _around(mask)
        local = mask[here]
        alpha = cv2.GaussianBlur(local.astype(np.float32), (0, 0), float(self.rng.uniform(0.35, 0.9)))
        fill = np.asarray(fill, np.float32)
        if shade and self.rng.random() < 0.5:
            fill = fill * self.shading(local)[..., None]
        below = self.picture[here]
        if shade and self.rng.random() < 0.3:
            offset = self.rng.uniform(-0.02, 0.02, 2) * max(self.height, self.width)
            h, w = local.shape
            moved = cv2.warpAffine(alpha, np.array([[1, 0, offset[0]], [0, 1, offset[1]]]), (w, h))
            soft = cv2.GaussianBlur(moved, (0, 0), float(self.rng.uniform(1.0, 6.0)))
            below = below * (1.0 - float(self.rng.uniform(0.2, 0.7)) * soft[..., None])
        self.picture[here] = below * (1.0 - alpha[..., None]) + fill * alpha[..., None]

    def own(self, mask: Mask, *, part: bool = False) -> None:
        """The mask alone: it is asked for, and what it covers is not, unless it is a part of that."""
        area = int(mask.sum())
        if area < LEAST_PX:
            return
        visible, here = mask > 0, _around(mask)
        if not part:
            for one, _ in self.masks:
                one[here] &= ~visible[here]
        self.masks.append((visible, area))

    def shading(self, mask: Mask) -> NDArray[np.float32]:
        """Light from one side, or darker towards the rim as on a round body."""
        if self.rng.random() < 0.5:
            ys, xs = np.mgrid[0 : mask.shape[0], 0 : mask.shape[1]].astype(np.float32)
            angle, strength = self.rng.uniform(0, 2 * np.pi), self.rng.uniform(0.1, 0.6)
            slope = (xs * np.cos(angle) + ys * np.sin(angle)) / max(mask.shape)
            return np.asarray(1.0 + strength * (slope - slope[mask > 0].mean()) * 2.0, np.float32).clip(0.3, 1.7)
        depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
        round_ = np.sqrt(np.clip(depth / max(float(depth.max()), 1.0), 0.0, 1.0))
        return np.asarray(1.0 - self.rng.uniform(0.2, 0.6) * (1.0 - round_), np.float32)

    def done(self) -> Annotated:
        kept = [m for m, painted in self.masks if int(m.sum()) >= max(LEAST_PX, LEAST_VISIBLE * painted)]
        masks = np.array(kept, bool).reshape(-1, self.height, self.width)
        return Annotated(np.clip(np.rint(self.picture), 0, 255).astype(np.uint8), masks)


def _around(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns of a mask that is not empty, with room for soft edges and shadows."""
    x, y, w, h = cv2.boundingRect(mask)
    room = 8
    return (
        slice(max(0, y - room), min(mask.shape[0], y + h + room)),
        slice(max(0, x - room), min(mask.shape[1], x + w + room)),
    )


def _plain(rng: np.random.Generator, height: int, width: int) -> Rgb:
    """One colour, a gradient, or slow shading, with a little noise."""
    one, two = rng.uniform(0, 255, (2, 3))
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = (xs * np.cos(angle) + ys * np.sin(angle)) / max(height, width)
    share = float(rng.uniform(0.0, 0.6)) * slope[..., None]
    out = one + share * (two - one) + rng.normal(0, rng.uniform(0.5, 8.0), (height, width, 1))
    return np.asarray(np.clip(np.rint(out), 0, 255), np.uint8)
