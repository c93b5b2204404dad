"""Pictures that a generator learns to draw like: a folder or a ZIP file, classes by subfolder. Knows no network."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edge_sdk import encoded, folders, plain_file, preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.counted import counted
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.tasks.generation.eyes import CLASSIFIER, Eyes
from edge_sdk.preprocess import to_rgb8
from edge_sdk.progress import Progress, silent
from edge_sdk.shown import shown

FEW = 50
"""Fewer pictures than that are learned by heart."""
MOST_BYTES = 2**32
"""Of all pictures, decoded: they are kept in memory."""
MOST_OF_ONE = 64 * 2**20
"""Bytes of one file in a ZIP file."""
LEAST_SPREAD = 1e-3
"""Of pictures in [-1, 1]: less is one colour."""


_CHOSEN = Eyes()


@dataclass(frozen=True, kw_only=True, eq=False)  # no slots: `digest` is kept
class GenerationData:
    """pictures: uint8 (N, side, side, C), C 1 where all are grey, else 3. labels: (N,), None = there are no classes.
    names: of the classes, in order. left_out: a line for whatever was not taken. eyes: what they are compared by."""

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    names: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    eyes: Eyes = _CHOSEN

    @property
    def side(self) -> int:
        """px."""
        return int(self.pictures.shape[1])

    @property
    def channels(self) -> int:
        return int(self.pictures.shape[3])

    @property
    def spread(self) -> float:
        """Standard deviation of the pictures in [-1, 1]."""
        return float(self.pictures.std(dtype=np.float64)) / 127.5

    @property
    def shares(self) -> NDArray[np.float64]:
        """Of the classes among the pictures, 0 to 1; (0,) where there are none."""
        if self.labels is None:
            return np.zeros(0)
        return np.bincount(self.labels, minlength=len(self.names)) / len(self.labels)

    @cached_property
    def digest(self) -> str:
        """sha256 of pixels, labels, names, and eyes that were stated, wherever they come from."""
        total = hashlib.sha256("\0".join(self.names).encode("utf-8", "surrogateescape"))
        total.update(repr(self.pictures.shape).encode())
        total.update(np.ascontiguousarray(self.pictures).tobytes())
        if self.labels is not None:
            total.update(self.labels.tobytes())
        if self.eyes.name:
            total.update(self.eyes.digest.encode())
        return total.hexdigest()


@dataclass(frozen=True, slots=True)
class _File:
    """One encoded picture. label: the subfolder, "" = none."""

    name: str
    label: str
    data: bytes


def read(path: Path, *, size: int | None, progress: Progress = silent) -> GenerationData:
    """All pictures of a folder or ZIP file, decoded once. size: of their side, None = their own.

    Raises BadInput: no pictures, one, all of them equal or of one colour, several sizes without `size`, pictures both
    in and beside subfolders; BadUsage: they need more than 4 GB.
    """
    total, files = _files(path)
    pixels: list[NDArray[np.uint8]] = []
    labels, left_out, grey = list[str](), list[str](), True
    for number, file in enumerate(files):
        progress(number, total, "reading pictures")
        try:
            rgb = to_rgb8(preprocess.decode(file.data, where=file.name), bit_depth=None, where=file.name)
        except BadInput as exc:
            left_out.append(f"{shown(file.name)}: {exc.args[0]}")
            continue
        side = size or _side_of(rgb, pixels, file.name)
        grey = grey and bool((rgb[..., :1] == rgb).all())
        pixels.append(_scaled(rgb, side))
        labels.append(file.label)
        if len(pixels) * side * side * 3 > MOST_BYTES:
            raise BadUsage(
                f"more than {len(pixels)} pictures of {side} px don't fit into memory", where=shown(path),
                hint="Take fewer, or a smaller --size",
            )  # fmt: skip
    _check(pixels, left_out, where=shown(path))
    array = np.stack(pixels)
    names = tuple(sorted(set(labels)))
    if names == ("",):
        names = ()
    elif "" in names:
        raise BadInput(
            "some pictures lie in subfolders, which are classes, and some beside them", where=shown(path),
            hint="Move all of them into subfolders, or none",
        )  # fmt: skip
    numbers = np.array([names.index(label) for label in labels], np.int64) if names else None
    return GenerationData(
        pictures=np.ascontiguousarray(array[..., :1]) if grey else array, labels=numbers, names=names,
        left_out=tuple(left_out),
    )  # fmt: skip


def with_eyes(data: GenerationData, seen_by: Eyes) -> GenerationData:
    """The same pictures, compared by what is named. Raises BadUsage for a classifier where there are no classes."""
    if seen_by.name == CLASSIFIER and len(data.names) < 2:
        raise BadUsage(
            "a classifier needs classes, and these pictures have none", where="--features classifier",
            hint="Sort them into subfolders, or write --features trunk",
        )  # fmt: skip
    return replace(data, eyes=seen_by)


def _check(pixels: Sequence[NDArray[np.uint8]], left_out: Sequence[str], *, where: str) -> None:
    if len(pixels) < 2:
        bad = f"; {counted(len(left_out), 'file')} can't be read: {left_out[0]}" if left_out else ""
        raise BadInput(
            f"{counted(len(pixels), 'picture')} can't teach anything{bad}", where=where,
            hint=f"Give some hundred, at least {FEW}",
        )  # fmt: skip
    if all(np.array_equal(pixels[0], one) for one in pixels[1:]):
        raise BadInput(
            f"all {len(pixels)} pictures are equal",
            where=where,
            hint="Give pictures that differ: there is nothing to draw",
        )
    if float(np.stack(pixels[:1000]).std()) / 127.5 < LEAST_SPREAD:
        raise BadInput("the pictures hardly differ from one colour", where=where, hint="Check how they were made")


def _side_of(rgb: NDArray[np.uint8], before: Sequence[NDArray[np.uint8]], name: str) -> int:
    """The side of square pictures that all have one size. Raises BadInput."""
    height, width = rgb.shape[:2]
    side = int(before[0].shape[0]) if before else height
    if (height, width) != (side, side):
        what = "is not square" if height != width else f"is not {side} x {side} px as those before it"
        raise BadInput(
            f"a picture of {width} x {height} px {what}",
            where=shown(name), hint=f"Say to which side pictures are scaled: --size {min(max(4, side), 64)}",
        )  # fmt: skip
    return side


def _scaled(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if rgb.shape[:2] == (side, side):
        return np.ascontiguousarray(rgb)
    record = Preprocessing(width=side, height=side, mode="stretch")
    return np.asarray(preprocess.apply(rgb, record).tensor[0])


def _files(path: Path) -> tuple[int, Iterator[_File]]:
    """How many there are, and each in turn."""
    if path.suffix.lower() == ".zip":
        return _zipped(path)
    found = folders.pictures_in(path, recursive=True)

    def each() -> Iterator[_File]:
        for file in found:
            below = file.relative_to(path).parts
            label = below[0] if len(below) > 1 else ""
            yield _File(str(file), label, plain_file.read(file, what="a picture"))

    return len(found), each()


def _zipped(path: Path) -> tuple[int, Iterator[_File]]:
    if not path.is_file():
        raise BadInput("the file does not exist", where=shown(path), hint="Check the path")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as exc:
        raise BadInput(f"this is no ZIP file: {exc}", where=shown(path), hint="Copy it again") from exc
    members = [
        one for one in sorted(archive.infolist(), key=lambda one: one.filename)
        if not one.is_dir() and PurePosixPath(one.filename).suffix.lower() in encoded.SUFFIXES
    ]  # fmt: skip
    if large := [one.filename for one in members if one.file_size > MOST_OF_ONE]:
        raise BadInput(
            f"{shown(large[0])} in it has more than {MOST_OF_ONE >> 20} MB", where=shown(path), hint="Take it out"
        )
    if not members:
        raise BadInput("there are no pictures in it", where=shown(path), hint=f"Pictures are {encoded.KINDS} files")

    def each() -> Iterator[_File]:
        # Where all lie in one folder, that folder is no class.
        top = {PurePosixPath(one.filename).parts[0] for one in members}
        skip = 1 if len(top) == 1 and all(len(PurePosixPath(one.filename).parts) > 2 for one in members) else 0
        with archive:
            for one in members:
                parts = PurePosixPath(one.filename).parts[skip:]
                try:
                    data = archive.read(one)
                except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as exc:
                    raise BadInput(f"{shown(one.filename)} in it can't be read: {exc}", where=shown(path)) from exc
                yield _File(one.filename, parts[0] if len(parts) > 1 else "", data)

    return len(members), each()
