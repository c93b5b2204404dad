"""What exporting the task "pairs" adds: a folder of pictures, random points, golden samples of both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.option import TaskOptions, option
from edge_sdk.export.tasks.base import Checked, ExportTask, Golden, Made, Reading, Sources
from edge_sdk.folders import pictures_in
from edge_sdk.preprocess import apply, decode
from edge_sdk.tasks.images import stored_picture
from edge_sdk_trial.pairs import POINTS

LEAST = 3


@dataclass(frozen=True, kw_only=True)
class PairsExportOptions(TaskOptions):
    """What the command line offers for every family of the task. groups: of points, per picture."""

    data_name: ClassVar[str] = "PICTURES"
    data_help: ClassVar[str] = "Folder of pictures to calibrate with."
    data_needed: ClassVar[bool] = True

    groups: int = option(4, kind="int", least=1, most=16, help="Groups of points per picture to calibrate with.")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairsData:
    """files: pictures. seed, groups: of the points that are drawn for each."""

    files: tuple[Path, ...]
    seed: int
    groups: int

    def points(self, index: int) -> NDArray[np.float32]:
        """float32 (groups, 1 to 4, 2), other ones for each picture."""
        rng = np.random.default_rng((self.seed, index))
        return rng.random((self.groups, 1 + index % 4, 2), np.float32)


class PairsExport(ExportTask):
    """The export part."""

    name: ClassVar[str] = "pairs"
    options: ClassVar[type[TaskOptions]] = PairsExportOptions

    def read(self, path: Path | None, options: PairsExportOptions, how: Reading) -> PairsData:
        if path is None:
            raise BadUsage("the task needs a folder of pictures")
        return PairsData(files=tuple(pictures_in(path, recursive=True)), seed=how.seed, groups=options.groups)

    def check(self, data: PairsData, options: PairsExportOptions) -> Checked:
        if len(data.files) < LEAST:
            raise BadInput(f"{len(data.files)} pictures are too few", hint=f"Give {LEAST} or more")
        return Checked(rows=(("pictures", str(len(data.files))),), facts={"pictures": len(data.files)})

    def sources(self, data: PairsData, trained: Any) -> Sources:
        digests = "".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in data.files)
        return Sources(digest=hashlib.sha256(digests.encode()).hexdigest(), samples=len(data.files))

    def golden(self, made: Made) -> Sequence[Golden]:
        """The first pictures, each with as many points per group as no other has."""
        data: PairsData = made.data
        return [
            Golden(
                source={**stored_picture(file.read_bytes()), POINTS: data.points(index)}, label=f"picture {index}"
            )
            for index, file in enumerate(data.files[:LEAST])
        ]  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPictures:
    """Calibration samples of an encoder."""

    data: PairsData
    record: Any
    count: int

    def __len__(self) -> int:
        return min(self.count, len(self.data.files))

    def __iter__(self) -> Iterator[Mapping[str, NDArray[Any]]]:
        for file in self.data.files[: len(self)]:
            yield {"image": apply(decode(file), self.record).tensor}
