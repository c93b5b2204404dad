"""`load`: from a bundle to the predictor of its task, on the runtime that suits this machine. Knows no picture."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sdk import __version__, atomic
from edge_sdk.bundle.manifest import Graph
from edge_sdk.bundle.signing import Trust
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadBundle, BadUsage, CantWrite, CheckFailed, NotThere, NotTrusted
from edge_sdk.golden import check_session
from edge_sdk.predictors import predictor
from edge_sdk.preprocess import Color
from edge_sdk.runtimes import probe, registry, targets
from edge_sdk.runtimes.cache import default_cache_folder, own_folder
from edge_sdk.runtimes.protocol import Availability, CompileOptions, Session
from edge_sdk.runtimes.targets import Choice, VariantOption

if TYPE_CHECKING:
    from edge_sdk.predictors import Predictor


def load(
    path: Path | str, *, target: str | None = None, runtime: str | None = None, variant: str | None = None,
    device: str | None = None, color: Color = "rgb", threads: int | None = None, max_batch: int = 1,
    trust: Trust = "if-present", cache: Path | None = None,
    self_check: bool = True,
) -> Predictor:  # fmt: skip
    """Opens a bundle, checks it, and compiles the variant that suits this machine.

    target: a target profile's name; None = found from the CPU and the runtimes here. runtime, variant, device: what is
    asked for is what runs, or NotThere says why not; nothing is replaced in silence. color: the order of arrays that
    `predict` gets ("bgr" for OpenCV's). threads: None = the physical cores that this process may use. max_batch: how
    many pictures `predict_batch` runs together. trust: of signatures, see `TrustPolicy`; to require them, give one with
    keys. cache: compile cache; None = the user's cache folder. self_check: replay the strongest golden sample when a
    bundle first meets this device and runtime, and remember it. Raises BadBundle, NotTrusted, NotThere, WrongPrecision,
    CheckFailed (the golden sample came out wrong).
    """
    if color not in ("rgb", "bgr"):
        raise BadUsage(f'color is "rgb" or "bgr", not {color!r}')
    bundle = Bundle.open(Path(path), trust=trust, lazy=True)
    try:
        made_for = predictor(bundle.manifest.task, where=str(path))
        folder = cache or default_cache_folder()
        choice = choose(bundle, target=target, runtime=runtime, variant=variant, device=device)
        options = CompileOptions(threads=threads, max_batch=max_batch, cache_dir=folder)
        graph, session = compiled(bundle, choice, options)
        try:
            checked = _self_check(bundle, graph, session, folder, max_batch=max_batch) if self_check else ""
            return made_for(
                bundle, graph, session, color=color, max_batch=max_batch, why=choice.why, self_check=checked
            )
        except BaseException:
            session.close()
            raise
    except BaseException:
        bundle.close()
        raise


def choose(
    bundle: Bundle, *, target: str | None = None, runtime: str | None = None, variant: str | None = None,
    device: str | None = None,
) -> Choice:  # fmt: skip
    """Which graph on which runtime and device; arguments as of `load`.

    Runtimes are probed in the profile's order and only as far as needed: a probe imports the vendor's package, which
    costs more than everything else in `load`.
    """
    options = [VariantOption(variant=g.variant, layout=g.layout) for g in bundle.manifest.graphs if g.role == "model"]
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
    for place in targets.places_for(profile, runtime, device):
        if found(place.runtime).usable:
            with contextlib.suppress(NotThere):  # the next one may have it; else all of them are told below
                return targets.choose(
                    options, profile, tuple(probed.values()), variant=variant, runtime=runtime, device=device
                )
    return targets.choose(options, profile, tuple(probed.values()), variant=variant, runtime=runtime, device=device)


def compiled(bundle: Bundle, choice: Choice, options: CompileOptions) -> tuple[Graph, Session]:
    """The graph of `choice` and its session. options: device, name and int8 count are filled in from the graph."""
    graph = _graph(bundle, choice)
    filled = replace(options, device=choice.device, graph_name=graph.name, int8_convolutions=graph.int8_convolutions)
    return graph, registry.runtime(choice.runtime).compile(bundle.graph(graph.name), filled)


def _graph(bundle: Bundle, choice: Choice) -> Graph:
    for graph in bundle.manifest.graphs:
        if (graph.variant, graph.layout) == (choice.variant, choice.layout):
            return graph
    raise BadBundle(f"no graph {choice.variant} in layout {choice.layout}", where=str(bundle.path))


def _self_check(bundle: Bundle, graph: Graph, session: Session, cache: Path, *, max_batch: int) -> str:
    """Replays the golden sample with the largest answers when this bundle first meets this runtime as it is set."""
    if not bundle.manifest.golden:
        return "not done: the bundle holds no golden samples"
    told = session.explain()
    here = (
        "|".join((bundle.digest, graph.name, __version__, told.runtime, told.version, told.device, told.precision))
        + f"|{told.threads} threads|batch {max_batch}|{probe.cpu().identity}"
    )
    memory = cache / "self-check" / f"{hashlib.sha256(here.encode()).hexdigest()[:32]}.json"
    try:
        own_folder(cache)  # what others can write says nothing
        remembered = json.loads(memory.read_text("utf-8"))
        if remembered["of"] == here:
            return f"passed, remembered ({remembered['words']})"
    except (NotThere, NotTrusted, OSError, ValueError, KeyError, TypeError):
        pass  # nothing remembered, or not readable: check again
    checks = check_session(bundle, graph, session, strongest_only=True)
    worst = max((c.relative for c in checks), default=0.0)
    for c in checks:
        if not c.passed:
            raise CheckFailed(
                f"{told.runtime} {told.version} answers {graph.name} wrongly here: {c.output} is off by {c.worst:.3g}, "
                f"allowed {c.allowed:.3g}",
                where=str(bundle.path), do="edge-sdk verify shows all of it; another runtime or variant may be right",
            )  # fmt: skip
    words = f"{len(checks)} outputs within {worst:.1e} of the golden sample"
    try:
        own_folder(cache)
        memory.parent.mkdir(exist_ok=True)
        atomic.write(memory, json.dumps({"of": here, "words": words}))
    except (
        NotThere,
        NotTrusted,
        OSError,
        CantWrite,
    ) as exc:  # a shared or read-only cache, a full disk: it is checked again next time
        return f"passed ({words}), not remembered: {exc}"
    return f"passed ({words})"
