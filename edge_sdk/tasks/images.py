"""Turns a caller's picture into a prepared tensor; shared by all tasks that take pictures. Knows no answer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_sdk import folders, preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadBundle, BadInput
from edge_sdk.folders import pictures_in
from edge_sdk.preprocess import Color, Prepared
from edge_sdk.shown import shown
from edge_sdk.stages import Stages
from edge_sdk.tasks.base import Given, several
from edge_sdk.tensors import BATCH, Array, TensorSpec

Source: TypeAlias = Any
"""A path, encoded bytes, a PIL picture, or an array uint8 or uint16 (H, W), (H, W, 3), (H, W, 4)."""

SMALL = 0.25
"""A picture smaller than this share of the network's input gets a note: most of that input is interpolated."""
PICTURE = "picture"
"""Name of a golden sample's source: the bytes of an encoded picture."""
RING = 8
"""Number of different pictures that a profile uses in turn: a single picture stays in caches and looks too fast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One picture on its way. name: for errors and results. file: where it came from, None for pixels and bytes.

    one_colour: every pixel has the same value. notes: what a person should look at.
    """

    name: str
    file: Path | None
    prepared: Prepared
    one_colour: bool
    notes: tuple[str, ...]


class Pictures:
    """Takes pictures as one bundle's preprocessing says. color: the order of arrays that are given."""

    def __init__(self, bundle: Bundle, *, color: Color) -> None:
        self.record, self._color = record_of(bundle), color
        tones = {preprocess.is_grey(tensor) for tensor in _golden_inputs(bundle)}
        self._golden_grey = tones.pop() if len(tones) == 1 else None  # None: both, or nothing to tell it from

    def take(self, image: Source, clock: Stages) -> Taken:
        """The caller's picture, decoded and prepared. Raises BadInput."""
        pixels, color, name, file = self._read(image, clock)
        prepared = clock("resize", preprocess.apply, pixels, self.record, color=color, where=name)
        return Taken(
            name=name, file=file, prepared=prepared, one_colour=prepared.is_one_colour,
            notes=self._unusual(pixels, prepared),
        )  # fmt: skip

    def rgb8(self, image: Source) -> NDArray[np.uint8]:
        """The caller's picture at its own size, uint8 (H, W, 3) RGB, for tasks that look at parts of it. Raises as
        `take`."""
        pixels, color, name, _ = self._read(image, Stages())
        return preprocess.to_rgb8(pixels, bit_depth=self.record.bit_depth, color=color, where=name)

    def _read(self, image: Source, clock: Stages) -> tuple[NDArray[Any], Color, str, Path | None]:
        return _read(image, clock, color=self._color, bit_depth=self.record.bit_depth)

    def _unusual(self, pixels: NDArray[Any], prepared: Prepared) -> tuple[str, ...]:
        """Notes on a picture for the user."""
        geometry, record = prepared.geometry, self.record
        notes = []
        if min(geometry.width / record.width, geometry.height / record.height) < SMALL:
            notes.append(
                f"the picture has {geometry.width} x {geometry.height} px, the network's input {record.width} x "
                f"{record.height}: is it a thumbnail, or cropped?"
            )
        if self._golden_grey is not None and (grey := preprocess.is_grey(prepared.tensor)) != self._golden_grey:
            here, there = ("grey", "in colour") if grey else ("in colour", "grey")
            notes.append(f"the picture is {here}, the bundle's golden samples are {there}: the result may be wrong")
        depth = record.bit_depth
        if pixels.dtype == np.uint16 and depth and (top := int(pixels.max())).bit_length() < depth - 1:
            notes.append(
                f"no value is above {top}, and they are read as {depth} bits: check the bit depth of the camera"
            )
        return tuple(notes)


def rgb8(image: Source, *, bit_depth: int | None) -> NDArray[np.uint8]:
    """A picture at its own size, uint8 (H, W, 3) RGB, read as a bundle of this bit depth reads it; arrays are RGB or
    grey. Raises BadInput."""
    pixels, _, name, _ = _read(image, Stages(), color="rgb", bit_depth=bit_depth)
    return preprocess.to_rgb8(pixels, bit_depth=bit_depth, where=name)


def _read(
    image: Source, clock: Stages, *, color: Color, bit_depth: int | None
) -> tuple[NDArray[Any], Color, str, Path | None]:
    """Pixels, the order of their channels, the picture's name and its file. color: the order of arrays."""
    file, name, pixels = None, "picture", image
    if isinstance(image, (str, Path)):
        file, name = Path(image), str(image)
        color, pixels = "rgb", clock("decode", preprocess.decode, file, bit_depth=bit_depth)
    elif isinstance(image, bytes):
        name, color, pixels = "bytes", "rgb", clock("decode", preprocess.decode, image, bit_depth=bit_depth)
    elif hasattr(image, "mode") and hasattr(image, "convert"):  # a PIL picture has its own colour mode
        color, pixels = "rgb", preprocess.of_pil(image, where=name)
    elif not hasattr(image, "__array__"):
        raise _no_picture(image)
    return np.asarray(pixels), color, name, file


def record_of(bundle: Bundle) -> Preprocessing:
    """The preprocessing of a bundle. Raises BadBundle if it has none."""
    if bundle.manifest.preprocessing is None:
        raise BadBundle(
            f"a bundle for {bundle.manifest.task} needs preprocessing", where=str(bundle.path), hint="Export it again"
        )
    return bundle.manifest.preprocessing


