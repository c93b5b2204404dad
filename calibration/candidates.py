"""Every engine with every method, tried and measured; per variant the nearest to the float graph is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_sdk.calibration import fidelity
from edge_sdk.calibration.engines import ENGINES, Candidate
from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.calibration.prepare import Prepared
from edge_sdk.calibration.report import Attempt
from edge_sdk.calibration.usage import measured
from edge_sdk.errors import CheckFailed, EdgeError, NotThere
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
    todo = [(name, one) for name in prepared.options.int8_variants for one in _candidates(prepared)]
    several = len(todo) > len(prepared.options.int8_variants)  # else there is nothing to choose
    graphs: dict[str, Sequence[Int8Graph]] = {}
    attempts: list[Attempt] = []
    failed: dict[str, EdgeError] = {}
    for number, (variant, candidate) in enumerate(todo):
        if several:
            progress(number, len(todo), f"{variant} by {candidate}")
        try:
            with measured() as usage:
                made = ENGINES[candidate.engine].graphs(prepared, candidate.method, variant, exclude)
            errors = _errors(prepared, made, wanted) if several else {}
            if not made and graphs.get(variant):
                raise CheckFailed("no operator became int8")
        except EdgeError as exc:
            failed.setdefault(variant, exc)
            attempts.append(_attempt(candidate, variant, why=str(exc)))
            continue
        attempts.append(_attempt(candidate, variant, errors=errors, seconds=usage.seconds, peak_bytes=usage.peak_bytes))
        best_now = next((one for one in attempts if one.variant == variant and one.kept), None)
        if best_now is None or _worst(errors) < _worst(best_now.errors):
            graphs[variant] = made
            attempts = [one.with_kept(False) if one.variant == variant else one for one in attempts]
            attempts[-1] = attempts[-1].with_kept(True)
    if lost := next((exc for variant, exc in failed.items() if variant not in graphs), None):
        raise lost
    if several:
        progress(len(todo), len(todo), "candidates")
    return Kept(graphs=graphs, attempts=tuple(attempts))


def _candidates(prepared: Prepared) -> list[Candidate]:
    engines = [ENGINES[name] for name in prepared.options.engines]
    here = [engine for engine in engines if not engine.missing()]
    if not here:
        raise NotThere(engines[0].missing(), hint="Take the engine that needs nothing more: portable")
    return [Candidate(engine=one.name, method=method) for one in here for method in one.methods(prepared)]


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
    candidate: Candidate, variant: str, *, errors: Mapping[str, float] | None = None, seconds: float = 0.0,
    peak_bytes: int | None = None, why: str = "",
) -> Attempt:  # fmt: skip
    return Attempt(
        variant=variant, engine=candidate.engine, method=candidate.method, errors=errors or {}, seconds=seconds,
        peak_bytes=peak_bytes, why=why,
    )  # fmt: skip
