"""`load`: opens a bundle as the predictor of its task, on the best runtimes of this machine. Knows no picture."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

from edge_sdk import __version__, atomic, tasks
from edge_sdk.bundle.manifest import Graph
from edge_sdk.bundle.signing import Trust
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadBundle, BadUsage, CantWrite, CheckFailed, EdgeError, NotThere, NotTrusted
from edge_sdk.golden import check_session
from edge_sdk.preprocess import Color
from edge_sdk.runtimes import faults, probe, registry, targets
from edge_sdk.runtimes.cache import default_cache_folder, own_folder
from edge_sdk.runtimes.onnx_file import read_facts
from edge_sdk.runtimes.probe import CpuFacts
from edge_sdk.runtimes.protocol import Availability, CompileOptions, Session
from edge_sdk.runtimes.targets import Choice, VariantOption
from edge_sdk.tasks.base import Loaded, Model, Predictor, Running, Setup, Task, task_code
from edge_sdk.tensors import BATCH

VariantWanted: TypeAlias = "str | Mapping[str, str] | None"
"""One variant for every role, or a variant by role; None = the best for this machine."""
P = TypeVar("P", bound=Running[Any, Any])
_OF_ANY_TASK = cast("type[Running[Any, Any]]", Running)


def load(
    path: Path | str, *, target: str | None = None, runtime: str | None = None, variant: VariantWanted = None,
    device: str | None = None, color: Color = "rgb", threads: int | None = None, max_batch: int | None = None,
    trust: Trust = "if-present", cache: Path | str | None = None, self_check: bool = True,
) -> Predictor[Any, Any]:  # fmt: skip
    """Open and check a bundle, and compile for each role the best variant for this machine.

    target: a target profile's name; None = found from the CPU and the runtimes here. runtime, variant, device: a
    request is met or NotThere is raised; there is no silent fallback. variant: one for every role, or
    {"encoder": "int8"} for some. color: channel order of arrays given to `predict` ("bgr" for OpenCV). threads: None =
    the physical cores that this process may use. max_batch: most rows per call; None = what the task says: 1, of a
    segmenter's decoder 64 prompts. trust: signature policy, see `TrustPolicy`; to require signatures, give one with
    keys. cache: compile cache; None = the user's cache folder.
    self_check: replay the strongest golden sample when a bundle first meets this device and runtime, and remember it.

    The type returned depends on the bundle's task; with `load_as` a type checker knows it. Raises BadBundle,
    NotTrusted, NotThere, WrongPrecision, CheckFailed (a wrong answer to the golden sample).
    """
    return load_as(
        _OF_ANY_TASK, path, target=target, runtime=runtime, variant=variant, device=device, color=color,
        threads=threads, max_batch=max_batch, trust=trust, cache=cache, self_check=self_check,
    )  # fmt: skip


def load_as(
    kind: type[P], path: Path | str, *, target: str | None = None, runtime: str | None = None,
    variant: VariantWanted = None, device: str | None = None, color: Color = "rgb", threads: int | None = None,
    max_batch: int | None = None, trust: Trust = "if-present", cache: Path | str | None = None, self_check: bool = True,
) -> P:  # fmt: skip
    """`load` with a static type: `load_as(AnomalyDetector, path)`.

    Raises BadUsage for a bundle of another task, before anything is compiled; otherwise as `load`.
    """
    if not isinstance(kind, type):
        raise BadUsage("load_as takes the predictor's class, then the path", hint="load_as(AnomalyDetector, path)")
    if not isinstance(path, (str, Path)):
        raise BadUsage(f"the path of a bundle is a str or a Path, not {type(path).__name__}")
    if color not in ("rgb", "bgr"):
        raise BadUsage(f'color is "rgb" or "bgr", not {color!r}')
    for name, value in (("target", target), ("runtime", runtime), ("device", device)):
        if value is not None and not isinstance(value, str):
            raise BadUsage(f"{name} is a name, not {value!r}")
    if max_batch is not None:
        _check_count("max_batch", max_batch)
    if threads is not None:
        _check_count("threads", threads)
    bundle = Bundle.open(Path(path), trust=trust, lazy=True)
    models: dict[str, Model] = {}
    try:
        task = checked_task(bundle)
        if not issubclass(task.predictor, kind):
            raise BadUsage(
                f"this is a bundle for {task.name}, whose predictor is {task.predictor.__name__}, not {kind.__name__}",
                where=str(path), hint=f"load_as({task.predictor.__name__}, ...)",
            )  # fmt: skip
        folder = default_cache_folder() if cache is None else Path(cache)
        choices = choose(bundle, target=target, runtime=runtime, variant=variant, device=device)
        options = CompileOptions(threads=threads, cache_dir=folder)
        words: dict[str, str] = {}
        rows = _rows(bundle, choices, max_batch, task.batch_rows)
        for role, choice in choices.items():
            graph, session = compiled(bundle, role, choice, options, max_batch=rows[role])
            models[role] = Model(
                graph=graph, session=session, max_batch=rows[role], why=choice.why, passed_over=choice.refused
            )
            if self_check:
                words[role] = _self_check(bundle, graph, session, folder, max_batch=rows[role])
        with task_code(task, "open", where=str(path)):
            opened = task.open(Loaded(bundle=bundle, models=models, color=color, self_check=_words(words)))
        assert isinstance(opened, kind)  # so it was, before anything was compiled
        return opened
    except BaseException:
        for model in models.values():
            model.session.close()
        bundle.close()
        raise


def refused(path: Path | str) -> dict[str, str]:
    """By runtime that is here, why `load` refuses the bundle there unless a variant is named.

    That is a wrong answer to the golden sample, or int8 that would not run as int8, or no graph that it compiles.
    Runtimes that no graph was made for are not in it.
    """
    out = {}
    for runtime in registry.runtimes():
        if runtime.probe().usable:
            try:
                load(path, runtime=runtime.name).close()
            except NotThere:
                if why := _refused_by(path, runtime.name):
                    out[runtime.name] = why
            except EdgeError as exc:
                out[runtime.name] = str(exc.args[0])
    return out


def _refused_by(path: Path | str, runtime: str) -> str:
    """What a runtime said when it did not compile a graph of the bundle at packing, "" = it compiled all of its."""
    with Bundle.open(Path(path), trust="off", lazy=True) as bundle:
        return next((graph.refused[runtime] for graph in bundle.manifest.graphs if runtime in graph.refused), "")


def _rows(
    bundle: Bundle, choices: Mapping[str, Choice], max_batch: int | None, of_task: Mapping[str, int]
) -> dict[str, int]:
    """By role, the most rows of one call: `max_batch`, or what its graph was exported for where that is less. of_task:
    by role, in place of a `max_batch` of None.

    Of several roles one may run row by row beside a batch; a number that no graph takes is for `options_for` to refuse.
    """
    graphs = {role: graph_of(bundle, role, choice.runtime, choice) for role, choice in choices.items()}
    if max_batch is None:
        wanted = {role: of_task.get(role, 1) for role in graphs}
        return {role: min(wanted[role], graph.axes.get(BATCH, wanted[role])) for role, graph in graphs.items()}
    most = max((graph.axes[BATCH] for graph in graphs.values() if BATCH in graph.axes), default=max_batch)
    if max_batch > most:
        return dict.fromkeys(graphs, max_batch)
    return {role: min(max_batch, graph.axes.get(BATCH, max_batch)) for role, graph in graphs.items()}


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadUsage(f"{name} is a number of at least 1, not {value!r}")


def checked_task(bundle: Bundle) -> Task:
    """The task of a bundle, after a check of its settings and tensors. Raises BadBundle."""
    where = str(bundle.path)
    task = tasks.task(bundle.manifest.task, where=where)
    if missing := [role for role in task.roles_in(bundle) if not any(g.role == role for g in bundle.manifest.graphs)]:
        raise BadBundle(f"a bundle for {task.name} needs a graph for {missing[0]}", where=where, hint="Export it again")
    setup = Setup.of(bundle, task.settings)
    with task_code(task, "check", where=where):
        task.check(setup, where=where)
    return task


def _words(by_role: Mapping[str, str]) -> str:
    if len(by_role) == 1:
        return next(iter(by_role.values()))
    return "; ".join(f"{role}: {words}" for role, words in by_role.items())


def choose(
    bundle: Bundle, *, target: str | None = None, runtime: str | None = None, variant: VariantWanted = None,
    device: str | None = None,
) -> dict[str, Choice]:  # fmt: skip
    """For each role, in the task's order, which graph on which runtime and device; arguments as of `load`.

    Runtimes are probed lazily, in the profile's order: a probe imports the vendor's package, which takes longer than
    everything else in `load`.
    """
    roles = tasks.task(bundle.manifest.task, where=str(bundle.path)).roles_in(bundle)
    wanted = _by_role(variant, roles)
    probed: dict[str, Availability] = {}

    def found(name: str) -> Availability:
        if name not in probed:
            probed[name] = registry.runtime(name).probe()
        return probed[name]

    if target:
        profile = targets.named(target)
    else:
        looked_at = (runtime,) if runtime else registry.of_gpus() if device is None else ()
        profile = targets.detect(probe.cpu(), [found(name) for name in looked_at], device=device)

    def fault(role: str, name: str, option: VariantOption) -> str:
        return known_fault(bundle, graph_of(bundle, role, name, option), found(name))

    def choice(role: str) -> Choice:
        options = [
            VariantOption(variant=g.variant, layout=g.layout, runtimes=g.runtimes)
            for g in bundle.manifest.graphs if g.role == role
        ]  # fmt: skip
        asked = wanted.get(role)

        def chosen() -> Choice:
            return targets.choose(
                options, profile, tuple(probed.values()), variant=asked, runtime=runtime, device=device,
                fault=partial(fault, role),
            )  # fmt: skip

        for place in targets.places_for(profile, runtime, device):
            if found(place.runtime).usable:
                with contextlib.suppress(NotThere):  # try the next one; the call below raises with all reasons
                    return chosen()
        return chosen()

    return {role: choice(role) for role in roles}


def known_fault(bundle: Bundle, graph: Graph, runtime: Availability, cpu: CpuFacts | None = None) -> str:
    """Why a runtime answers this graph wrongly on a CPU whatever is set, or did not compile it when the bundle was
    packed, in words; "" = nothing of that kind is known. cpu: None = this machine's."""
    if why := graph.refused.get(runtime.runtime):
        return f"it refused the graph when the bundle was packed: {why}"
    return faults.wrong_here(runtime, graph.layout, lambda: read_facts(bundle.graph(graph.name), where=graph.name), cpu)


