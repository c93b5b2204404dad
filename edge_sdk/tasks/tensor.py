"""The tensor task: named arrays in, named arrays out, for any graph. Knows no picture and no meaning."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import msgspec
import numpy as np

from edge_sdk import atomic
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadInput, EdgeError
from edge_sdk.shown import shown, unreadable
from edge_sdk.stages import Stages
from edge_sdk.tasks.base import MODEL, Answers, Given, Loaded, RunInfo, Running, Setup, Task
from edge_sdk.tasks.images import places_of
from edge_sdk.tensors import Array

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

    def predict(self, source: Source, /) -> TensorResult:
        """One call: arrays by input name, or an .npz file of them.

        Types and shapes must be the graph's (see `inputs`). Rows of a batch axis "N" run in calls of at most the
        `max_batch` given to `load`. Raises BadInput that names the array, BadUsage (closed, another process).
        """
        self.require_open()
        clock = Stages()
        name = str(source) if isinstance(source, (str, Path)) else ""
        feeds = clock("read", arrays_of, source)
        outputs = clock("infer", self.run, MODEL, feeds)
        return TensorResult(outputs=outputs, ran=self.run_info(clock), source=name)


def arrays_of(source: Source) -> dict[str, Array]:
    """The arrays of a mapping or an .npz file. Raises BadInput."""
    if isinstance(source, Mapping):
        return {str(name): _array(str(name), value) for name, value in source.items()}
    if isinstance(source, (str, Path)):
        return read_npz(Path(source))
    what = f"an object of type {type(source).__name__} holds no named arrays"
    raise BadInput(what, hint="Pass a dict of arrays by input name, or the path of an .npz file")


def _array(name: str, value: Any) -> Array:
    try:
        return np.asarray(value)
    except ValueError as exc:  # rows of different lengths
        raise BadInput(f"{shown(name)} is no array: {exc}", hint="Feed an array of one shape") from exc


def npz(arrays: Mapping[str, Array]) -> bytes:
    """The bytes of an .npz file. Unlike `numpy.savez`, an array may have any name, "file" too."""
    data = BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
    return data.getvalue()


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file by name; nothing is unpickled. Raises BadInput: no such file, not one, too large."""
    again = "Write it with numpy.savez(path, name=array)"
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
        if total > MAX_NPZ_BYTES:
            raise BadInput(f"its arrays take {total} bytes, at most {MAX_NPZ_BYTES} are read", where=str(path))
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except EdgeError:
        raise
    except OSError as exc:
        raise unreadable(path, exc) from exc
    except Exception as exc:
        raise BadInput(f"this is no .npz file of plain arrays: {exc}", where=str(path), hint=again) from exc
    if other := next((name for name, value in arrays.items() if not isinstance(value, np.ndarray)), None):
        raise BadInput(f"it holds {shown(other)}, which is no array", where=str(path), hint=again)  # NumPy: raw bytes
    return arrays


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
        return dict(source)

    def source(self, stored: Mapping[str, Array]) -> Mapping[str, Array]:
        return stored

    def workload(self, bundle: Bundle, given: Sequence[Given] = ()) -> list[Any]:
        return [arrays_of(one) for one in super().workload(bundle, given)]

    def given(self, words: Sequence[str], bundle: Bundle) -> list[Given]:
        """Files of arrays: .npz files, and those directly in a folder."""
        files: list[Path] = []
        for word in words:
            path = Path(word)
            if not path.is_dir():
                files.append(path)
                continue
            found = sorted(path.glob("*.npz"))
            if not found:
                raise BadInput("there are no .npz files in it", where=word, hint="Write them with numpy.savez")
            files += found
        return [Given(name=str(file), source=file, place=place) for file, place in zip(files, places_of(files))]

    def left_out(self, words: Sequence[str]) -> list[str]:
        folders = (Path(word) for word in words if Path(word).is_dir())
        others = {folder: sum(path.suffix != ".npz" for path in folder.iterdir()) for folder in folders}
        return [f"{shown(folder)}: left out, no .npz files: {count}" for folder, count in others.items() if count]
