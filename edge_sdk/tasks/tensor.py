"""The tensor task: named arrays in, named arrays out, for any graph. Knows no picture and no meaning."""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import msgspec
import numpy as np

from edge_sdk import atomic, plain_file
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadInput, EdgeError
from edge_sdk.runtimes.feeds import check_shape, kind_of
from edge_sdk.shown import shown, unreadable
from edge_sdk.stages import Stages
from edge_sdk.tasks.base import MODEL, Answers, Given, Loaded, RunInfo, Running, Setup, Task
from edge_sdk.tasks.images import places_of
from edge_sdk.tensors import BATCH, Array

Source: TypeAlias = Any
"""Arrays by input name, or an .npz file of them."""

MAX_NPZ_BYTES = 2**31
"""Of all arrays of one file, unpacked: an archive can claim any size, memory can't."""


class TensorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a tensor bundle keeps in its manifest. notes: by input or output, what it is, for people."""

    notes: dict[str, str] = {}


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorResult:
    """The outputs of one call. outputs: arrays by name, as the graph answers them. source: the file's name, or ""."""

    suffix: ClassVar[str] = ".npz"

    outputs: Mapping[str, Array]
    ran: RunInfo
    source: str = ""

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
        out = {"source": self.source, "outputs": outputs, "ran": self.ran.to_json()}
        return json.dumps(out, ensure_ascii=False, allow_nan=False)

    def line(self) -> str:
        """Each output with its type, shape and range."""
        return "  ".join([shown(self.source), *(_words(name, value) for name, value in self.outputs.items())]).strip()

    def save(self, path: Path) -> None:
        """The outputs as an .npz file. Raises CantWrite."""
        atomic.write(path, npz(self.outputs))


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
    """A loaded tensor bundle. `predict` may be called from any thread; use it as a context manager, or `close` it."""

    noun: ClassVar[str] = "tensor model"

    def __init__(self, loaded: Loaded) -> None:
        super().__init__(loaded)
        self.inputs = loaded.models[MODEL].session.inputs
        self.outputs = loaded.models[MODEL].session.outputs
        self._most = {name: most for name, most in loaded.models[MODEL].graph.axes.items() if name != BATCH}

    def predict(self, source: Source, /) -> TensorResult:
        """One call: arrays by input name, or an .npz file of them.

        Types and shapes must be the graph's (see `inputs`). Rows of a batch axis "N" run in calls of at most the
        `max_batch` given to `load`. NaN is refused, infinities are not: attention masks hold them. `run` passes NaN on,
        for graphs that read it as a value that is missing. Raises BadInput that names the array, BadUsage (closed,
        another process).
        """
        self.require_open()
        clock = Stages()
        name = str(source) if isinstance(source, (str, Path)) else ""
        feeds = clock("read", self._feeds, source)
        outputs = clock("infer", self.run, MODEL, feeds)
        return TensorResult(outputs=outputs, ran=self.run_info(clock), source=name)

    def _feeds(self, source: Source) -> dict[str, Array]:
        feeds = arrays_of(source, self._takes)
        check_numbers(feeds)
        return feeds

    def _takes(self, name: str, dtype: str, shape: tuple[int, ...], where: str) -> None:
        """Refuse an array of a file before it is unpacked. Any number of rows: they run in calls of their own."""
        spec = next((spec for spec in self.inputs if spec.name == name), None)
        if spec is None:
            listed = f"It takes {', '.join(shown(spec.name) for spec in self.inputs)}"
            raise BadInput(f"the graph has no input {shown(name)}", where=where, hint=listed)
        check_shape(spec, dtype, shape, most=self._most, where=where)


Check: TypeAlias = Callable[[str, str, tuple[int, ...], str], None]
"""Raises BadInput for an array that is not wanted: by name, dtype and shape. The last argument is the file's name."""


def _any_array(name: str, dtype: str, shape: tuple[int, ...], where: str) -> None:
    """All are wanted."""


def arrays_of(source: Source, check: Check = _any_array) -> dict[str, Array]:
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


def npz(arrays: Mapping[str, Array]) -> bytes:
    """The bytes of an .npz file. Unlike `numpy.savez`, an array may have any name, "file" too."""
    data = BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
    return data.getvalue()


