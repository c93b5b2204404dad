"""The tensor task: named arrays in, named arrays out, for any graphs. Knows no meaning of an output.

A bundle with preprocessing has one input that takes pictures: it is fed by `preprocess` where a picture is given. A
bundle of several graphs calls each tensor by its role and its name, "encoder/image".
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from edge_sdk import atomic, npz, preprocess
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadBundle, BadInput
from edge_sdk.npz import npz_in
from edge_sdk.preprocess import Geometry
from edge_sdk.shown import shown
from edge_sdk.stages import Stages
from edge_sdk.tasks import images
from edge_sdk.tasks.base import Answers, Given, Loaded, RunInfo, Running, Setup, Task, settings_of
from edge_sdk.tasks.images import picture_inputs, places_of
from edge_sdk.tasks.sources import Source, Sources, arrays_of, check_numbers, full_name, is_arrays, part_of
from edge_sdk.tensors import Array


class TensorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a tensor bundle keeps in its manifest. notes: by input or output, what it is, for people. labels: what the
    classes of its outputs are called, in order; unset where nobody said so."""

    notes: dict[str, str] = {}
    labels: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorResult:
    """The outputs of one call. outputs: arrays by name, as the graph answers them. source: the file's name, or "".

    geometry: of a picture, the way from the network's pixels back to the caller's; None where arrays were given. notes:
    what a person should look at in that picture.
    """

    suffix: ClassVar[str] = npz.SUFFIX

    outputs: Mapping[str, Array]
    ran: RunInfo
    source: str = ""
    geometry: Geometry | None = None
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Array:
        return self.outputs[name]

    def __repr__(self) -> str:
        return f"<TensorResult {self.line()}>"

    def to_json(self) -> str:
        """One JSON object; values in C order, what is no number as "nan", "inf" or "-inf"."""
        outputs = {
            name: {"dtype": str(value.dtype), "shape": list(value.shape), "values": _values(value)}
            for name, value in self.outputs.items()
        }
        out = {"source": self.source, "outputs": outputs, "notes": list(self.notes), "ran": self.ran.to_json()}
        return json.dumps(out, ensure_ascii=False, allow_nan=False)

    def line(self) -> str:
        """Each output with its type, shape and range."""
        words = [shown(self.source), *(_words(name, value) for name, value in self.outputs.items()), *self.notes]
        return "  ".join(words).strip()

    def save(self, path: Path) -> None:
        """The outputs as an .npz file. Raises CantWrite."""
        atomic.write(path, npz.npz(self.outputs))


def _values(value: Array) -> list[Any]:
    return [one if not isinstance(one, float) or math.isfinite(one) else str(one) for one in value.ravel().tolist()]


def _words(name: str, value: Array) -> str:
    shape = " x ".join(str(size) for size in value.shape) or "scalar"
    if not value.size:
        return f"{name} {value.dtype} {shape}"
    if value.size == 1:
        return f"{name} {value.dtype} {value.item():.6g}"
    low, high = (float(edge) for edge in (value.min(), value.max()))
    return f"{name} {value.dtype} {shape}, {low:.6g} to {high:.6g}"


