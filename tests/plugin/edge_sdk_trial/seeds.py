"""The task "seeds": numbers in, pictures out, by one graph that is fed noise. Knows no picture file and no family."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk import atomic
from edge_sdk.bundle.store import Bundle
from edge_sdk.decision.record import Record
from edge_sdk.errors import BadBundle, BadInput
from edge_sdk.stages import Stages
from edge_sdk.tasks.base import MODEL, Answers, Given, Loaded, RunInfo, Running, Setup, Task, settings_of
from edge_sdk.tensors import Array


class SeedsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle keeps in its manifest. noise: shape of what one seed becomes."""

    noise: tuple[int, ...]


class Reviewed(Record, frozen=True, kw_only=True, tag="reviewed-seeds"):
    """The site record: seeds whose pictures somebody has looked at, both ends included; no other one is drawn."""

    least: int
    most: int

    def problem(self) -> str:
        return "" if 0 <= self.least <= self.most else f"seeds from {self.least} to {self.most} can't be"

    def summary(self) -> str:
        return f"seeds {self.least} to {self.most}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """picture: uint8 (H, W, 3), RGB."""

    suffix: ClassVar[str] = ".png"

    seed: int
    picture: NDArray[np.uint8]
    ran: RunInfo

    def to_json(self) -> str:
        height, width = self.picture.shape[:2]
        return json.dumps({"seed": self.seed, "width": width, "height": height, "ran": self.ran.to_json()})

    def line(self) -> str:
        height, width = self.picture.shape[:2]
        return f"seed {self.seed}  {width} x {height} px, mean level {self.picture.mean():.1f}"

    def save(self, path: Path) -> None:
        atomic.write(path, cv2.imencode(".png", self.picture[..., ::-1])[1].tobytes())


class Artist(Running[int, Drawn]):
    """A loaded bundle of the task "seeds". `predict` may be called from any thread."""

    noun: ClassVar[str] = "artist"

    def __init__(self, loaded: Loaded, settings: SeedsSettings) -> None:
        self.reviewed = loaded.bundle.in_force(Reviewed)
        super().__init__(loaded, record=self.reviewed.digest if self.reviewed else "")
        self._shape = settings.noise

    def predict(self, source: int, /) -> Drawn:
        """Raises BadInput for a seed that nobody has reviewed."""
        self.require_open()
        clock = Stages()
        seed = _seed(source)
        if self.reviewed is not None and not self.reviewed.least <= seed <= self.reviewed.most:
            raise BadInput(f"nobody has reviewed seed {seed}", hint=f"Take one of {self.reviewed.summary()}")
        noise = clock("noise", noise_of, [seed], self._shape)
        level = clock("draw", self.run, MODEL, {"noise": noise})["level"]
        pixels = np.rint((level[0].transpose(1, 2, 0) + 1) * 127.5)
        return Drawn(seed=seed, picture=np.clip(pixels, 0, 255).astype(np.uint8), ran=self.run_info(clock))

    def explain_task(self) -> Sequence[str]:
        return (f"record     {self.reviewed.summary() if self.reviewed else 'none, every seed is drawn'}",)


def _seed(given: object) -> int:
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool) and 0 <= given < 2**63:
        return int(given)
    raise BadInput(f"{given!r} is no seed", hint="Pass a whole number from 0 on")


def noise_of(seeds: Sequence[int], shape: Sequence[int]) -> NDArray[np.float32]:
    """float32 (seeds, *shape), near to normal. Whole numbers from a fixed bit stream, added and scaled: exactly the
    same on every machine and numpy, which what goes through a logarithm or a cosine is not."""
    rows = []
    for seed in seeds:
        bits = np.random.Philox(key=seed).random_raw(3 * int(np.prod(shape)))
        whole = bits.view(np.uint16).reshape(-1, 12).astype(np.int64).sum(axis=1) - 6 * 65_535
        rows.append((whole / 65_536).astype(np.float32).reshape(shape))
    return np.stack(rows)


class Seeds(Task):
    """One graph: float32 "noise" (N, ...) in, float32 "level" (N, 3, H, W) from -1 to 1 out."""

    name: ClassVar[str] = "seeds"
    settings: ClassVar[type[msgspec.Struct]] = SeedsSettings
    predictor: ClassVar[type[Running[Any, Any]]] = Artist
    records: ClassVar[tuple[type[Record], ...]] = (Reviewed,)

    def check(self, setup: Setup, *, where: str) -> None:
        found = [(spec.name, spec.shape[1:]) for spec in setup.inputs[MODEL]]
        if found != [("noise", tuple(setup.settings.noise))]:
            raise BadBundle(f"the graph does not take noise of shape {setup.settings.noise}", where=where)

    def open(self, loaded: Loaded) -> Artist:
        return Artist(loaded, settings_of(loaded.bundle, SeedsSettings))

    def feeds(self, setup: Setup, source: Mapping[str, Array], role: str, answers: Answers) -> dict[str, Array]:
        return {"noise": noise_of([int(source["seed"])], setup.settings.noise)}

    def source(self, stored: Mapping[str, Array]) -> int:
        return int(stored["seed"])

    def given(self, words: Sequence[str], bundle: Bundle) -> list[Given]:
        """Seeds, and ranges of them: 7, 10-19."""
        return [
            Given(name=str(seed), source=seed, place=Path(f"seed-{seed}"))
            for word in words for seed in _range(word)
        ]  # fmt: skip

    def summary(self, bundle: Bundle) -> list[tuple[str, str]]:
        return [("noise", " x ".join(map(str, settings_of(bundle, SeedsSettings).noise)))]


def _range(word: str) -> range:
    first, _, last = word.partition("-")
    if not (first.isdigit() and (last or first).isdigit()):
        raise BadInput(f"{word!r} is no seed", hint="Write seeds as 7 or 10-19")
    return range(int(first), int(last or first) + 1)