def read_npz(path: Path, check: Check = _any_array) -> dict[str, Array]:
    """The arrays of an .npz file by name; nothing is unpickled. check: raises for an array that is not wanted; called
    for each of them before any is unpacked, since a small archive may hold large arrays.

    Raises BadInput: no such file, no regular file, no .npz file, too large.
    """
    where, again = shown(path), "Write it with numpy.savez(path, name=array)"
    plain_file.check(path, what="an .npz file")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if (total := sum(member.file_size for member in members)) > MAX_NPZ_BYTES:
                raise BadInput(f"its arrays take {total} bytes, at most {MAX_NPZ_BYTES} are read", where=where)
            for member in members:
                name = member.filename.removesuffix(".npy")
                dtype, shape = _stated(archive, member, where, again)
                check(name, str(dtype), shape, where)
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except EdgeError:
        raise
    except OSError as exc:
        raise unreadable(path, exc) from exc
    except Exception as exc:
        raise BadInput(f"this is no .npz file of plain arrays: {exc}", where=where, hint=again) from exc


def npz_in(folder: Path) -> list[Path]:
    """The .npz files directly in a folder, by name: regular files and links to them, their suffix in any case.

    A link that leads nowhere is among them, since nobody knows what it held: whoever reads it says what is wrong.
    Raises BadInput for a folder that can't be looked into.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as exc:
        raise unreadable(folder, exc) from exc
    named = [path for path in entries if path.suffix.lower() == ".npz"]
    return [path for path in named if os.path.isfile(path) or not os.path.exists(path)]


def _stated(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str, again: str
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Type and shape by the header of one array, whose size must be the member's. Raises BadInput; ValueError for a
    header that can't be read."""
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as data:
        if name == member.filename or not data.read(len(_MAGIC)).startswith(_MAGIC):
            raise BadInput(f"it holds {shown(name)}, which is no array", where=where, hint=again)
        version = tuple(data.read(2))
        if version not in _HEADERS:  # 3.0 is for names of fields alone, and an array of fields is no tensor
            raise ValueError(f"{shown(name)} is of the version {'.'.join(map(str, version))} of .npy")
        shape, _, dtype = _HEADERS[version](data)
        if dtype.hasobject:
            raise ValueError(f"{shown(name)} holds Python objects")
        wanted = data.tell() + math.prod(shape) * dtype.itemsize
    if wanted != member.file_size:
        raise BadInput(
            f"{shown(name)} has {member.file_size} bytes, its type {dtype} and shape {shape} need {wanted}",
            where=where, hint=again,
        )  # fmt: skip
    return dtype, shape


_MAGIC = b"\x93NUMPY"
_HEADERS: Mapping[tuple[int, ...], Callable[[Any], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0,
}  # fmt: skip
"""What reads a header, behind its magic and version."""


class TensorTask(Task):
    """One graph of any inputs and outputs."""

    name: ClassVar[str] = "tensor"
    settings: ClassVar[type[msgspec.Struct]] = TensorSettings
    predictor: ClassVar[type[Running[Any, Any]]] = TensorModel

    def check(self, setup: Setup, *, where: str) -> None:
        """Any graph will do."""

    def open(self, loaded: Loaded) -> TensorModel:
        return TensorModel(loaded)

    def feeds(self, setup: Setup, source: Mapping[str, Array], role: str, answers: Answers) -> dict[str, Array]:
        feeds = dict(source)
        check_numbers(feeds)  # else a golden sample could be packed that `predict` refuses
        return feeds

    def source(self, stored: Mapping[str, Array]) -> Mapping[str, Array]:
        return stored

    def workload(self, bundle: Bundle, given: Sequence[Given] = ()) -> list[Any]:
        return [arrays_of(one) for one in super().workload(bundle, given)]

    def given(self, words: Sequence[str], bundle: Bundle) -> list[Given]:
        """Files of arrays: .npz files, and those directly in a folder (`npz_in`)."""
        files: list[Path] = []
        for word in words:
            path = Path(word)
            if not os.path.isdir(path):  # unlike Path.is_dir, of a name that is too long, too
                files.append(path)
                continue
            found = npz_in(path)
            if not found:
                raise BadInput("there are no .npz files in it", where=shown(path), hint="Write them with numpy.savez")
            files += found
        return [Given(name=str(file), source=file, place=place) for file, place in zip(files, places_of(files))]

    def left_out(self, words: Sequence[str]) -> list[str]:
        folders = [Path(word) for word in words if os.path.isdir(word)]
        others = {folder: len(list(folder.iterdir())) - len(npz_in(folder)) for folder in folders}
        return [f"{shown(folder)}: left out, no .npz files: {count}" for folder, count in others.items() if count]