def picture_inputs(inputs: Mapping[str, Sequence[TensorSpec]], record: Preprocessing) -> list[tuple[str, TensorSpec]]:
    """(role, input) of what `record` prepares a picture for: uint8 (1 or N, height, width, 3). inputs: by role."""
    sizes = (record.height, record.width, 3)
    return [
        (role, spec) for role, specs in inputs.items() for spec in specs
        if spec.dtype == "uint8" and spec.shape[:1] in ((1,), (BATCH,)) and spec.shape[1:] == sizes
    ]  # fmt: skip


def _golden_inputs(bundle: Bundle) -> Iterable[NDArray[np.uint8]]:
    """The network inputs of the golden pictures: uint8 NHWC feeds of the first role that has any."""
    for sample in bundle.manifest.golden:
        for feeds in sample.feeds.values():
            for stored in feeds.values():
                if stored.dtype == "uint8" and len(stored.shape) == 4 and stored.shape[3] == 3:
                    yield bundle.array(stored)


def picture_tensor(stored: Mapping[str, Array], record: Preprocessing) -> NDArray[np.uint8]:
    """The network inputs that a golden sample's encoded picture becomes here, uint8 (inputs, h, w, 3)."""
    decoded = preprocess.decode(stored[PICTURE].tobytes(), where="golden picture")
    return preprocess.apply(decoded, record).tensor


def is_stored_picture(stored: Mapping[str, Array]) -> bool:
    """Whether a golden sample's source is what `stored_picture` makes: a PNG and nothing else."""
    array = stored.get(PICTURE)
    return len(stored) == 1 and array is not None and array.dtype == np.uint8 and array[:8].tobytes() == _PNG


_PNG = b"\x89PNG\r\n\x1a\n"


def stored_picture(png: bytes) -> dict[str, Array]:
    """An encoded picture as a golden sample's source."""
    return {PICTURE: np.frombuffer(png, np.uint8)}


def batch_of(images: Iterable[Source]) -> list[Source]:
    """The pictures of a `predict_batch`. Raises BadInput where one picture was given, or something that is none."""
    if isinstance(images, np.ndarray) and images.ndim < 4:
        raise BadInput("predict_batch takes several sources, got one", hint="Use predict, or pass a list")
    return list(several(images))


def ring(bundle: Bundle, *, seed: int = 0) -> list[NDArray[np.uint8]]:
    """RING pictures made of the bundle's golden ones: turned upside down and brightened, all of them different."""
    rng = np.random.default_rng(seed)
    sources = [sample.source[PICTURE] for sample in bundle.manifest.golden if PICTURE in sample.source]
    golden = [preprocess.decode(bundle.array(stored).tobytes()) for stored in sources]
    out = []
    for i in range(RING if golden else 0):
        base = np.asarray(golden[i % len(golden)], np.uint8)
        turned = base[:: 1 if i < RING // 2 else -1]
        out.append(np.clip(turned.astype(np.int16) + int(rng.integers(-12, 13)), 0, 255).astype(np.uint8))
    return out


def given_pictures(words: Sequence[str]) -> list[Given]:
    """The pictures that words name: files, and folders with everything below them. Raises BadInput."""
    files: list[Path] = []
    for word in words:
        path = Path(word)
        # os.path.isdir: unlike Path.is_dir, of a name that is too long, too
        files += pictures_in(path, recursive=True) if os.path.isdir(path) else [path]
    return [Given(name=str(file), source=file, place=place) for file, place in zip(files, places_of(files))]


def left_out(words: Sequence[str]) -> list[str]:
    """What `given_pictures` does not take of the folders among `words`: `Task.left_out` of a picture task."""
    found = {word: folders.left_out(Path(word), recursive=True) for word in words if os.path.isdir(word)}
    return [f"{shown(word)}: {what}" for word, what in found.items() if what]


def places_of(files: Sequence[Path]) -> list[Path]:
    """Where what belongs to each file goes below an output folder, without a suffix: in the folders that the files have
    below the one that all of them share, and never two in one place."""
    whole = [Path(os.path.realpath(file)) for file in files]  # resolve() raises for a link to itself
    shared: Path | None = None
    with suppress(ValueError):  # on two drives
        shared = Path(os.path.commonpath([file.parent for file in whole]))
    places: dict[Path, None] = {}
    for file in whole:
        below = file.relative_to(shared or file.anchor)
        place, number = below.with_suffix(""), 2
        while place in places:  # part.png and part.jpg, or one picture named twice
            place, number = below.with_name(f"{below.stem}_{number}"), number + 1
        places[place] = None
    return list(places)


def _no_picture(given: object) -> BadInput:
    accepted = "Pass a path, encoded bytes, a PIL picture or a numpy array"
    if given is None:
        return BadInput("None is not a picture: the file or camera returned nothing", hint=accepted)
    if isinstance(given, (list, tuple)):
        return BadInput(
            f"this is a {type(given).__name__} of {len(given)}, predict takes one picture",
            hint=f"Use predict_batch for several. {accepted}",
        )
    return BadInput(f"an object of type {type(given).__name__} is not a picture", hint=accepted)
