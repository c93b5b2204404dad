"""Samples for any graph: a folder of pictures or of .npz files, one .npz file, or random ones. Knows no task."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.generic.picture_folder import PictureFolder, PictureInput
from edge_sdk.export.models.drawn import drawn
from edge_sdk.npz import SUFFIX, npz_in, read_npz
from edge_sdk.shown import shortened, shown, unreadable
from edge_sdk.tensors import BATCH, Array, TensorSpec

RANDOM = "random:"
RANDOM_ONLY = "The samples were random: enough to try the bundle, not to calibrate it. Give real inputs with --data."
FEW = 16
"""Real samples: with fewer, the ranges of int8 hold for them and for little else."""
MAX_DRAWN = 100_000
MAX_DRAWN_BYTES = 2**30
"""Of one random sample, all inputs together; twice that is drawn, since NumPy draws float64."""


class ArraySamples(Protocol):
    """Feeds by input name, as often as asked. digest: of names and values, so that other samples are another run and
    the bundle names what it was calibrated on."""

    @property
    def digest(self) -> str: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[dict[str, Array]]: ...


def is_random(word: str) -> bool:
    """Whether `--data` asks for random samples."""
    return word.startswith(RANDOM)


def is_arrays(word: str) -> bool:
    """Whether `--data` names .npz files: one, or a folder with some directly in it."""
    path = Path(word)
    return bool(npz_in(path)) if os.path.isdir(path) else path.suffix.lower() == SUFFIX


def samples_of(
    word: str, inputs: Sequence[TensorSpec], axes: Mapping[str, int], *, seed: int, picture: PictureInput | None = None
) -> ArraySamples:
    """What `--data` names: a folder of .npz files, one sample each; an .npz file of all samples; a folder of pictures,
    searched with all its subfolders; "random:64".

    axes: the largest size of each free axis. picture: the input that takes pictures, None = none does. Raises BadInput,
    BadUsage; the first sample is looked at before anything else is done.
    """
    if is_random(word):
        count = word.removeprefix(RANDOM)
        # the length first: Python refuses to read more than 4300 digits
        if not count.isdecimal() or len(count) > 6 or not 1 <= int(count) <= MAX_DRAWN:
            raise BadUsage(f"--data {shortened(word)} names no number of samples", hint="Write random:64")
        return _random(int(count), inputs, axes, seed)
    if not word:
        raise BadUsage("--data names nothing", hint="Name a folder of .npz files, one .npz file, or random:64")
    path = Path(word)
    if os.path.isdir(path):  # unlike Path.is_dir, of a name that is too long, too
        return _folder(path, inputs, axes, picture)
    if path.suffix.lower() == SUFFIX:
        return _file(path, inputs, axes, picture)
    raise BadInput(
        "this is no folder and no .npz file", where=f"--data {shortened(word)}",
        hint="Name a folder of .npz files, one .npz file, or random:64",
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSamples:
    """Evenly drawn values by type (see RANGES), the same in every pass. A batch has one row, other free axes have their
    largest size."""

    count: int
    inputs: tuple[TensorSpec, ...]
    axes: Mapping[str, int]
    seed: int

    @property
    def digest(self) -> str:
        drawn = [(spec.name, spec.dtype, self.shapes[spec.name]) for spec in self.inputs]
        return hashlib.sha256(f"random {self.count} {self.seed} {drawn}".encode()).hexdigest()

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for k in range(self.count):
            rng = np.random.default_rng([self.seed, k])
            yield {spec.name: drawn(spec.dtype, self.shapes[spec.name], rng) for spec in self.inputs}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of one sample's arrays, by input name."""
        sizes = {**self.axes, BATCH: 1}
        return {
            spec.name: tuple(sizes[size] if isinstance(size, str) else size for size in spec.shape)
            for spec in self.inputs
        }


