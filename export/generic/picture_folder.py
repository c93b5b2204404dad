"""Samples that are pictures: each file prepared for the graph when its turn comes. Knows no network and no task."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_sdk import encoded, plain_file, preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.counted import counted
from edge_sdk.errors import BadInput
from edge_sdk.export import golden_pictures
from edge_sdk.folders import pictures_in
from edge_sdk.shown import shown
from edge_sdk.tensors import Array

_NAMED = 5
"""Files that one error names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureInput:
    """An input that takes pictures: uint8 (1, height, width, 3), RGB, prepared by `record`."""

    name: str
    record: Preprocessing


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFolder:
    """One sample a picture, in the order of their names; decoded and prepared once in every pass.

    files: below the folder. takes: the graph's only input. digest: of their names and contents.
    """

    files: tuple[Path, ...]
    takes: PictureInput
    digest: str

    @classmethod
    def of(cls, folder: Path, takes: PictureInput) -> PictureFolder:
        """The pictures below `folder`. Raises BadInput: there are none, or some that can't be read, which it names."""
        files = pictures_in(folder, recursive=True)
        found = cls(files=files, takes=takes, digest=_digest(files, folder))
        next(iter(found))  # what is wrong with the first is wrong with most, and is said before all are decoded
        return found

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return map(self.sample, range(len(self.files)))

    def sample(self, number: int) -> dict[str, Array]:
        file = self.files[number]
        decoded = preprocess.decode(file, bit_depth=self.takes.record.bit_depth)
        return {self.takes.name: preprocess.apply(decoded, self.takes.record, where=shown(file)).tensor}

    def source(self, number: int, *, upside_down: bool = False) -> Mapping[str, Array]:
        """One picture as a golden sample's source: encoded, at its own size or shrunk."""
        rgb: NDArray[np.uint8] = preprocess.read_rgb8(self.files[number], bit_depth=self.takes.record.bit_depth)
        return golden_pictures.sample("", np.ascontiguousarray(rgb[::-1]) if upside_down else rgb).source


def _digest(files: tuple[Path, ...], folder: Path) -> str:
    """sha256 over names and contents. Raises BadInput that names what can't be a picture, by its header alone: decoding
    all of them is left to the passes."""
    total, bad = hashlib.sha256(), list[str]()
    for file in files:
        try:
            data = plain_file.read(file, what="a picture")
            encoded.size(data, where=shown(file))
            encoded.check_form(data, where=shown(file))
        except BadInput as exc:
            bad.append(f"{exc.where}: {exc.args[0]}")
            continue
        name = str(file.relative_to(folder))
        total.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\n".encode("utf-8", "surrogateescape"))
    if bad:
        more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise BadInput(
            f"{len(bad)} of {counted(len(files), 'picture')} can't be read: {'; '.join(bad[:_NAMED])}{more}",
            where=f"--data {shown(folder)}", hint="Take them away, or copy them again",
        )  # fmt: skip
    return total.hexdigest()
