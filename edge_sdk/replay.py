"""Replays golden sources end to end: source to feeds, all roles in turn, and the predictor itself. Knows no task."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from edge_sdk.bundle.manifest import GoldenSample, Graph
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadBundle, EdgeError, NotThere
from edge_sdk.golden import Expected, answers, difference, golden_feeds, golden_outputs
from edge_sdk.loading import choose, graph_of, options_for
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.cache import default_cache_folder
from edge_sdk.runtimes.protocol import CompileOptions, Explanation, Session
from edge_sdk.tasks.base import Loaded, Model, Running, Setup, Task, golden_samples_of, raised
from edge_sdk.tensors import Array, TensorSpec

FP32_TOLERANCE = 1e-3
"""How far the last fp32 answer may be from golden after all roles in turn, relative to the largest golden value: ten
times the tolerance of one fp32 graph, since the rounding of each is carried through the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeWay:
    """All roles of a task in turn, each fed by the previous one, from source to last answer. variants: by role.

    relative: largest difference to the golden answers of the fp32 graphs, over the largest golden value. allowed: None
    if the difference is only reported: for quantized graphs it is the quantization error.
    """

    runtime: str
    variants: dict[str, str]
    relative: float
    allowed: float | None
    problem: str = ""

    @property
    def passed(self) -> bool:
        if self.problem or not np.isfinite(self.relative):
            return False
        return self.allowed is None or self.relative <= self.allowed

    def line(self) -> str:
        """For a person."""
        names = _by_role(self.variants)
        outcome = self.problem or f"relative error against fp32 {self.relative:.1e}"
        return f"end to end on {self.runtime} ({names}): {outcome}{'' if self.passed else '  FAIL'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictCheck:
    """The task's predictor on one golden source. problem: what it raised, or that it fed a graph something else than
    `Task.feeds` makes of the same source and the same answers, "" if neither: golden samples are made by `Task.feeds`,
    users call `predict`."""

    runtime: str
    variants: dict[str, str]
    problem: str = ""

    @property
    def passed(self) -> bool:
        return not self.problem

    def line(self) -> str:
        """For a person."""
        names = ", ".join(dict.fromkeys(self.variants.values()))
        if len(set(self.variants.values())) > 1:
            names = _by_role(self.variants)
        outcome = self.problem or "a golden source is answered, and each graph is fed what Task.feeds makes"
        return f"predict on {self.runtime} ({names}): {outcome}{'' if self.passed else '  FAIL'}"


def _by_role(variants: Mapping[str, str]) -> str:
    return ", ".join(f"{role} {variant}" for role, variant in variants.items())


def reproduced(bundle: Bundle, task: Task) -> tuple[int, float]:
    """How many golden sources give bit-exactly their feeds, in every role, and the largest difference.

    Feeds of a later role are made from the golden answers of the roles before it.
    """
    setup = Setup.of(bundle, task.settings)
    apart = [_worst_feed(bundle, task, setup, sample) for sample in bundle.manifest.golden]
    return sum(one == 0.0 for one in apart), max(apart, default=0.0)


def _worst_feed(bundle: Bundle, task: Task, setup: Setup, sample: GoldenSample) -> float:
    source = _source(bundle, sample)
    before: dict[str, dict[str, Array]] = {}
    apart, roles = 0.0, task.roles_in(bundle)
    for role in roles:
        with golden_samples_of(task, where=str(bundle.path)):
            made = task.feeds(setup, source, role, before)
        want = golden_feeds(bundle, sample, role)
        if role != roles[-1]:
            try:
                before[role] = golden_outputs(bundle, sample, _reference(bundle, role))
            except BadBundle:  # reported by the graph's own row; the next role can't be fed
                return float("inf")
        apart = max([apart, *(difference(made[name], want[name]) if name in made else np.inf for name in want)])
    return apart


def _source(bundle: Bundle, sample: GoldenSample) -> dict[str, Array]:
    return {name: bundle.array(stored) for name, stored in sample.source.items()}


def _reference(bundle: Bundle, role: str) -> Graph:
    """The float graph of a role. Golden feeds of later roles come from it."""
    found = next((g for g in bundle.manifest.graphs if (g.role, g.variant) == (role, "fp32")), None)
    if found is None:
        raise BadBundle(f"there is no fp32 graph for {role}", where=str(bundle.path), hint="Export it again")
    return found


def compiled_as_load(bundle: Bundle, graph: Graph, runtime: str, device: str, *, max_batch: int = 1) -> Session:
    """A session as `load` would make it."""
    cache = CompileOptions(cache_dir=default_cache_folder())
    options = options_for(graph, runtime, cache, device=device, max_batch=max_batch)
    return registry.runtime(runtime).compile(bundle.graph(graph.name), options)


