"""The runtimes by name: the product's own, and those that installed packages add. Knows no graph.

Importing it imports no vendor's library. A package adds a runtime by an entry point of the group `edge_sdk.runtimes`: a
callable without arguments that returns a `Runtime`, for instance a class.
"""

from __future__ import annotations

import difflib
import logging
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import numpy as np

from edge_sdk.errors import BadUsage, EdgeError, NotThere
from edge_sdk.runtimes.ort import OrtRuntime
from edge_sdk.runtimes.ov import OvRuntime
from edge_sdk.runtimes.protocol import (
    Availability,
    CompileOptions,
    Explanation,
    LayerTime,
    ProfiledSession,
    Runtime,
    Session,
)
from edge_sdk.runtimes.trt import TensorRtRtxRuntime, TensorRtRuntime
from edge_sdk.tensors import Array, TensorSpec

log = logging.getLogger(__name__)
T = TypeVar("T")

GROUP = "edge_sdk.runtimes"
"""The group of entry points that is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Stands for a runtime of another package that can't be used, so that it is listed with its reason."""

    name: str
    reason: str
    hint: str
    default_device: str = ""
    int8_layouts: tuple[str, ...] = ()

    def probe(self) -> Availability:
        """Not usable, with the reason."""
        return Availability(runtime=self.name, version=None, devices=(), reason=self.reason, hint=self.hint)

    def compile(self, graph: bytes | Path, options: CompileOptions) -> Session:
        """Raises NotThere with the reason."""
        raise NotThere(f"{self.name} can't be used here: {self.reason}", where=options.graph_name, hint=self.hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlugIn:
    """A runtime of another package. Whatever it raises becomes an EdgeError that names it: `verify` and `train` ask all
    runtimes here, and one that fails must not end the report on the others."""

    runtime: Runtime = field(repr=False)
    name: str
    default_device: str
    int8_layouts: tuple[str, ...]
    hint: str

    def probe(self) -> Availability:
        """The runtime's own answer, or not usable if it raises or answers something else."""
        try:
            with self.guarded("probe", where=""):
                return replace(_is(self.runtime.probe(), Availability), runtime=self.name)
        except EdgeError as exc:
            reason = str(exc.args[0]).removeprefix(f"{self.name}: ")  # whoever lists it names it
            return Availability(runtime=self.name, version=None, devices=(), reason=reason, hint=exc.hint)

    def compile(self, graph: bytes | Path, options: CompileOptions) -> Session:
        """Compile with the runtime; the device's name is passed in the spelling that the runtime lists."""
        if options.device not in ("", self.default_device):
            options = replace(options, device=self.probe().spelled(options.device))
        where = options.graph_name
        with self.guarded("compile", where=where):
            session = self.runtime.compile(graph, options)
            timed = isinstance(session, ProfiledSession)
            return (_ProfiledPlugInSession if timed else _PlugInSession)(self, session, where)

    @contextmanager
    def guarded(self, call: str, *, where: str) -> Iterator[None]:
        """Around one call of the package's code: its EdgeErrors pass, all else leaves the block as NotThere."""
        try:
            yield
        except EdgeError:
            raise
        except Exception as exc:
            text = next((line.strip() for line in str(exc).splitlines() if line.strip()), "")[:400]
            raise NotThere(
                f"{self.name}: its {call} raised {type(exc).__name__}{text and f': {text}'}", where=where,
                hint=self.hint,
            ) from exc  # fmt: skip


class _PlugInSession:
    """A session of another package's runtime, whose failures are EdgeErrors that name the runtime."""

    def __init__(self, plug_in: PlugIn, session: Session, where: str) -> None:
        self._plug_in, self._session, self._where = plug_in, session, where
        self._inputs, self._outputs = tuple(session.inputs), tuple(session.outputs)  # read here, where it is guarded

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """As `Session.run`. Raises NotThere for an answer that is not one array for each output."""
        with self._plug_in.guarded("run", where=self._where):
            answer = self._session.run(feeds)
            return {spec.name: _is(answer[spec.name], np.ndarray) for spec in self._outputs}

    def explain(self) -> Explanation:
        with self._plug_in.guarded("explain", where=self._where):
            return _is(self._session.explain(), Explanation)

    def close(self) -> None:
        """Close it; a failure is logged. Whoever closes has the answers already, and other graphs wait behind it."""
        try:
            with self._plug_in.guarded("close", where=self._where):
                self._session.close()
        except EdgeError as exc:
            log.warning("%s", exc)


class _ProfiledPlugInSession(_PlugInSession):
    """One that reports times per layer too (ProfiledSession)."""

    def layer_times(self, feeds: Mapping[str, Array]) -> tuple[LayerTime, ...]:
        session = self._session
        assert isinstance(session, ProfiledSession)  # as `PlugIn.compile` saw
        with self._plug_in.guarded("layer_times", where=self._where):
            return tuple(_is(layer, LayerTime) for layer in session.layer_times(feeds))


def _is(answer: T, kind: type[T]) -> T:
    """`answer`, which another package gave. Raises TypeError if it is no `kind`."""
    if not isinstance(answer, kind):
        raise TypeError(f"it answered a {type(answer).__name__}, not a {kind.__name__}")
    return answer


def runtimes() -> tuple[Runtime, ...]:
    """All of them, usable here or not, in the order in which reports list them: the product's own come first.

    A runtime of another package that can't be loaded, or whose name is taken, is `Broken`.
    """
    return (*_own(), *_plug_ins(tuple(sys.path)))


def own_names() -> tuple[str, ...]:
    """Names of the product's own: those that graphs are planned for one by one."""
    return tuple(one.name for one in _own())


def of_gpus() -> tuple[str, ...]:
    """Names of the product's own that run on NVIDIA GPUs alone: where one is usable, it is what the machine is for."""
    return tuple(one.name for one in _own() if one.default_device == "CUDA")


_SHORT = {"ort": "onnxruntime", "onnx": "onnxruntime", "ov": "openvino", "trt": "tensorrt", "rtx": "tensorrt-rtx"}
"""Common short names, for the suggestion alone: by its letters "ort" is nearer to tensorrt."""


def runtime(name: str) -> Runtime:
    """The one called `name`. Raises BadUsage with the nearest name if there is none, NotThere with the reason if it is
    `Broken`."""
    by_name = {one.name: one for one in runtimes()}
    if name in by_name:
        if isinstance(one := by_name[name], Broken):
            require(one.probe())
        return one
    near = [_SHORT[name.lower()]] if _SHORT.get(name.lower()) in by_name else []
    near = near or difflib.get_close_matches(name, by_name, n=1, cutoff=0.4)
    raise BadUsage(
        f"there is no runtime {name}", hint=f"Did you mean {near[0]}" if near else f"One of {', '.join(by_name)}"
    )


def require(found: Availability) -> None:
    """Nothing if the runtime is usable, else NotThere with its own reason."""
    if not found.usable:
        raise NotThere(f"{found.runtime} can't be used here: {found.reason}", hint=found.hint)


def _own() -> tuple[Runtime, ...]:
    """A new one of the product's own is a line here."""
    return (
        OrtRuntime(),
        OvRuntime(),
        TensorRtRuntime(),
        TensorRtRtxRuntime(),
    )


@lru_cache(maxsize=4)
def _plug_ins(path: tuple[str, ...]) -> tuple[Runtime, ...]:
    """The runtimes of installed packages, by name of the entry point. path: sys.path, where packages are looked for:
    reading them all takes milliseconds, which not every call of `runtimes` should pay."""
    taken, found = {one.name for one in _own()}, []
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda one: (one.name, one.value)):
        one = _loaded(entry, taken)
        taken.add(one.name)
        found.append(one)
    return tuple(found)


def _loaded(entry: metadata.EntryPoint, taken: Collection[str]) -> Runtime:
    """What the entry point returns; Broken if that is no runtime, or one whose name is taken."""
    package = entry.dist.name if entry.dist is not None else "the package"
    hint = f"Update or uninstall {package}"
    try:
        made = entry.load()()
        name, device, layouts = made.name, made.default_device, made.int8_layouts
        texts = (name, device, *layouts)
        if not (all(isinstance(one, str) for one in texts) and name and isinstance(layouts, tuple)):
            raise TypeError("name and default_device must be text, int8_layouts a tuple of texts")
        if not (callable(made.probe) and callable(made.compile)):
            raise TypeError("probe and compile must be methods")
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - another package's code, which may raise anything
        reason = f"{entry.value} does not load: {type(exc).__name__}: {exc}"
    else:
        if name not in taken:
            return PlugIn(runtime=made, name=name, default_device=device, int8_layouts=layouts, hint=hint)
        reason = f"{entry.value} calls itself {name}, which is the name of another runtime here"
    names = (entry.name, f"{entry.name} of {package}", f"{entry.value} of {package}")
    return Broken(name=next((name for name in names if name not in taken), names[-1]), reason=reason, hint=hint)
