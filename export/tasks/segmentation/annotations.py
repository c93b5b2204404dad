"""Annotated pictures: what families train on and evaluations hold masks against. Knows no network and no family."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk import grouping, plain_file, preprocess
from edge_sdk.errors import BadInput
from edge_sdk.shown import shown
from edge_sdk.tasks.segmentation import rle

BitMask: TypeAlias = NDArray[np.bool_]
Segment: TypeAlias = rle.Rle | Sequence[Sequence[float]]
"""Of COCO: runs, or polygons as `filled` takes them."""


class Annotator(Protocol):
    """The segments that one person, or one program, marked on a picture."""

    @property
    def content(self) -> str:
        """Hex digest of what was marked."""

    def masks(self, height: int, width: int) -> Iterator[BitMask]:
        """Each segment as bool (height, width), in a fixed order; segments may overlap. Raises BadInput where they
        are of a picture of another size."""

    def any(self) -> bool:
        """Whether there is a segment at all. Raises BadInput for a file that holds none of this kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMap:
    """A PNG file of 8 or 16 bits: 0 = not marked, each other value is a segment. content: sha256 of the file."""

    path: Path
    content: str

    def labels(self, height: int, width: int) -> NDArray[np.uint16]:
        """uint16 (height, width). Raises BadInput."""
        found = read_labels(plain_file.read(self.path, what="a label map"), where=shown(self.path))
        if found.shape != (height, width):
            raise size_problem(self.path, found.shape, "its picture", (height, width))
        return found

    def masks(self, height: int, width: int) -> Iterator[BitMask]:
        labels = self.labels(height, width)
        for value in np.unique(labels):
            if value:
                yield labels == value

    def any(self) -> bool:
        return bool(read_labels(plain_file.read(self.path, what="a label map"), where=shown(self.path)).any())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CocoSegments:
    """Instances of COCO, read and checked (`coco.read`). height, width: of the picture, as the file says."""

    segments: tuple[Segment, ...]
    height: int
    width: int
    content: str
    where: str

    def masks(self, height: int, width: int) -> Iterator[BitMask]:
        if (self.height, self.width) != (height, width):
            raise size_problem(self.where, (self.height, self.width), "the picture", (height, width))
        for one in self.segments:
            mask = rle.decode(one) if isinstance(one, rle.Rle) else filled(one, height, width)
            if mask.shape != (height, width):
                raise size_problem(self.where, mask.shape, "the picture", (height, width))
            yield mask

    def any(self) -> bool:
        return bool(self.segments)


_PNG, _PNG_COLOUR = b"\x89PNG\r\n\x1a\n", 25
_PNG_FORMS = {2: "in colour", 3: "with a palette", 4: "with alpha", 6: "in colour with alpha"}
"""By the byte of the header at _PNG_COLOUR; 0 is grey."""
_LOSSY = {"JPEG": b"\xff\xd8\xff", "WebP": b"RIFF"}


def check_labels(data: bytes, *, where: str) -> None:
    """Nothing if an encoded label map may be one, as far as its header says. A picture in colour named .png, or a JPEG,
    has to be refused before a training starts, not at the step that first looks at it. Raises BadInput."""
    kind = next((name for name, magic in _LOSSY.items() if data.startswith(magic)), "")
    if kind:
        raise _no_labels(f"a {kind}, which changes the numbers", where)
    if data.startswith(_PNG):
        form = _PNG_FORMS.get(data[_PNG_COLOUR], "")
        if form:
            raise _no_labels(f"a PNG {form}", where)
    else:  # TIFF, BMP, PGM: rare enough to be decoded
        read_labels(data, where=where)


def read_labels(data: bytes, *, where: str) -> NDArray[np.uint16]:
    """uint16 (H, W) of an encoded label map. Raises BadInput for a picture in colour, or none."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.ndim != 2 or decoded.dtype not in (np.uint8, np.uint16):
        raise _no_labels("no picture" if decoded is None else f"a picture {decoded.dtype} {decoded.shape}", where)
    return np.asarray(decoded, np.uint16)


def _no_labels(form: str, where: str) -> BadInput:
    return BadInput(
        f"a label map is a grey PNG of 8 or 16 bits, this is {form}", where=where,
        hint="Write the numbers of segments as grey values, not as colours of a palette",
    )  # fmt: skip


def size_problem(what: Path | str, size: tuple[int, ...], other: Path | str, wanted: tuple[int, ...]) -> BadInput:
    """The error for annotations of another size than their picture; sizes are (height, width)."""
    return BadInput(
        f"the annotations are of {size[1]} x {size[0]} px, {shown(other)} has {wanted[1]} x {wanted[0]} px",
        where=shown(what), hint="Give annotations of the picture's own size: they are not resized",
    )  # fmt: skip


def filled(polygons: Sequence[Sequence[float]], height: int, width: int) -> BitMask:
    """bool (height, width): pixels whose centre lies in any of COCO's polygons, each x0, y0, x1, y1, ...; coordinates
    are continuous, (0, 0) is the outer corner of the first pixel. Of a polygon that crosses itself by even and odd.

    Raises BadInput for a polygon of fewer than 3 points.
    """
    out = np.zeros((height, width), np.bool_)
    for flat in polygons:
        points = np.asarray(flat, np.float64)
        if points.ndim != 1 or points.size < 6 or points.size % 2 or not np.isfinite(points).all():
            raise BadInput(f"a polygon of {points.size} numbers", hint="A polygon has x and y of 3 points or more")
        out |= _even_odd(points.reshape(-1, 2), height, width)
    return out


def _even_odd(points: NDArray[np.float64], height: int, width: int) -> BitMask:
    """Pixels whose centre is inside one polygon (P, 2): right of an odd number of its edges."""
    crossed = np.zeros((height, width + 1), np.int32)
    centres = np.arange(height) + 0.5
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        rows = np.flatnonzero((y0 <= centres) != (y1 <= centres))
        at = x0 + (centres[rows] - y0) * ((x1 - x0) / (y1 - y0) if rows.size else 0.0)
        crossed[rows, np.clip(np.ceil(at - 0.5), 0, width).astype(np.int64)] += 1
    return np.asarray(crossed.cumsum(axis=1)[:, :width] % 2 == 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnnotatedPicture:
    """One picture file with what was marked on it. part: the physical part or scene that it shows. kind: what it shows,
    "" = not stated. content: sha256 of the file in hex. annotators: one or more."""

    path: Path
    part: str
    content: str
    annotators: tuple[Annotator, ...]
    kind: str = ""

    def pixels(self) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB, at its own size. Raises BadInput."""
        return preprocess.read_rgb8(self.path, bit_depth=None)

    def masks(self, height: int, width: int) -> Iterator[BitMask]:
        """The segments of all annotators in turn, as bool (height, width). Raises BadInput."""
        for one in self.annotators:
            yield from one.masks(height, width)


@dataclass(frozen=True, kw_only=True, eq=False)  # no slots: `digest` is kept
class SegmentationData:
    """Annotated pictures: to train on, and for the evaluation alone. group: how parts were named, "" = each picture is
    one. notes: what was left out, in words."""

    train: tuple[AnnotatedPicture, ...]
    test: tuple[AnnotatedPicture, ...] = ()
    group: str = ""
    notes: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """sha256 over the training pictures and what is marked on them, whatever folder they lie in; "" = none."""
        return grouping.data_digest(
            (shown(one.path.name), one.part, _marked(one), one.content) for one in self.train
        )  # fmt: skip


def _marked(picture: AnnotatedPicture) -> str:
    return hashlib.sha256("\n".join(one.content for one in picture.annotators).encode()).hexdigest()