def whole_ways(
    bundle: Bundle, task: Task, jobs: Sequence[tuple[Graph, str]], device: str | None
) -> tuple[WholeWay, ...]:
    """For tasks with several roles, from source to last answer: on every runtime what `load` picks there, and every
    variant that all roles have.

    jobs: (graph, runtime) of what is verified. device: None = each runtime's own.
    """
    if len(task.roles_in(bundle)) == 1:
        return ()
    ways = _combinations(bundle, task, jobs, device)
    return tuple(_whole_way(bundle, task, graphs, runtime, device) for runtime, graphs in ways)


def _combinations(
    bundle: Bundle, task: Task, jobs: Sequence[tuple[Graph, str]], device: str | None
) -> Iterator[tuple[str, dict[str, Graph]]]:
    """By runtime, graphs by role: first what `load` picks there, then each other variant that all roles have."""
    for runtime in dict.fromkeys(runtime for _, runtime in jobs):
        graphs = [graph for graph, name in jobs if name == runtime]
        picked = _picked(bundle, graphs, runtime, device or registry.runtime(runtime).default_device)
        common = [
            {graph.role: graph for graph in reversed(graphs) if graph.variant == variant}
            for variant in dict.fromkeys(graph.variant for graph in graphs)
        ]
        seen: list[dict[str, str]] = []
        for by_role in (picked, *common):
            variants = {role: graph.variant for role, graph in by_role.items()}
            if set(by_role) == set(task.roles_in(bundle)) and variants not in seen:
                seen.append(variants)
                yield runtime, by_role


def _picked(bundle: Bundle, graphs: Sequence[Graph], runtime: str, device: str) -> dict[str, Graph]:
    """What `load` takes on this runtime, by role: of several roles not always one variant, since each role has its own
    graphs and known faults. Roles are left out whose graph is not one of `graphs`; {} if `load` refuses the runtime."""
    try:
        choices = choose(bundle, runtime=runtime, device=device)
    except NotThere:  # the reason is in the rows of the graphs, or in `left_out`
        return {}
    picked = {role: graph_of(bundle, role, runtime, choice) for role, choice in choices.items()}
    names = {graph.name for graph in graphs}
    return {role: graph for role, graph in picked.items() if graph.name in names}


def predicted(
    bundle: Bundle, task: Task, jobs: Sequence[tuple[Graph, str]], device: str | None
) -> tuple[PredictCheck, ...]:
    """On every runtime `predict`, and its result as line and as JSON: with what `load` picks there, or, where that is
    not verified, with the first variant that all roles have.

    jobs, device: as in `whole_ways`.
    """
    checks: dict[str, PredictCheck] = {}
    for runtime, graphs in _combinations(bundle, task, jobs, device):
        if runtime not in checks:
            problem = predict_problem(bundle, task, graphs, runtime, device, bundle.manifest.golden[:1])
            variants = {role: graphs[role].variant for role in task.roles_in(bundle)}
            checks[runtime] = PredictCheck(runtime=runtime, variants=variants, problem=problem)
    return tuple(checks.values())


def predict_problem(
    bundle: Bundle, task: Task, graphs: Mapping[str, Graph], runtime: str, device: str | None,
    samples: Sequence[GoldenSample],
) -> str:  # fmt: skip
    """What is wrong with the task's predictor on the sources of `samples`, "" = nothing. graphs: by role."""
    recorders: dict[str, _Recorder] = {}
    try:
        for role in task.roles_in(bundle):
            where = device or registry.runtime(runtime).default_device
            recorders[role] = _Recorder(compiled_as_load(bundle, graphs[role], runtime, where))
        models = {
            role: Model(graph=graphs[role], session=one, max_batch=sys.maxsize) for role, one in recorders.items()
        }
        # Never closed: the bundle and the sessions are closed by those who opened them, and nothing is submitted to it.
        predictor = task.open(Loaded(bundle=bundle, models=models))
        problems = (_problem_with(predictor, bundle, task, sample, recorders) for sample in samples)
        return next(filter(None, problems), "")
    except EdgeError as exc:
        return str(exc)
    except Exception as exc:  # noqa: BLE001 (a task may be another package's, and raise anything)
        return raised(exc)
    finally:
        for recorder in recorders.values():
            recorder.close()


