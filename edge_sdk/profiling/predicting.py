"""Callables for measured processes: a bundle's predict, or its graphs alone. Knows no statistics and no task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_sdk import tasks
from edge_sdk.golden import golden_feeds
from edge_sdk.loading import load
from edge_sdk.tasks.base import Predictor, golden_samples_of, task_code
from edge_sdk.tensors import Array


class Calls:
    """A callable without arguments that takes the next item of a ring at each call. facts: what runs, for reports."""

    def __init__(self, call: Callable[[Any], Any], ring: list[Any], facts: dict[str, Any]) -> None:
        self._call, self._ring, self._next, self.facts = call, ring, 0, facts

    def __call__(self) -> Any:
        self._next = (self._next + 1) % len(self._ring)
        return self._call(self._ring[self._next])


def workload(predictor: Predictor[Any, Any], words: Sequence[str] = ()) -> list[Any]:
    """Sources to call `predict` with in turn: what `words` name (see `Task.given`), or made of the golden samples."""
    bundle = predictor.bundle
    task = tasks.task(bundle.manifest.task, where=str(bundle.path))
    with task_code(task, "given", where=str(bundle.path)):
        given = task.given(words, bundle) if words else ()
    with golden_samples_of(task, where=str(bundle.path)):
        return task.workload(bundle, given)


def predict(
    *, bundle: str, variant: str | None = None, runtime: str | None = None, threads: int | None = None
) -> Calls:
    """Whole `predict` calls on sources in memory, one at a time."""
    predictor = load(Path(bundle), variant=variant, runtime=runtime, threads=threads)
    return Calls(predictor.predict, workload(predictor), {"what": "predict", **_facts(predictor)})


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


def _facts(predictor: Predictor[Any, Any]) -> dict[str, Any]:
    """What runs; of several roles by the role's name."""
    by_role = {
        role: {
            "runtime": e.runtime, "version": e.version, "threads": e.threads, "precision": e.precision,
            "convolutions": dict(e.layers_by_precision), "settings": dict(e.settings),
        }
        for role, e in predictor.explanations.items()
    }  # fmt: skip
    facts = next(iter(by_role.values())) if len(by_role) == 1 else {"roles": by_role}
    return {"variant": predictor.variant, **facts}
