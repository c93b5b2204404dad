"""Base classes of tasks and predictors: open, run, submit, explain, close. Knows no picture and no answer."""

from __future__ import annotations

import os
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

import msgspec
import numpy as np

from edge_sdk.bundle.manifest import Graph, Preprocessing
from edge_sdk.bundle.store import Bundle
from edge_sdk.decision.record import Record
from edge_sdk.errors import BadBundle, BadInput, BadUsage, EdgeError
from edge_sdk.golden import OutputCheck, golden_feeds
from edge_sdk.in_flight import InFlight
from edge_sdk.preprocess import Color
from edge_sdk.runtimes.feeds import kind_of
from edge_sdk.runtimes.protocol import Explanation, Session
from edge_sdk.stages import Stages
from edge_sdk.tensors import BATCH, Array, TensorSpec, batch_size, joined, row_counts, rows

MODEL = "model"
"""The role of a task's only graph."""
_IN_FLIGHT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRun:
    """What ran for one role.

    precision: of convolutions and matrix products, then of the rest: "3 of 3 operators in int8, rest f32".
    """

    variant: str
    layout: str
    runtime: str
    runtime_version: str
    device: str
    precision: str
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What produced a result. bundle: sha256 of the sealed part. roles: what ran, by role.

    record: digest of the site record in force, "" if none. stages_ms: milliseconds by stage, `total` among them.
    self_check: what the first load on this device found.
    """

    bundle: str
    roles: Mapping[str, RoleRun]
    record: str = ""
    stages_ms: Mapping[str, float]
    self_check: str = ""

    @property
    def variant(self) -> str:
        """The variant that ran; of several roles "encoder int8, decoder fp32" where they differ."""
        return self._words("variant")

    @property
    def runtime(self) -> str:
        """The runtime that ran, as `variant`."""
        return self._words("runtime")

    @property
    def device(self) -> str:
        """The device that ran, as `variant`."""
        return self._words("device")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        out: dict[str, Any] = msgspec.to_builtins(self)
        return out

    def _words(self, name: str) -> str:
        found = {role: str(getattr(run, name)) for role, run in self.roles.items()}
        same = set(found.values())
        return same.pop() if len(same) == 1 else ", ".join(f"{role} {value}" for role, value in found.items())


class Result(Protocol):
    """The answer of a predictor."""

    @property
    def suffix(self) -> str:
        """Of the file that `save` writes."""

    @property
    def ran(self) -> RunInfo: ...
    def to_json(self) -> str:
        """One JSON object."""

    def line(self) -> str:
        """One line for a terminal."""

    def save(self, path: Path) -> None:
        """Write the viewable part to `path`, atomically. Raises CantWrite."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """One role of a bundle, compiled. why: why this graph runs here.

    max_batch: most rows of one call. passed_over: (what, why) of better choices that can't be had here.
    """

    graph: Graph
    session: Session
    max_batch: int = 1
    why: str = ""
    passed_over: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loaded:
    """Parts of a predictor: an open bundle and its compiled graphs by role."""

    bundle: Bundle
    models: Mapping[str, Model]
    color: Color = "rgb"
    self_check: str = ""


S = TypeVar("S", contravariant=True)
R = TypeVar("R", bound=Result, covariant=True)
In = TypeVar("In")
Out = TypeVar("Out", bound=Result)
B = TypeVar("B", bound=msgspec.Struct)
T = TypeVar("T")


class Predictor(Protocol[S, R]):
    """What `load` returns for any task. `predict` and `submit` may be called from any thread."""

    @property
    def bundle(self) -> Bundle: ...
    @property
    def variant(self) -> str: ...
    @property
    def explanation(self) -> Explanation: ...
    @property
    def explanations(self) -> Mapping[str, Explanation]: ...
    def predict(self, source: S, /) -> R: ...
    def predict_batch(self, sources: Iterable[S], /) -> tuple[R, ...]: ...
    def submit(self, source: S, /) -> Future[Any]: ...
    def warm_up(self, runs: int = 3) -> None: ...
    def run(self, role: str, feeds: Mapping[str, Array]) -> dict[str, Array]: ...
    def explain(self) -> str: ...
    def close(self) -> None: ...
    def __enter__(self) -> Predictor[S, R]: ...
    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...


class Running(ABC, Generic[In, Out]):
    """Base class of predictors. Use it as a context manager, or call `close`.

    A task's predictor writes `predict`: `require_open`, then `run` for each role, each step timed by a `Stages`, and a
    result that holds `run_info`. noun: its name in messages.
    """

    noun: ClassVar[str] = "predictor"

    def __init__(self, loaded: Loaded, *, record: str = "") -> None:
        self._loaded, self._process = loaded, os.getpid()
        self._explanations = {role: model.session.explain() for role, model in loaded.models.items()}
        self._ran = RunInfo(
            bundle=loaded.bundle.digest, record=record, stages_ms={}, self_check=loaded.self_check,
            roles={role: _role_run(model.graph, self._explanations[role]) for role, model in loaded.models.items()},
        )  # fmt: skip
        self._lock, self._closed = threading.Lock(), False
        self._in_flight: InFlight[In, Out] = InFlight(self.predict, workers=1, most=_IN_FLIGHT, name=self.noun)

    def __repr__(self) -> str:
        closed = ", closed" if self._closed else ""
        where = f"{self._ran.runtime} {self._ran.device}"
        return f"<{type(self).__name__} {self.bundle.path}: {self.variant} on {where}{closed}>"

    @property
    def bundle(self) -> Bundle:
        """The open bundle."""
        return self._loaded.bundle

    @property
    def variant(self) -> str:
        """The variant that runs, one of `runtimes.variants.KINDS`; by role where they differ."""
        return self._ran.variant

    @property
    def explanations(self) -> Mapping[str, Explanation]:
        """By role, what was asked of the runtime and what was got."""
        return self._explanations

    @property
    def explanation(self) -> Explanation:
        """Of the first role; `explanations` has all of them."""
        return next(iter(self._explanations.values()))

    @abstractmethod
    def predict(self, source: In, /) -> Out:
        """One answer. Raises BadUsage if closed, or loaded in another process."""

    def __call__(self, source: In, /) -> Out:
        return self.predict(source)

    def predict_batch(self, sources: Iterable[In], /) -> tuple[Out, ...]:
        """Several answers, in order; tasks whose graphs take batches run them together."""
        self.require_open()
        return tuple(self.predict(source) for source in several(sources))

    def submit(self, source: In, /) -> Future[Out]:
        """`predict` in a thread of this predictor; blocks while 16 calls are in flight. Errors are in the Future."""
        self._same_process()  # a forked child has no such thread and would wait forever
        return self._in_flight.submit(source)

    def warm_up(self, runs: int = 3) -> None:
        """Run every graph on its first golden feeds, so that the first call has no first-run cost."""
        self.require_open()
        for sample in self.bundle.manifest.golden[:1]:
            for role in self._loaded.models:
                feeds = golden_feeds(self.bundle, sample, role)
                for _ in range(runs):
                    self._run(role, feeds)

    def run(self, role: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph of one role on prepared feeds: outputs by name. For `predict` itself, and for profiling.

        Raises BadInput that names the array, BadUsage (no such role, closed, another process).
        """
        self.require_open()
        if role not in tuple(self._loaded.models):  # a tuple: what is asked for may be no key of a dict
            raise BadUsage(f"there is no role {role}", hint=f"One of {', '.join(self._loaded.models)}")
        return self._run(role, feeds)

    def _run(self, role: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run rows of the batch axis in calls of at most `max_batch`."""
        model = self._loaded.models[role]
        session = model.session
        if not (isinstance(feeds, Mapping) and all(isinstance(array, np.ndarray) for array in feeds.values())):
            return session.run(feeds)  # which names what is wrong; nothing here can be counted or cut
        for spec in session.inputs:
            if spec.batched and spec.name in feeds and not feeds[spec.name].ndim:
                raise BadInput(spec.accepts(feeds[spec.name]), where=model.graph.name)
        counts = row_counts(feeds, session.inputs)
        if len(set(counts.values())) > 1:  # cut to the rows of another input, one that has more would lose them
            sizes = ", ".join(f"{name} has size {count}" for name, count in counts.items())
            raise BadInput(
                f"{sizes} on axis 0 ({BATCH})", where=model.graph.name, hint="Feed as many rows of each input"
            )
        count = batch_size(feeds, session.inputs)
        if count is None or count <= model.max_batch:
            return session.run(feeds)
        starts = range(0, count, model.max_batch)
        parts = [session.run(rows(feeds, session.inputs, at, at + model.max_batch)) for at in starts]
        return joined(parts, session.outputs)

    def explain(self) -> str:
        """What was requested, what runs, and why, as text."""
        lines = [f"bundle     {self.bundle.path} ({self.bundle.digest[:12]}), {self.bundle.signature.words}"]
        several = len(self._loaded.models) > 1
        for role, model in self._loaded.models.items():
            lines += [f"role       {role}"] if several else []
            lines += _explained(model, self._explanations[role])
        return "\n".join([*lines, *self.explain_task(), f"self-check {self._ran.self_check or 'not done'}"])

    def explain_task(self) -> Sequence[str]:
        """Additional lines of the task."""
        return ()

    def close(self) -> None:
        """Finish submitted calls, then free the sessions and the file. May be called twice."""
        if self._process == os.getpid():  # a forked child has no thread to wait for
            self._in_flight.close()  # before the mark: what was submitted may still run
        with self._lock:
            first, self._closed = not self._closed, True
        if not first:
            return
        if self._process == os.getpid():
            for model in self._loaded.models.values():
                model.session.close()
        self.bundle.close()

    def __enter__(self: T) -> T:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def require_open(self) -> None:
        """Raise BadUsage if closed, or loaded in another process. First line of every `predict`."""
        self._same_process()
        if self._closed:
            raise BadUsage(f"this {self.noun} is closed", hint="Load the bundle again")

    def _same_process(self) -> None:
        # A fork copies locks and pools but not their threads: the first call of the child would hang.
        if self._process != os.getpid():
            raise BadUsage(
                f"this {self.noun} was loaded in another process ({self._process})", hint="Load it after the fork"
            )

    def run_info(self, clock: Stages) -> RunInfo:
        """The run info of this call: what ran, with its stage times."""
        return replace(self._ran, stages_ms=clock.ms())


def several(sources: Iterable[T]) -> Iterator[T]:
    """The sources of a `predict_batch`, one by one. Raises BadInput for one source, and for what is none."""
    what, hint = "predict_batch takes several sources, got ", "Use predict, or pass a list"
    if isinstance(sources, (str, bytes, Path, Mapping)):  # they can be iterated over, but not over sources
        raise BadInput(f"{what}one", hint=hint)
    try:
        return iter(sources)
    except TypeError as exc:
        raise BadInput(f"{what}{kind_of(sources)}", hint=hint) from exc


def _role_run(graph: Graph, e: Explanation) -> RoleRun:
    return RoleRun(
        variant=graph.variant, layout=graph.layout, runtime=e.runtime, runtime_version=e.version, device=e.device,
        precision=e.computes, threads=e.threads,
    )  # fmt: skip


def _explained(model: Model, e: Explanation) -> list[str]:
    return [
        f"variant    {model.graph.variant}, layout {model.graph.layout}: {model.why}",
        *(f"not run    {what}: {why}" for what, why in model.passed_over),
        f"runtime    {e.runtime} {e.version}, cache {e.compile_cache}",
        f"device     asked {e.device_requested}, got {e.device}",
        f"precision  {e.computes}; of what the graph leaves open: asked {e.precision_requested}, got {e.precision}",
        f"threads    {e.threads}",
        *(f"avoided    known fault {name}" for name in e.workarounds),
        *(f"warning    {text}" for text in e.warnings),
    ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setup:
    """What a task needs to turn a source into feeds, known before a bundle exists. settings: the task's own.

    inputs, outputs: of the graphs by role, the same for every variant.
    """

    settings: Any
    preprocessing: Preprocessing | None
    inputs: Mapping[str, tuple[TensorSpec, ...]]
    outputs: Mapping[str, tuple[TensorSpec, ...]]

    @classmethod
    def of(cls, bundle: Bundle, settings: type[msgspec.Struct]) -> Setup:
        """Of a bundle. Raises BadBundle: settings of another form, graphs of one role that take different tensors."""
        inputs: dict[str, tuple[TensorSpec, ...]] = {}
        outputs: dict[str, tuple[TensorSpec, ...]] = {}
        for graph in bundle.manifest.graphs:
            first = inputs.setdefault(graph.role, graph.inputs), outputs.setdefault(graph.role, graph.outputs)
            if first != (graph.inputs, graph.outputs):
                raise BadBundle(
                    f"the graphs of {graph.role} take or answer different tensors", where=str(bundle.path),
                    hint="Export it again",
                )  # fmt: skip
        return cls(
            settings=settings_of(bundle, settings), preprocessing=bundle.manifest.preprocessing, inputs=inputs,
            outputs=outputs,
        )  # fmt: skip


def settings_of(bundle: Bundle, kind: type[B]) -> B:
    """The manifest's settings as the task's own type. Raises BadBundle."""
    try:
        return msgspec.convert(bundle.manifest.settings, kind)
    except msgspec.ValidationError as exc:
        raise BadBundle(
            f"the settings of the task {bundle.manifest.task} can't be read: {exc}", where=str(bundle.path),
            hint="Export it again",
        ) from exc  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One thing that a command line named. source: what `predict` takes. place: below an output folder, no suffix.
    file: that it comes from, where the source is more than its path."""

    name: str
    source: Any
    place: Path
    file: Path | None = None

    @property
    def comes_from(self) -> Path | None:
        """The file that it comes from, None if it is none."""
        if self.file is not None:
            return self.file
        return Path(self.source) if isinstance(self.source, (str, Path)) else None


Answers: TypeAlias = Mapping[str, Mapping[str, Array]]
"""Outputs by role, then by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The task's lines below the table of `verify`. facts: the same for JSON."""

    lines: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptForm:
    """How one kind of prompt is written on a command line, NAME=VALUE. form: of the value, such as X,Y. example: one
    value, such as 100,50. about: what it states, as a phrase: "a pixel on the object"."""

    form: str
    example: str
    about: str


class Task(ABC):
    """One kind of use. A task is its file (or folder) beside this one and a line in `edge_sdk/tasks/__init__.py`.

    name: as manifests write it. roles: its graphs, in the order in which a call runs them; () = those that a bundle
    has, whichever they are. settings: the type of `manifest.settings`. predictor: the class that `open` makes. records:
    kinds of site records that this task alone knows, beside those of `decision.record.KINDS`. batch_rows: by role, the
    most rows of one call where `load` is given no `max_batch`; 1 for roles that are not in it. prompts: what a command
    line may give beside the inputs, by name. files: what `save` of its results writes, by name, with the suffix that
    asks for it, the usual one first: {"plot": ".png"}; {} = nothing but a result's own `suffix`.
    """

    name: ClassVar[str]
    roles: ClassVar[tuple[str, ...]] = (MODEL,)
    settings: ClassVar[type[msgspec.Struct]]
    predictor: ClassVar[type[Running[Any, Any]]]
    records: ClassVar[tuple[type[Record], ...]] = ()
    batch_rows: ClassVar[Mapping[str, int]] = {}
    prompts: ClassVar[Mapping[str, PromptForm]] = {}
    files: ClassVar[Mapping[str, str]] = {}

    def roles_of(self, there: Iterable[str]) -> tuple[str, ...]:
        """The roles of one model or bundle, in the order in which a call runs them. there: of its graphs."""
        return self.roles or tuple(dict.fromkeys(there))

    def roles_in(self, bundle: Bundle) -> tuple[str, ...]:
        """`roles_of` a bundle's graphs."""
        return self.roles_of(graph.role for graph in bundle.manifest.graphs)

    @abstractmethod
    def check(self, setup: Setup, *, where: str) -> None:
        """Raise BadBundle if a tensor or setting that the task needs is missing."""

    @abstractmethod
    def open(self, loaded: Loaded) -> Running[Any, Any]:
        """The predictor of a loaded bundle."""

    @abstractmethod
    def feeds(self, setup: Setup, source: Mapping[str, Array], role: str, answers: Answers) -> dict[str, Array]:
        """What the graph of `role` is fed for one user's source, given in its stored form.

        answers: of the roles before it. Golden samples are made and checked by this, so it must be what `predict` does.
        """

    @abstractmethod
    def source(self, stored: Mapping[str, Array]) -> Any:
        """A golden sample's source as `predict` takes it."""

    @abstractmethod
    def given(self, words: Sequence[str], bundle: Bundle) -> list[Given]:
        """What the words of a command line name. Raises BadInput, BadUsage."""

    def prompted(self, given: Given, prompts: Sequence[tuple[str, str]]) -> Given:
        """One of `given` with the prompts, (name, value), that a command line gives for all of them. Only called with
        names that are in `prompts`, and at least one. Raises BadUsage."""
        return given

    def answer(self, predictor: Any, source: Any) -> Result:
        """What a command line shows for the source of one of `given`. predictor: of `open`. Raises as its `predict`."""
        out: Result = predictor.predict(source)
        return out

    def left_out(self, words: Sequence[str]) -> list[str]:
        """What `given` does not take of the folders among `words`, a sentence for each that has any."""
        return []

    def workload(self, bundle: Bundle, given: Sequence[Given] = ()) -> list[Any]:
        """Sources in memory for a profile, used in turn: those given, or made from the golden samples."""
        if given:
            return [one.source for one in given]
        return [
            self.source({name: bundle.array(array) for name, array in sample.source.items()})
            for sample in bundle.manifest.golden
        ]

    def headline(self, bundle: Bundle, checks: Sequence[OutputCheck]) -> Headline:
        """What the errors found by `verify` mean for a user of this task."""
        return Headline()

    def summary(self, bundle: Bundle) -> list[tuple[str, str]]:
        """(name, text) of what `inspect` shows of the settings."""
        return []


@contextmanager
def task_code(task: Task, what: str, *, where: str) -> Iterator[None]:
    """Around calls of a task's code, which may be another package's: what it raises beside our own errors becomes an
    EdgeError that names the task, the step `what` and the line. What the system refuses (OSError) is no fault of it."""
    try:
        yield
    except (EdgeError, OSError):
        raise
    except Exception as exc:
        raise fault_of(task, what, exc, where=where) from exc


def fault_of(task: Task, what: str, exc: Exception, *, where: str) -> EdgeError:
    """What `task_code` raises for `exc`, for code that can't afford a context manager around each call."""
    return EdgeError(
        f"the task {task.name} fails in {what}: {raised(exc)}", where=where,
        hint="This is a fault of the task's own code: report it to whoever maintains it",
    )  # fmt: skip


_MOST = 500
"""Characters of a message of others that an error of ours repeats; some hold a whole graph."""


def raised(exc: Exception) -> str:
    """An unexpected exception in one line, with the line of code that raised it; of long messages the beginning."""
    frame = traceback.extract_tb(exc.__traceback__)[-1]
    words = " ".join(str(exc).split())
    words = words if len(words) <= _MOST else f"{words[:_MOST]} ..."
    return f"{type(exc).__name__}: {words} ({Path(frame.filename).name}, line {frame.lineno})"


@contextmanager
def golden_samples_of(task: Task, *, where: str) -> Iterator[None]:
    """Around a task's code that reads golden samples, which come from a file and may hold anything: what it raises for
    a source of another form (an array that is missing, one of another type) becomes a BadBundle."""
    try:
        yield
    except EdgeError:
        raise
    except Exception as exc:
        what = f"a golden sample does not fit the task {task.name}: {type(exc).__name__}: {exc}"
        raise BadBundle(what, where=where, hint="Export it again") from exc