def _by_role(variant: VariantWanted, roles: tuple[str, ...]) -> dict[str, str]:
    if variant is None:
        return {}
    if isinstance(variant, str):
        return dict.fromkeys(roles, variant)
    if not isinstance(variant, Mapping) or not all(isinstance(one, str) for pair in variant.items() for one in pair):
        raise BadUsage(
            f"variant is a name, or names by role, not {variant!r}", hint=f'variant="int8", or {{"{roles[0]}": "int8"}}'
        )
    if unknown := sorted(set(variant) - set(roles)):
        raise BadUsage(f"there is no role {unknown[0]}", hint=f"One of {', '.join(roles)}")
    return dict(variant)


def compiled(
    bundle: Bundle, role: str, choice: Choice, options: CompileOptions, *, max_batch: int = 1
) -> tuple[Graph, Session]:
    """The graph of `choice` and its session. options: device, name, axes and int8 count are filled in here."""
    graph = graph_of(bundle, role, choice.runtime, choice)
    return graph, registry.runtime(choice.runtime).compile(
        bundle.graph(graph.name), options_for(graph, choice.runtime, options, device=choice.device, max_batch=max_batch)
    )


def options_for(
    graph: Graph, runtime: str, options: CompileOptions, *, device: str, max_batch: int = 1
) -> CompileOptions:
    """`options` for one graph of a bundle. max_batch: rows of the batch axis; other free axes go to their maximum.

    Raises BadUsage for more rows than the graph was exported for.
    """
    most = graph.axes.get(BATCH)
    if most is not None and max_batch > most:
        raise BadUsage(f"max_batch is {max_batch}, the bundle was exported for up to {most}", where=graph.name)
    axes = {name: size for name, size in graph.axes.items() if name != BATCH}
    return replace(
        options, device=device, graph_name=graph.name, axes=axes if most is None else {**axes, BATCH: max_batch},
        int8_convolutions=graph.int8_ran.get(runtime, graph.int8_planned),
    )  # fmt: skip


