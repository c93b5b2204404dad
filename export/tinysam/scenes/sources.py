"""From annotated pictures and further photographs to what training frames are drawn from. Knows no network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_sdk import preprocess
from edge_sdk.errors import BadInput
from edge_sdk.export.tasks.segmentation.annotations import AnnotatedPicture, SegmentationData
from edge_sdk.export.tinysam.scenes.annotated import Rgb
from edge_sdk.export.tinysam.scenes.drawn import Materials
from edge_sdk.export.tinysam.scenes.mixture import Mixture, cutouts
from edge_sdk.folders import pictures_in
from edge_sdk.progress import Progress
from edge_sdk.shown import not_a_folder, shown

PHOTOGRAPH_PX = 512
"""Longest side at which a photograph is kept in memory."""
PER_KIND = 60
"""Annotated pictures of one kind that are surfaces and regions, too."""
DARK, DARK_SHARE = 24, 0.5
"""A picture of which more than this share is darker than this grey has no surface to cut from."""
CUTOUTS = 800


def photographs_in(folder: Path | None) -> list[Path]:
    """Pictures of a folder, sorted. Raises BadInput where there is no such folder, or none in it."""
    if folder is None:
        return []
    if not folder.is_dir():
        raise not_a_folder(folder, "Name a folder of pictures with --photographs")
    found = list(pictures_in(folder, recursive=True))
    if not found:
        raise BadInput("there are no pictures in it", where=shown(folder), hint="Name another folder")
    return found


def digest_of(files: Sequence[Path]) -> str:
    """16 hexadecimal digits of the contents of files, whatever folder they lie in."""
    total = hashlib.sha256()
    for file in files:
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:16]


def by_kind(data: SegmentationData | None) -> list[list[AnnotatedPicture]]:
    """The training pictures by kind, in the order of the kinds."""
    kinds: dict[str, list[AnnotatedPicture]] = {}
    for one in data.train if data is not None else ():
        kinds.setdefault(one.kind, []).append(one)
    return [kinds[name] for name in sorted(kinds)]


def mixture(
    data: SegmentationData | None, photographs: Sequence[Path], *, side: int, seed: int, progress: Progress
) -> Mixture:
    """Everything that frames are drawn from, read into memory but for the annotated pictures themselves.

    Photographs are drawn from twice as often as an annotated picture: they are fewer, and seen nowhere else.
    """
    marked = by_kind(data)
    surfaces: list[Rgb] = []
    files = [*photographs, *photographs]
    spread = [one.path for kind in marked for one in _evenly(kind, PER_KIND)]
    for done, file in enumerate([*files, *spread]):
        progress(done, len(files) + len(spread), "reading photographs")
        picture = _shrunk(preprocess.read_rgb8(file, bit_depth=None))
        if float((picture.max(2) < DARK).mean()) <= DARK_SHARE:
            surfaces.append(picture)
    progress(0, 0, "preparing objects and textures")
    cut = cutouts(marked, most=CUTOUTS, seed=seed) if marked else []
    return Mixture(marked, surfaces, Materials.of(surfaces, cut, seed=seed), side)


def _evenly(pictures: Sequence[AnnotatedPicture], most: int) -> list[AnnotatedPicture]:
    count = min(most, len(pictures))
    return [pictures[at] for at in np.linspace(0, len(pictures) - 1, count).astype(int)] if count else []


def _shrunk(picture: Rgb) -> Rgb:
    scale = PHOTOGRAPH_PX / max(picture.shape[:2])
    if scale >= 1:
        return picture
    return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