class TensorModel(Running[Source, TensorResult]):
    """A loaded tensor bundle. `predict` may be called from any thread; use it as a context manager, or `close` it.

    inputs, outputs: of all graphs, in a bundle of several called by role and name. takes_pictures: whether `predict`
    takes a picture.
    """

    noun: ClassVar[str] = "tensor model"

    def __init__(self, loaded: Loaded) -> None:
        super().__init__(loaded)
        self._sources = Sources(loaded)
        self.inputs, self.outputs = self._sources.inputs, self._sources.outputs
        self._several = len(loaded.models) > 1

    @property
    def takes_pictures(self) -> bool:
        """Whether `predict` takes a picture: the bundle has preprocessing, and no input beside the picture's."""
        return self._sources.takes_pictures

    def predict(self, source: Source, /) -> TensorResult:
        """One call: arrays by input name, or an .npz file of them; of a bundle with preprocessing also a picture: a
        path, encoded bytes, a PIL picture, or an array uint8 or uint16 (H, W), (H, W, 3), (H, W, 4).

        Types and shapes of named arrays must be the graph's (see `inputs`). Rows of a batch axis "N" run in calls of at
        most the `max_batch` given to `load`. NaN is refused, infinities are not: attention masks hold them. `run`
        passes NaN on, for graphs that read it as a value that is missing. Raises BadInput that names the array or
        picture, BadUsage (closed, another process).
        """
        self.require_open()
        clock = Stages()
        fed = self._sources.take(source, clock)
        outputs = clock("infer", self._answers, fed.feeds)
        return TensorResult(
            outputs=outputs, ran=self.run_info(clock), source=fed.file, geometry=fed.geometry, notes=fed.notes,
        )  # fmt: skip

    def _answers(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs of all roles, each fed with its own part."""
        if not self._several:
            return self.run(next(iter(self._loaded.models)), feeds)
        found: dict[str, Array] = {}
        for role in self._loaded.models:
            answered = self.run(role, part_of(feeds, role, several=True))
            found |= {full_name(role, name, several=True): array for name, array in answered.items()}
        return found


class TensorTask(Task):
    """Graphs of any inputs and outputs; with preprocessing, one input takes pictures."""

    name: ClassVar[str] = "tensor"
    roles: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[type[msgspec.Struct]] = TensorSettings
    predictor: ClassVar[type[Running[Any, Any]]] = TensorModel

    def check(self, setup: Setup, *, where: str) -> None:
        """Any graph will do; preprocessing needs an input that takes what it prepares."""
        record = setup.preprocessing
        if record is not None and (count := len(picture_inputs(setup.inputs, record))) != 1:
            raise BadBundle(
                f"its preprocessing makes uint8 pictures of {record.height} x {record.width} x 3, and "
                f"{count or 'no'} inputs take them", where=where, hint="Export it again",
            )  # fmt: skip

    def open(self, loaded: Loaded) -> Running[Any, Any]:
        return TensorModel(loaded)

    def feeds(self, setup: Setup, source: Mapping[str, Array], role: str, answers: Answers) -> dict[str, Array]:
        if setup.preprocessing is not None and images.is_stored_picture(source):
            return {setup.inputs[role][0].name: images.picture_tensor(source, setup.preprocessing)}
        feeds = part_of(source, role, several=len(setup.inputs) > 1)
        check_numbers(feeds)  # else a golden sample could be packed that `predict` refuses
        return feeds

    def source(self, stored: Mapping[str, Array]) -> Mapping[str, Array] | bytes:
        return stored[images.PICTURE].tobytes() if images.is_stored_picture(stored) else stored

    def workload(self, bundle: Bundle, given: Sequence[Given] = ()) -> list[Any]:
        record = bundle.manifest.preprocessing
        depth = None if record is None else record.bit_depth

        def loaded(source: Any) -> Any:
            """In memory: a camera gives pixels."""
            if record is None or is_arrays(source):
                return arrays_of(source)
            return preprocess.read_rgb8(Path(source), bit_depth=depth)

        if given:
            return [loaded(one.source) for one in given]
        return list(images.ring(bundle)) or [arrays_of(one) for one in super().workload(bundle)]

    def given(self, words: Sequence[str], bundle: Bundle) -> list[Given]:
        """Files of arrays, .npz, and those directly in a folder (`npz_in`). With preprocessing also pictures: files,
        and all below a folder that has no .npz files in it."""
        found: list[Given] = []
        for word in words:
            path = Path(word)
            if not os.path.isdir(path):  # unlike Path.is_dir, of a name that is too long, too
                found.append(Given(name=word, source=path, place=Path()))
                continue
            files = npz_in(path)
            if not files and bundle.manifest.preprocessing is None:
                raise BadInput("there are no .npz files in it", where=shown(path), hint="Write them with numpy.savez")
            pictures = [] if files else images.given_pictures([word])
            found += [Given(name=str(file), source=file, place=Path()) for file in files] + pictures
        places = places_of([one.source for one in found])
        return [replace(one, place=place) for one, place in zip(found, places, strict=True)]

    def left_out(self, words: Sequence[str]) -> list[str]:
        said = []
        for folder in (Path(word) for word in words if os.path.isdir(word)):
            count = len(list(folder.iterdir())) - len(files) if (files := npz_in(folder)) else 0
            said += [f"{shown(folder)}: left out, no .npz files: {count}"] if count else []
            said += [] if files else images.left_out([str(folder)])
        return said

    def summary(self, bundle: Bundle) -> list[tuple[str, str]]:
        if not (labels := settings_of(bundle, TensorSettings).labels):
            return []
        return [("labels", f"{len(labels)}: {', '.join(map(shown, labels[:5]))}{', ...' * (len(labels) > 5)}")]