def _problem_with(
    predictor: Running[Any, Any], bundle: Bundle, task: Task, sample: GoldenSample, recorders: Mapping[str, _Recorder]
) -> str:
    """As `predict_problem`, with one source. What was run for earlier ones counts: a predictor may keep what one graph
    answered, as for several prompts on one picture."""
    # Copies, since a user's arrays can be written to, and those of a bundle can't.
    source = task.source({name: np.array(array) for name, array in _source(bundle, sample).items()})
    before = [array.tobytes() for array in _arrays(source)]
    result = predictor.predict(source)
    _ = result.line(), json.loads(result.to_json()), result.suffix
    if [array.tobytes() for array in _arrays(source)] != before:
        return "it changes the arrays that it is given, which are the caller's"
    return _fed_otherwise(bundle, task, sample, recorders)


def _arrays(source: object) -> Iterator[Array]:
    """The arrays in a source: itself, or what a mapping, a sequence or a dataclass holds."""
    if isinstance(source, np.ndarray):
        yield source
    elif isinstance(source, Mapping):
        yield from itertools.chain.from_iterable(map(_arrays, source.values()))
    elif isinstance(source, (list, tuple)):
        yield from itertools.chain.from_iterable(map(_arrays, source))
    elif is_dataclass(source):
        yield from itertools.chain.from_iterable(_arrays(getattr(source, one.name)) for one in fields(source))


def _fed_otherwise(bundle: Bundle, task: Task, sample: GoldenSample, recorders: Mapping[str, _Recorder]) -> str:
    """Which role was fed something else than `Task.feeds` makes of the source and of what the roles before answered."""
    setup, source = Setup.of(bundle, task.settings), _source(bundle, sample)
    answered: dict[str, dict[str, Array]] = {}
    for role in task.roles_in(bundle):
        recorder = recorders[role]
        if answered:
            with golden_samples_of(task, where=str(bundle.path)):
                want = task.feeds(setup, source, role, answered)
        else:  # what `reproduced` holds against Task.feeds
            want = golden_feeds(bundle, sample, role)
        found = next((index for index, fed in enumerate(recorder.fed) if _same(fed, want)), None)
        if found is None:
            return f"it feeds {role} something else than Task.feeds does" if recorder.fed else f"it does not run {role}"
        answered[role] = recorder.answered[found]
    return ""


def _same(got: Mapping[str, Array], want: Mapping[str, Array]) -> bool:
    return got.keys() == want.keys() and all(
        got[name].dtype == array.dtype and difference(got[name], array) == 0.0 for name, array in want.items()
    )


class _Recorder:
    """A session that keeps what it is fed and what it answers; rows of the batch axis run one at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.fed: list[dict[str, Array]] = []
        self.answered: list[dict[str, Array]] = []

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._session.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._session.outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.fed.append({name: np.array(array) for name, array in feeds.items()})
        self.answered.append(answers(self._session, feeds))
        return self.answered[-1]

    def explain(self) -> Explanation:
        return self._session.explain()

    def close(self) -> None:
        self._session.close()


def _whole_way(bundle: Bundle, task: Task, graphs: Mapping[str, Graph], runtime: str, device: str | None) -> WholeWay:
    variants = {role: graphs[role].variant for role in task.roles_in(bundle)}
    exact = set(variants.values()) == {"fp32"}
    blank = WholeWay(runtime=runtime, variants=variants, relative=0.0, allowed=FP32_TOLERANCE if exact else None)
    sessions: dict[str, Session] = {}
    try:
        for role in task.roles_in(bundle):
            where = device or registry.runtime(runtime).default_device
            sessions[role] = compiled_as_load(bundle, graphs[role], runtime, where)
        return replace(blank, relative=_worst_last_answer(bundle, task, sessions))
    except EdgeError as exc:
        return replace(blank, problem=str(exc))
    finally:
        for session in sessions.values():
            session.close()


def _worst_last_answer(bundle: Bundle, task: Task, sessions: Mapping[str, Session]) -> float:
    setup, last = Setup.of(bundle, task.settings), task.roles_in(bundle)[-1]
    reference = _reference(bundle, last)
    scales = Expected.of(bundle, reference).scales
    worst = 0.0
    for sample in bundle.manifest.golden:
        source = _source(bundle, sample)
        got: dict[str, dict[str, Array]] = {}
        for role in task.roles_in(bundle):
            with golden_samples_of(task, where=str(bundle.path)):
                feeds = task.feeds(setup, source, role, got)
            got[role] = answers(sessions[role], feeds)
        for name, want in golden_outputs(bundle, sample, reference).items():
            apart = difference(got[last][name], want)
            worst = max(worst, apart / scales[name] if scales[name] else apart)
    return worst
