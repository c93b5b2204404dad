"""Random outlines as masks: blobs, bands, rings, tools, letters, things of several parts. Knows no picture."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]


def shape(rng: np.random.Generator, height: int, width: int, centre: tuple[float, float], radius: float) -> Mask:
    """A random outline around `centre` (x, y) of about `radius` px: 0 or 1, (height, width)."""
    mask = np.zeros((height, width), np.uint8)
    _KINDS[int(rng.choice(len(_KINDS), p=_SHARES))](rng, mask, np.asarray(centre, np.float64), radius)
    return mask


def _fill(mask: Mask, corners: NDArray[np.floating], value: int = 1) -> None:
    cv2.fillPoly(mask, [np.rint(corners * 16).astype(np.int32)], value, shift=4)


def _spun(rng: np.random.Generator, points: NDArray[np.floating]) -> NDArray[np.floating]:
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([[c, s], [-s, c]]))


def blob(rng: np.random.Generator, mask: Mask, centre: NDArray[np.floating], radius: float) -> None:
    """A circle bent by a few waves, stretched."""
    at = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    r = np.ones_like(at)
    rough = rng.uniform(0.0, 0.45)
    for k in range(1, int(rng.integers(2, 9))):
        r += rough / k * rng.normal() * np.cos(k * at + rng.uniform(0, 2 * np.pi))
    points = np.clip(r, 0.15, 2.0)[:, None] * np.stack([np.cos(at), np.sin(at)], 1)
    _fill(mask, centre + radius * _spun(rng, points * (1.0, rng.uniform(0.35, 1.0))))


def ellipse(rng: np.random.Generator, mask: Mask, centre: NDArray[np.floating], radius: float) -> None:
    """Nearly round as often as long."""
    at = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    flat = rng.uniform(0.75, 1.0) if rng.random() < 0.5 else rng.uniform(0.15, 1.0)
    _fill(mask, centre + radius * _spun(rng, np.stack([np.cos(at), flat * np.sin(at)], 1)))


def polygon(rng: np.random.Generator, mask: Mask, centre: NDArray[np.floating], radius: float) -> None:
    """Three to nine corners, convex or star-like."""
    count = int(rng.integers(3, 10))
    at = np.sort(rng.uniform(0, 2 * np.pi, count))
    r = rng.uniform(0.4, 1.0, count) if rng.random() < 0.6 else np.ones(count)
    _fill(mask, centre + radius * r[:, None] * np.stack([np.cos(at), np.sin(at)], 1))


def slab(rng: np.random.Generator, mask: Mask, centre: NDArray[np.floating], radius: float) -> None:
    """A rectangle, its corners sometimes rounded, its sides sometimes upright."""
    flat = rng.uniform(0.08, 1.0)
    corners = np.array([[-1, -flat], [1, -flat], [1, flat], [-1, flat]])
    upright = rng.random() < 0.4
    if upright and rng.random() < 0.5:
        corners = corners[:, ::-1]
    corners = radius * (corners if upright else _spun(rng, corners))
    _fill(mask, centre + corners)
    if rng.random() < 0.4:
        side = max(3, int(radius * min(flat, 1.0) * rng.uniform(0.2, 0.9))) | 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        mask[:] = cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel)


def band(rng: np.random.Generator, mask: Mask, centre: NDArray[np.floating], radius: float) -> None:
    """A bent line of some width: cables, straps, handles, cracks."""
    count = int(rng.integers(2, 6))
    knots = rng.uniform(-1, 1, (count, 2)) * radius
    line = np.stack([np.interp(np.linspace(0, count - 1, 40), range(count), knots[:, i]) for i in (0, 1)], 1)
    kernel = np.hanning(9) / np.hanning(9).sum()
    line = np.stack([np.convolve(np.pad(line[:, i], 4, mode="edge"), kernel, "valid") for i in (0, 1)], 1)
    thick = max(1, int(radius * rng.uniform(0.04, 0.35)))
    cv2.polylines(mask, [np.rint(centre + line).astype(np.int32)], False, 1, thick)


def ring(rng: np.random.Generator, mask: Mask, centre: NDArray[np.floating], radius: float) -> None:
    """A blob or slab with an opening, or several."""
    (ellipse, slab, blob)[int(rng.integers(3))](rng, mask, centre, radius)
    for _ in range(int(rng.integers(1, 4))):
        gap = np.zeros_like(mask)
        at = centre + rng.uniform(-0.4, 0.4, 2) * radius
        (ellipse, slab)[int(rng.integers(2))](rng, gap, at, radius * rng.uniform(0.1, 0.6))
        mask[gap > 0] = 0


def tool(rng: np.random.Generator, mask: Mask, centre: NDArray[np.floating], radius: float) -> None:
    """A long handle with a head: spanners, screwdrivers, pliers, hammers."""
    turn = _spun(rng, np.eye(2))
    along, across = turn[0], turn[1]
    thin = radius * rng.uniform(0.05, 0.16)
    arms = int(rng.choice([1, 1, 1, 2]))
    open_ = rng.uniform(0.15, 0.45) * (arms == 2)
    pivot = centre + along * radius * rng.uniform(0.2, 0.6)
    for k in range(arms):
        sign = (-1) ** k
        end = centre - along * radius + sign * across * open_ * radius
        widths = thin * rng.uniform(0.6, 1.4, 2)
        side = np.array([-(end - pivot)[1], (end - pivot)[0]]) / (np.linalg.norm(end - pivot) + 1e-9)
        _fill(
            mask,
            np.array(
                [pivot + side * widths[0], pivot - side * widths[0], end - side * widths[1], end + side * widths[1]]
            ),
        )
        cv2.circle(mask, (int(end[0]), int(end[1])), max(1, int(widths[1])), 1, -1)
    head = (ellipse, slab, polygon, blob)[int(rng.integers(4))]
    head(rng, mask, centre + along * radius * 0.75, radius * rng.uniform(0.12, 0.4))
    cv2.line(
        mask,
        tuple(int(v) for v in pivot),
        tuple(int(v) for v in centre + along * radius * 0.75),
        1,
        max(1, int(2 * thin)),
    )
    if rng.random() < 0.4:
        gap = centre + along * radius * rng.uniform(0.6, 0.95)
        cv2.circle(mask, (int(gap[0]), int(gap[1])), max(1, int(radius * rng.uniform(0.04, 0.15))), 0, -1)


def letter(rng: np.random.Generator, mask: Mask, centre: NDArray[np.floating], radius: float) -> None:
    """A letter or digit."""
    text = chr(int(rng.choice([*range(48, 58), *range(65, 91), *range(97, 123)])))
    scale, thick = radius / 11.0, max(1, int(radius * rng.uniform(0.1, 0.5)))
    at = int(centre[0] - 9 * scale), int(centre[1] + 10 * scale)
    cv2.putText(mask, text, at, int(rng.integers(0, 8)), scale, 1, thick)


def joined(rng: np.random.Generator, mask: Mask, centre: NDArray[np.floating], radius: float) -> None:
    """Two or three simple outlines that overlap."""
    for _ in range(int(rng.integers(2, 4))):
        at = centre + rng.uniform(-0.5, 0.5, 2) * radius
        (blob, ellipse, polygon, slab)[int(rng.integers(4))](rng, mask, at, radius * rng.uniform(0.3, 0.8))


def jointed(
    rng: np.random.Generator, height: int, width: int, centre: tuple[float, float], radius: float
) -> list[Mask]:
    """The parts of one long thing, one after another along an axis: grip, collar, shank, head; with two arms at times,
    as pliers. Each is 0 or 1, (height, width), and overlaps its neighbours a little, so that their union is one piece.
    """
    at = np.asarray(centre, np.float64)
    along, across = _spun(rng, np.eye(2))
    count = int(rng.integers(2, 5))
    ends = radius * (2 * np.concatenate([[0.0], np.cumsum(rng.dirichlet(np.full(count, 2.0)))]) - 1)
    widths = radius * np.exp(rng.uniform(np.log(0.04), np.log(0.2), count))
    arms = int(rng.integers(1, count)) if rng.random() < 0.3 else 0  # parts that come in twos, from the grip's end
    spread = rng.uniform(0.15, 0.5) * radius
    parts = []
    for k in range(count):
        mask = np.zeros((height, width), np.uint8)
        for side in (-1.0, 1.0) if k < arms else (0.0,):
            apart = side * spread * (ends[arms] - ends[k : k + 2]) / radius  # the arms meet where the last of them ends
            start, end = at + ends[k : k + 2, None] * along + apart[:, None] * across
            _bar(rng, mask, start, end, widths[k])
        parts.append(mask)
    if rng.random() < 0.65:
        head = (ellipse, slab, polygon, blob, ring)[int(rng.integers(5))]
        mask = np.zeros((height, width), np.uint8)
        size = radius * rng.uniform(0.15, 0.4)
        head(rng, mask, at + (ends[-1] - 0.3 * size) * along, size)
        parts.append(mask)
    return parts


def _bar(
    rng: np.random.Generator, mask: Mask, start: NDArray[np.floating], end: NDArray[np.floating], width: float
) -> None:
    """A bar from start to end, tapered, its ends round."""
    way = end - start
    side = np.array([-way[1], way[0]]) / (np.linalg.norm(way) + 1e-9)
    first, last = width * rng.uniform(0.6, 1.2, 2)
    _fill(mask, np.array([start + side * first, start - side * first, end - side * last, end + side * last]))
    for corner, wide in ((start, first), (end, last)):
        cv2.circle(mask, (int(corner[0]), int(corner[1])), max(1, int(wide)), 1, -1)


_Kind = Callable[[np.random.Generator, Mask, NDArray[np.floating], float], None]
_KINDS: tuple[_Kind, ...] = (blob, ellipse, polygon, slab, band, ring, tool, letter, joined)
_SHARES = (0.22, 0.12, 0.1, 0.12, 0.08, 0.08, 0.14, 0.04, 0.1)
