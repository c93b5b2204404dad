"""Turns what a caller gives, named arrays or a picture, into feeds; shared by tasks that take either. Knows no answer.

A bundle with preprocessing has one input that takes pictures. A bundle of several graphs calls each tensor by its role
and its name, "encoder/image".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np

from edge_sdk import npz
from edge_sdk.errors import BadInput
from edge_sdk.npz import Check, any_array, read_npz
from edge_sdk.preprocess import Geometry
from edge_sdk.runtimes.feeds import check_shape, kind_of
from edge_sdk.shown import shown
from edge_sdk.stages import Stages
from edge_sdk.tasks.base import Loaded
from edge_sdk.tasks.images import Pictures, Taken, picture_inputs
from edge_sdk.tensors import BATCH, Array, TensorSpec

Source: TypeAlias = Any
"""Arrays by input name, or an .npz file of them; of a bundle with preprocessing also a picture (`images.Source`)."""


def full_name(role: str, name: str, *, several: bool) -> str:
    """What a caller calls a tensor of one role. several: whether the bundle has more roles than this one."""
    return f"{role}/{name}" if several else name


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fed:
    """One source on its way. feeds: by the caller's names. file: of the source, "" if it came from none.

    taken: what is known of a picture, None where arrays were given.
    """

    feeds: dict[str, Array]
    file: str = ""
    taken: Taken | None = None

    @property
    def geometry(self) -> Geometry | None:
        """Of a picture, the way back to the caller's pixels."""
        return None if self.taken is None else self.taken.prepared.geometry

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should look at in that picture."""
        return () if self.taken is None else self.taken.notes


class Sources:
    """Takes sources as the graphs of one loaded bundle take them. inputs, outputs: of all graphs, by callers' names.

    picture: name of the input that pictures feed, "" = there is none.
    """

    def __init__(self, loaded: Loaded) -> None:
        sessions = {role: model.session for role, model in loaded.models.items()}
        self._several = len(sessions) > 1
        self.inputs = tuple(spec for role, one in sessions.items() for spec in self._called(role, one.inputs))
        self.outputs = tuple(spec for role, one in sessions.items() for spec in self._called(role, one.outputs))
        self._most = {
            full_name(role, spec.name, several=self._several): {
                name: most for name, most in model.graph.axes.items() if name != BATCH
            }
            for role, model in loaded.models.items()
            for spec in model.session.inputs
        }
        self.picture, self._pictures = "", None
        if (record := loaded.bundle.manifest.preprocessing) is not None:
            ((role, spec),) = picture_inputs({role: one.inputs for role, one in sessions.items()}, record)
            self.picture = full_name(role, spec.name, several=self._several)
            self._pictures = Pictures(loaded.bundle, color=loaded.color)

    @property
    def bit_depth(self) -> int | None:
        """By which 16-bit values of pictures are read."""
        return None if self._pictures is None else self._pictures.record.bit_depth

    def _called(self, role: str, specs: Sequence[TensorSpec]) -> list[TensorSpec]:
        return [
            msgspec.structs.replace(spec, name=full_name(role, spec.name, several=self._several)) for spec in specs
        ]  # fmt: skip

    @property
    def takes_pictures(self) -> bool:
        """Whether a picture alone is a source: the bundle has preprocessing, and no input beside the picture's."""
        return self._pictures is not None and len(self.inputs) == 1

    def take(self, source: Source, clock: Stages) -> Fed:
        """The feeds of one source. Raises BadInput that names the array or picture."""
        if self._pictures is None or is_arrays(source):
            file = str(source) if isinstance(source, (str, Path)) else ""
            return Fed(feeds=clock("read", self._arrays, source), file=file)
        if not self.takes_pictures:
            others = ", ".join(shown(spec.name) for spec in self.inputs if spec.name != self.picture)
            raise BadInput(
                f"a picture alone is not enough: the bundle also takes {others}",
                hint=f"Pass a dict of arrays by input name; {shown(self.picture)} is a prepared picture",
            )  # fmt: skip
        taken = self._pictures.take(source, clock)
        return Fed(
            feeds={self.picture: taken.prepared.tensor}, file="" if taken.file is None else taken.name, taken=taken
        )

    def _arrays(self, source: Source) -> dict[str, Array]:
        feeds = arrays_of(source, self._check)
        if self._several:  # of one graph its session names what is strange
            for name in feeds:
                self._spec(name, "")
        check_numbers(feeds)
        return feeds

    def _spec(self, name: str, where: str) -> TensorSpec:
        spec = next((spec for spec in self.inputs if spec.name == name), None)
        if spec is None:
            listed = f"It takes {', '.join(shown(spec.name) for spec in self.inputs)}"
            raise BadInput(f"the graph has no input {shown(name)}", where=where, hint=listed)
        return spec

    def _check(self, name: str, dtype: str, shape: tuple[int, ...], where: str) -> None:
        """Refuse an array of a file before it is unpacked. Any number of rows: they run in calls of their own."""
        check_shape(self._spec(name, where), dtype, shape, most=self._most[name], where=where)


def part_of(arrays: Mapping[str, Array], role: str, *, several: bool) -> dict[str, Array]:
    """The arrays of one role, by the names of its graph."""
    if not several:
        return dict(arrays)
    start = full_name(role, "", several=True)
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def is_arrays(source: Source) -> bool:
    """Whether a source names arrays and is no picture."""
    if isinstance(source, (str, Path)):
        return Path(source).suffix.lower() == npz.SUFFIX
    return isinstance(source, Mapping)


def arrays_of(source: Source, check: Check = any_array) -> dict[str, Array]:
    """The arrays of a mapping or an .npz file. check: as of `read_npz`. Raises BadInput."""
    if isinstance(source, Mapping):
        return {str(name): _array(str(name), value) for name, value in source.items()}
    if isinstance(source, (str, Path)):
        return read_npz(Path(source), check)
    what = f"an object of type {type(source).__name__} holds no named arrays"
    raise BadInput(what, hint="Pass a dict of arrays by input name, or the path of an .npz file")


def _array(name: str, value: Any) -> Array:
    try:
        array = np.asarray(value)
    except Exception as exc:  # rows of different lengths, or another package's array, which may raise anything
        raise BadInput(f"{shown(name)} is no array: {exc}", hint="Feed a NumPy array of one shape") from exc
    if array.dtype == object:  # what NumPy makes of anything that it does not know
        raise BadInput(f"{shown(name)} is {kind_of(value)}, not an array of numbers", hint="Feed a NumPy array")
    return array


def check_numbers(feeds: Mapping[str, Array]) -> None:
    """Raise BadInput for NaN in a float array. Runtimes disagree about it: ONNX Runtime answers NaN, OpenVINO may
    answer a plausible number. The check costs one pass over the float inputs."""
    for name, array in feeds.items():
        if array.dtype.kind != "f" or not (nan := np.isnan(array)).any():
            continue
        at = [int(index) for index in np.unravel_index(int(nan.argmax()), array.shape)]
        where = f"holds NaN at {at}" if at else "is NaN"
        raise BadInput(f"{shown(name)} {where}", hint="Replace values that are missing, as in the training data")