def _random(count: int, inputs: Sequence[TensorSpec], axes: Mapping[str, int], seed: int) -> RandomSamples:
    """Random samples. Raises BadUsage where one would fill the memory: --axis takes any size."""
    made = RandomSamples(count=count, inputs=tuple(inputs), axes=dict(axes), seed=seed)
    sizes = {spec.name: math.prod(made.shapes[spec.name]) * np.dtype(spec.dtype).itemsize for spec in inputs}
    if sum(sizes.values()) > MAX_DRAWN_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        free = any(axis != BATCH for spec in inputs for axis in spec.axes)
        raise BadUsage(
            f"one random sample would have {sum(sizes.values()):,} bytes, {sizes[largest]:,} of them in "
            f"{shown(largest)}; at most {MAX_DRAWN_BYTES:,} are drawn",
            hint=f"{'State smaller sizes with --axis, or give' if free else 'Give'} samples of your own with --data",
        )
    return made


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StackedSamples:
    """Samples of one .npz file: along the first axis of each array."""

    arrays: Mapping[str, Array]
    inputs: tuple[TensorSpec, ...]
    count: int
    digest: str

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return map(self.sample, range(self.count))

    def sample(self, number: int) -> dict[str, Array]:
        # A row of a batched input is one sample with its batch axis; of others the stack's axis goes. NumPy gives an
        # entry of a vector as a scalar, which no runtime takes: asarray makes it an array of no axes.
        k = number
        return {
            spec.name: self.arrays[spec.name][k : k + 1] if spec.batched else np.asarray(self.arrays[spec.name][k])
            for spec in self.inputs
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSamples:
    """One sample a file, in the order of their names, each read when its turn comes."""

    files: tuple[Path, ...]
    inputs: tuple[TensorSpec, ...]
    axes: Mapping[str, int] = field(default_factory=dict)
    picture: PictureInput | None = None
    digest: str

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return map(self.sample, range(len(self.files)))

    def sample(self, number: int) -> dict[str, Array]:
        file = self.files[number]
        return _checked(read_npz(file), self.inputs, self.axes, self.picture, where=shown(file))


def _folder(
    path: Path, inputs: Sequence[TensorSpec], axes: Mapping[str, int], picture: PictureInput | None
) -> ArraySamples:
    files = tuple(npz_in(path))
    if not files and picture is not None:
        if others := [spec.name for spec in inputs if spec.name != picture.name]:
            raise BadInput(
                f"pictures feed {shown(picture.name)} alone, the graph also takes {', '.join(map(shown, others))}",
                where=f"--data {shown(path)}", hint=f"Give .npz files of all inputs: {_PREPARED}",
            )  # fmt: skip
        return PictureFolder.of(path, picture)
    if not files:
        # a graph that takes uint8 pictures normalizes by itself, and refuses --mean
        normalizes = any(spec.dtype == "uint8" and len(spec.shape) == 4 and spec.shape[3] == 3 for spec in inputs)
        how = "--resize stretch" if normalizes else "--mean and --std or --preprocessing"
        raise BadInput(
            "there are no .npz files in it", where=f"--data {shown(path)}",
            hint="Write one for each sample, with numpy.savez(path, input_name=array); for pictures state how they are "
            f"prepared, with {how}",
        )  # fmt: skip
    found = FolderSamples(files=files, inputs=tuple(inputs), axes=dict(axes), picture=picture, digest="")
    next(iter(found))  # what is wrong with the first is wrong with most, and is said before all are read
    return replace(found, digest=_digest(files))


def _digest(files: Sequence[Path]) -> str:
    """sha256 over names and contents, a piece at a time."""
    total = hashlib.sha256()
    for file in files:
        content = hashlib.sha256()
        try:
            with file.open("rb") as stream:
                while piece := stream.read(2**20):
                    content.update(piece)
        except OSError as exc:
            raise unreadable(file, exc) from exc
        total.update(f"{file.name}\0{content.hexdigest()}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _file(
    path: Path, inputs: Sequence[TensorSpec], axes: Mapping[str, int], picture: PictureInput | None
) -> StackedSamples:
    where = shown(path)
    arrays = read_npz(path)
    _check_names(arrays, inputs, where=where)
    counts: dict[str, int] = {}
    for spec in inputs:
        array = arrays[spec.name]
        if not spec.batched and not spec.accepts(array):  # one sample, not stacked
            array = arrays[spec.name] = array[None]
        row = array if not array.ndim else array[:1] if spec.batched else array[0] if len(array) else array
        if wrong := spec.accepts(row):
            stacked = "rows" if spec.batched else "stacked along a first axis of their own"
            raise BadInput(f"{wrong}; samples are {stacked}", where=where, hint=_hint(spec, picture))
        _check_axes(spec, row.shape, axes, where=where)
        counts[spec.name] = len(array)
    if len(set(counts.values())) != 1 or not all(counts.values()):
        words = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise BadInput(f"its arrays hold different numbers of samples, or none: {words}", where=where)
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name}\0{array.dtype.str} {array.shape}\n".encode("utf-8", "surrogatepass"))
        total.update(array.data)
    return StackedSamples(
        arrays=arrays, inputs=tuple(inputs), count=next(iter(counts.values())), digest=total.hexdigest()
    )


def _check_names(arrays: Mapping[str, Array], inputs: Sequence[TensorSpec], *, where: str) -> None:
    names = [spec.name for spec in inputs]
    for name in names:
        if name not in arrays:
            raise BadInput(
                f"it holds no array {shown(name)}, only {', '.join(map(shown, arrays)) or 'nothing'}", where=where,
                hint=f"Write numpy.savez(path, {shown(name)}=array)",
            )  # fmt: skip
    if extra := sorted(set(arrays) - set(names)):
        raise BadInput(
            f"the graph has no input {shown(extra[0])}", where=where, hint=f"It takes {', '.join(map(shown, names))}"
        )


_PREPARED = "a picture is there as prepared, uint8 (N, H, W, 3) in RGB"


def _hint(spec: TensorSpec, picture: PictureInput | None) -> str:
    """What to do where the array of an input does not fit."""
    if picture is None or spec.name != picture.name:
        return "Write it with numpy.savez"
    return (
        f"With preprocessing stated, {_PREPARED}: give a folder of pictures, or leave the options of preprocessing out "
        "to feed what the network itself takes"
    )


def _check_axes(spec: TensorSpec, shape: Sequence[int], axes: Mapping[str, int], *, where: str) -> None:
    """Raise BadInput for a sample that is larger than the bundle will take. Rows of a batch run in calls of their own,
    so that there may be any number of them."""
    for axis, size in zip(spec.shape, shape, strict=True):
        if isinstance(axis, str) and axis != BATCH and size > axes.get(axis, size):
            raise BadInput(
                f"{shown(spec.name)} has size {size} on the axis {shown(axis)}, --axis allows {axes[axis]}",
                where=where, hint=f"State --axis {shown(axis)}={size}, or give smaller samples",
            )  # fmt: skip


def _checked(
    arrays: dict[str, Array], inputs: Sequence[TensorSpec], axes: Mapping[str, int], picture: PictureInput | None, *,
    where: str,
) -> dict[str, Array]:  # fmt: skip
    """One sample's arrays, each as its input takes it. Raises BadInput."""
    _check_names(arrays, inputs, where=where)
    for spec in inputs:
        if wrong := spec.accepts(arrays[spec.name]):
            raise BadInput(wrong, where=where, hint=_hint(spec, picture))
        _check_axes(spec, arrays[spec.name].shape, axes, where=where)
    return arrays
