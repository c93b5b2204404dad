"""The task "pairs": a picture and groups of points in, a row of values per group out, by two graphs.

The encoder sees the picture once; the decoder answers every group of points in one call. Knows no family.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk import atomic
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadBundle, BadInput
from edge_sdk.golden import OutputCheck
from edge_sdk.npz import npz, read_npz
from edge_sdk.stages import Stages
from edge_sdk.tasks.base import Answers, Given, Headline, Loaded, RunInfo, Running, Setup, Task, settings_of
from edge_sdk.tasks.images import PICTURE, Pictures, Source, picture_tensor, places_of
from edge_sdk.tensors import Array

ENCODER, DECODER = "encoder", "decoder"
POINTS = "points"


class PairsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle keeps in its manifest. values: names of what the decoder says of each group of points."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """What `predict` takes. points: float32 (P, K, 2): P groups of K points, x and y as shares of width and height."""

    picture: Source
    points: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class PairsResult:
    """rows: float32 (P, values), one row per group of points. names: of the values. source: the picture's name."""

    suffix: ClassVar[str] = ".npz"

    rows: NDArray[np.float32]
    names: tuple[str, ...]
    ran: RunInfo
    source: str = ""

    def to_json(self) -> str:
        rows = [dict(zip(self.names, row.tolist(), strict=True)) for row in self.rows]
        return json.dumps({"source": self.source, "rows": rows, "ran": self.ran.to_json()}, ensure_ascii=False)

    def line(self) -> str:
        means = ", ".join(f"{name} {mean:.3f}" for name, mean in zip(self.names, self.rows.mean(0), strict=True))
        return f"{self.source}  {len(self.rows)} groups of points, on average {means}"

    def save(self, path: Path) -> None:
        atomic.write(path, npz({"rows": self.rows}))


class PairsPredictor(Running[Question, PairsResult]):
    """A loaded bundle of the task "pairs". `predict` may be called from any thread."""

    noun: ClassVar[str] = "pairs predictor"

    def __init__(self, loaded: Loaded, settings: PairsSettings) -> None:
        super().__init__(loaded)
        self.names = settings.values
        self._pictures = Pictures(loaded.bundle, color=loaded.color)

    def predict(self, source: Question, /) -> PairsResult:
        """Raises BadInput: no picture, points of another type or shape, more than the bundle was exported for."""
        self.require_open()
        clock = Stages()
        taken = self._pictures.take(source.picture, clock)
        seen = clock("encode", self.run, ENCODER, {"image": taken.prepared.tensor})
        points = _points(source.points)
        rows = clock("decode", self.run, DECODER, {"embedding": seen["embedding"], POINTS: points})["rows"]
        return PairsResult(rows=rows, names=self.names, ran=self.run_info(clock), source=taken.name)

    def explain_task(self) -> Sequence[str]:
        return (f"values     {', '.join(self.names)}",)


def _points(points: object) -> NDArray[np.float32]:
    array = np.asarray(points)
    if array.dtype != np.float32 or array.ndim != 3 or array.shape[2] != 2:
        raise BadInput(f"points are {array.dtype} {array.shape}", hint="Pass float32 (groups, points of a group, 2)")
    return array


class Pairs(Task):
    """Two graphs: picture to embedding, embedding and points to rows."""

    name: ClassVar[str] = "pairs"
    roles: ClassVar[tuple[str, ...]] = (ENCODER, DECODER)
    settings: ClassVar[type[msgspec.Struct]] = PairsSettings
    predictor: ClassVar[type[Running[Any, Any]]] = PairsPredictor

    def check(self, setup: Setup, *, where: str) -> None:
        if setup.preprocessing is None:
            raise BadBundle("a pairs bundle needs preprocessing", where=where, hint="Export it again")
        wanted = {ENCODER: {"image"}, DECODER: {"embedding", POINTS}}
        for role, names in wanted.items():
            if {spec.name for spec in setup.inputs[role]} != names:
                raise BadBundle(f"the {role} does not take {' and '.join(sorted(names))}", where=where)

    def open(self, loaded: Loaded) -> PairsPredictor:
        return PairsPredictor(loaded, settings_of(loaded.bundle, PairsSettings))

    def feeds(self, setup: Setup, source: Mapping[str, Array], role: str, answers: Answers) -> dict[str, Array]:
        if role == ENCODER:
            assert setup.preprocessing is not None  # see `check`
            return {"image": picture_tensor(source, setup.preprocessing)}
        return {"embedding": answers[ENCODER]["embedding"], POINTS: source[POINTS]}

    def source(self, stored: Mapping[str, Array]) -> Question:
        return Question(picture=stored[PICTURE].tobytes(), points=stored[POINTS])

    def given(self, words: Sequence[str], bundle: Bundle) -> list[Given]:
        """.npz files of a picture, uint8 (H, W, 3), and its points."""
        files = [Path(word) for word in words]
        return [
            Given(name=str(file), source=_question(file), place=place)
            for file, place in zip(files, places_of(files), strict=True)
        ]

    def headline(self, bundle: Bundle, checks: Sequence[OutputCheck]) -> Headline:
        worst = max((check.worst for check in checks if check.output == "rows"), default=0.0)
        return Headline(lines=(f"values: off by up to {worst:.2g}",), facts={"worst_value": worst})

    def summary(self, bundle: Bundle) -> list[tuple[str, str]]:
        return [("values", ", ".join(settings_of(bundle, PairsSettings).values))]


def _question(file: Path) -> Question:
    arrays = read_npz(file)
    if missing := {PICTURE, POINTS} - set(arrays):
        raise BadInput(f"there is no array {min(missing)} in it", where=str(file), hint="Write it with numpy.savez")
    return Question(picture=arrays[PICTURE], points=arrays[POINTS])