def graph_of(bundle: Bundle, role: str, runtime: str, wanted: Choice | VariantOption) -> Graph:
    """The graph of a role with the variant and layout of `wanted`, as `runtime` takes it."""
    for graph in bundle.manifest.graphs:
        asked = (graph.role, graph.variant, graph.layout) == (role, wanted.variant, wanted.layout)
        if asked and targets.takes(runtime, graph):
            return graph
    raise BadBundle(f"no graph {wanted.variant} in layout {wanted.layout} for {role}", where=str(bundle.path))


def _self_check(bundle: Bundle, graph: Graph, session: Session, cache: Path, *, max_batch: int) -> str:
    """Replay the strongest golden sample when this bundle first meets this runtime and these settings."""
    if not bundle.manifest.golden:
        return "not done: the bundle has no golden samples"
    e = session.explain()
    here = (
        "|".join((bundle.digest, graph.name, __version__, e.runtime, e.version, e.device, e.precision))
        + f"|{e.threads} threads|batch {max_batch}|{probe.cpu().identity}"
    )
    memory = cache / "self-check" / f"{hashlib.sha256(here.encode()).hexdigest()[:32]}.json"
    try:
        own_folder(cache)  # a cache that other users can write is not trusted
        remembered = json.loads(memory.read_text("utf-8"))
        if remembered["of"] == here:
            return f"passed, remembered ({remembered['words']})"
    except (NotThere, NotTrusted, OSError, ValueError, KeyError, TypeError):
        pass  # nothing remembered, or unreadable: check again
    checks = check_session(bundle, graph, session, strongest_only=True)
    worst = max((c.relative for c in checks), default=0.0)
    for c in checks:
        if not c.passed:
            raise CheckFailed(
                f"{e.runtime} {e.version} computes {graph.name} wrongly here: {c.output} is off by {c.worst:.3g}, "
                f"allowed {c.allowed:.3g}" + (f"; all values by {c.distance:.0%}" if c.allowed_distance else ""),
                where=str(bundle.path),
                hint=f"Try {_other_variants(bundle, graph)}another runtime; edge-sdk verify shows which of them answer "
                "rightly",
            )  # fmt: skip
    words = f"{len(checks)} outputs within {worst:.1e} of the golden sample"
    try:
        own_folder(cache)
        memory.parent.mkdir(exist_ok=True)
        atomic.write(memory, json.dumps({"of": here, "words": words}))
    except (NotThere, NotTrusted, OSError, CantWrite) as exc:
        # shared or read-only cache, full disk: check again next time
        return f"passed ({words}), not remembered: {exc}"
    return f"passed ({words})"


def _other_variants(bundle: Bundle, graph: Graph) -> str:
    """As words of a hint: "--variant fp32 or int8-w7, or "; nothing where the role has one variant."""
    there = {other.variant for other in bundle.manifest.graphs if other.role == graph.role} - {graph.variant}
    names = sorted(there, key=lambda name: (name != "fp32", name))
    return f"--variant {' or '.join(names)}, or " if names else ""
