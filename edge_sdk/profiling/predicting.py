"""Callables to be measured: a bundle's predict, its graphs, or one graph alone. Knows no statistics and no task."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edge_sdk import tasks
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadUsage, EdgeError
from edge_sdk.golden import golden_feeds
from edge_sdk.loading import VariantWanted, load, options_for
from edge_sdk.runtimes import registry, targets
from edge_sdk.runtimes.cache import default_cache_folder
from edge_sdk.runtimes.protocol import CompileOptions, Explanation
from edge_sdk.tasks.base import Predictor, fault_of, golden_samples_of, task_code
from edge_sdk.tensors import Array, rows

_KEPT = 1000  # calls whose stage times are kept: a comparison reads their medians once


class Calls:
    """A callable without arguments that takes the next item of a ring at each call. facts: what runs, for reports; with
    `stages_ms`, medians of the last calls, where the results have stage times."""

    def __init__(self, call: Callable[[Any], Any], ring: list[Any], facts: dict[str, Any]) -> None:
        if not ring:
            raise BadUsage("the bundle has no golden samples, so there is nothing to call with", hint="Export it again")
        self._call, self._ring, self._next, self._fixed = call, ring, 0, facts
        self._stages: deque[Mapping[str, float]] = deque(maxlen=_KEPT)

    def __call__(self) -> Any:
        self._next = (self._next + 1) % len(self._ring)
        result = self._call(self._ring[self._next])
        stages_ms = getattr(getattr(result, "ran", None), "stages_ms", None)
        if isinstance(stages_ms, Mapping):
            self._stages.append(stages_ms)
        return result

    @property
    def facts(self) -> dict[str, Any]:
        """Plain JSON values."""
        if not self._stages:
            return self._fixed
        names = [name for name in self._stages[0] if all(name in one for one in self._stages)]
        return {**self._fixed, "stages_ms": {name: median(one[name] for one in self._stages) for name in names}}


class TaskCalls:
    """`predict` of a predictor, whose failures name the task where its own code fails, and nothing else does."""

    def __init__(self, predictor: Predictor[Any, Any]) -> None:
        self._predict, self._where = predictor.predict, str(predictor.bundle.path)
        self._task = tasks.task(predictor.bundle.manifest.task, where=self._where)
        self.explanations = predictor.explanations

    def predict(self, source: Any) -> Any:
        """As the predictor's own. Raises EdgeError for whatever else the task's code raises."""
        try:
            return self._predict(source)
        except (EdgeError, OSError):
            raise
        except Exception as exc:
            raise fault_of(self._task, "predict", exc, where=self._where) from exc


def workload(predictor: Predictor[Any, Any], words: Sequence[str] = ()) -> list[Any]:
    """Sources to call `predict` with in turn: what `words` name (see `Task.given`), or made of the golden samples."""
    bundle = predictor.bundle
    task = tasks.task(bundle.manifest.task, where=str(bundle.path))
    with task_code(task, "given", where=str(bundle.path)):
        given = task.given(words, bundle) if words else ()
    with golden_samples_of(task, where=str(bundle.path)):
        return task.workload(bundle, given)


def predict(
    *, bundle: str, variant: VariantWanted = None, runtime: str | None = None, device: str | None = None,
    threads: int | None = None, inputs: Sequence[str] = (), digest: str = "",
) -> Calls:  # fmt: skip
    """Whole `predict` calls, one at a time. inputs: as of `workload`.

    digest: of the bundle that the caller has opened, and checked the signature of, so that it isn't checked again here;
    "" = checked as `load` does. Raises BadUsage if another bundle is there now, else as `load`.
    """
    predictor = load(
        Path(bundle), variant=variant, runtime=runtime, device=device, threads=threads,
        trust="off" if digest else "if-present",
    )  # fmt: skip
    _check_same(predictor.bundle, digest)
    return Calls(predictor.predict, workload(predictor, inputs), {"what": "predict", **_facts(predictor)})


def bare(*, bundle: str, variant: str | None = None, runtime: str | None = None, threads: int | None = None) -> Calls:
    """The runtime calls alone, role by role, on golden feeds. The difference to `predict` is what `predict` adds."""
    predictor = load(Path(bundle), variant=variant, runtime=runtime, threads=threads)
    manifest = predictor.bundle.manifest
    ring = [
        {role: golden_feeds(predictor.bundle, sample, role) for role in predictor.explanations}
        for sample in manifest.golden
    ]

    def call(feeds: Mapping[str, Mapping[str, Array]]) -> None:
        for role, fed in feeds.items():
            predictor.run(role, fed)

    return Calls(call, ring, {"what": "bare runtime call", **_facts(predictor)})


def graph(
    *, bundle: str, role: str, variant: str, runtime: str, device: str, threads: int | None = None,
    precision: str = "f32", digest: str = "",
) -> Calls:  # fmt: skip
    """The graph of one role alone, one row of its batch axis a call, on golden feeds.

    precision: of what the graph leaves open ("bf16": what OpenVINO takes by itself where the CPU has it). digest: as of
    `predict`. Raises BadUsage (no such graph), WrongPrecision, as `Runtime.compile`.
    """
    opened = Bundle.open(Path(bundle), trust="off" if digest else "if-present", lazy=True)
    _check_same(opened, digest)
    offered = [one for one in opened.manifest.graphs if one.role == role]
    taken = targets.taken(offered, variant, runtime)
    if taken is None:
        raise BadUsage(
            f"{runtime} takes no {variant} of {role}", where=bundle, hint="edge-sdk inspect lists the graphs"
        )
    options = CompileOptions(threads=threads, cache_dir=default_cache_folder(), precision=precision)
    session = registry.runtime(runtime).compile(
        opened.graph(taken.name), options_for(taken, runtime, options, device=device)
    )
    ring = [
        {name: np.ascontiguousarray(array) for name, array in rows(feeds, session.inputs, 0, 1).items()}
        for feeds in (golden_feeds(opened, sample, role) for sample in opened.manifest.golden)
    ]
    facts = _explained(session.explain())
    return Calls(session.run, ring, {"what": f"graph of {role}", "variant": variant, **facts})


def _check_same(bundle: Bundle, digest: str) -> None:
    if digest not in ("", bundle.digest):
        raise BadUsage(
            "The bundle was replaced while it was being measured", where=str(bundle.path), hint="Run it again"
        )


def _facts(predictor: Predictor[Any, Any]) -> dict[str, Any]:
    """What runs; of several roles by the role's name."""
    by_role = {role: _explained(e) for role, e in predictor.explanations.items()}
    facts = next(iter(by_role.values())) if len(by_role) == 1 else {"roles": by_role}
    return {"variant": predictor.variant, **facts}


def _explained(e: Explanation) -> dict[str, Any]:
    return {
        "runtime": e.runtime, "version": e.version, "threads": e.threads, "precision": e.precision,
        "convolutions": dict(e.layers_by_precision), "settings": dict(e.settings),
    }  # fmt: skip
