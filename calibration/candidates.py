"""Every engine with every method, tried and measured; per variant the nearest to the float graph is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from edge_sdk.calibration import fidelity
from edge_sdk.calibration.engines import ENGINES, Candidate, Engine
from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.calibration.prepare import Prepared
from edge_sdk.calibration.report import Attempt
from edge_sdk.calibration.usage import Usage, measured
from edge_sdk.errors import EdgeError, NotThere
from edge_sdk.progress import Progress, silent
from edge_sdk.tensors import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept:
    """By variant, its graphs; attempts: all that were tried, in that order."""

    graphs: Mapping[str, Sequence[Int8Graph]]
    attempts: tuple[Attempt, ...]


def best(
    prepared: Prepared, wanted: Sequence[Mapping[str, Array]], exclude: Sequence[str], progress: Progress = silent
) -> Kept:
    """Try all candidates of the options for each int8 variant. wanted: what the float graph answers on
    `prepared.compared`.

    A candidate that raises is passed over as long as another one works; the first error of all is raised otherwise.
    NotThere where none of the engines is installed.
    """
    engines = _installed(prepared)
    todo = [
        (v, engine, mode)
        for v in prepared.options.int8_variants
        for engine in engines
        for mode in engine.modes(prepared)
    ]
    several = len(prepared.options.range_methods) > 1 or len(todo) > len(prepared.options.int8_variants)
    graphs: dict[str, Sequence[Int8Graph]] = {}
    attempts: list[Attempt] = []
    failed: dict[str, EdgeError] = {}
    for number, (variant, engine, mode) in enumerate(todo):
        if several:
            progress(number, len(todo), f"{variant} by the engine {engine.name}{mode and f', {mode}'}")
        try:
            for attempt, made in _tried(prepared, engine, mode, variant, exclude, wanted if several else ()):
                kept = next((one for one in attempts if one.variant == variant and one.kept), None)
                if made and (kept is None or _worst(attempt.errors) < _worst(kept.errors)):
                    graphs[variant] = made
                    attempts = [replace(one, kept=one.kept and one.variant != variant) for one in attempts]
                    attempt = replace(attempt, kept=True)
                attempts.append(attempt)
        except EdgeError as exc:
            failed.setdefault(variant, exc)
            attempts.append(_attempt(Candidate(engine=engine.name, mode=mode, ranges=""), variant, why=str(exc)))
    if lost := next((exc for variant, exc in failed.items() if variant not in graphs), None):
        raise lost
    if several:
        progress(len(todo), len(todo), "candidates")
    return Kept(graphs=graphs, attempts=tuple(attempts))


def _installed(prepared: Prepared) -> list[Engine]:
    engines = [ENGINES[name] for name in dict.fromkeys(prepared.options.engines)]
    here = [engine for engine in engines if not engine.missing()]
    if not here:
        raise NotThere(engines[0].missing(), hint="Take the engine that needs nothing more: portable")
    return here


def _tried(
    prepared: Prepared, engine: Engine, mode: str, variant: str, exclude: Sequence[str],
    wanted: Sequence[Mapping[str, Array]],
) -> Iterator[tuple[Attempt, list[Int8Graph]]]:  # fmt: skip
    """Each candidate of one mode, measured. wanted: empty where there is nothing to choose."""
    candidates = engine.graphs(prepared, mode, variant, exclude)
    while True:
        with measured() as usage:
            ranges, made = next(candidates, (None, []))
        if ranges is None:
            return
        candidate = Candidate(engine=engine.name, mode=mode, ranges=ranges)
        errors = _errors(prepared, made, wanted) if wanted else {}
        yield _attempt(candidate, variant, errors, usage), made


def _errors(prepared: Prepared, made: Sequence[Int8Graph], wanted: Sequence[Mapping[str, Array]]) -> dict[str, float]:
    """By output, the largest over the plans."""
    found: dict[str, float] = {}
    for one in made:
        got = fidelity.outputs(one.model, prepared.compared, prepared.options.threads)
        for name, error in fidelity.errors(wanted, got)[0].items():
            found[name] = max(error, found.get(name, 0.0))
    return found


def _worst(errors: Mapping[str, float]) -> float:
    return max(errors.values(), default=0.0)


def _attempt(
    candidate: Candidate, variant: str, errors: Mapping[str, float] | None = None, usage: Usage | None = None, *,
    why: str = "",
) -> Attempt:  # fmt: skip
    return Attempt(
        variant=variant, engine=candidate.engine, mode=candidate.mode, ranges=candidate.ranges, errors=errors or {},
        seconds=usage.seconds if usage else 0.0, peak_bytes=usage.peak_bytes if usage else None, why=why,
    )  # fmt: skip
