"""Every engine in every mode with every kind of ranges, tried and measured; per variant the nearest is kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from edge_sdk.calibration.comparison import distance
from edge_sdk.calibration.engines import ENGINES, Engine
from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.calibration.prepare import Prepared
from edge_sdk.calibration.range_search import RangeSearch
from edge_sdk.calibration.report import Attempt
from edge_sdk.calibration.source import Ranges, Source
from edge_sdk.calibration.statistics.ranges import stated
from edge_sdk.calibration.statistics.tuning import tuned
from edge_sdk.calibration.usage import Usage, measured
from edge_sdk.errors import EdgeError, NotThere
from edge_sdk.progress import Progress, silent

log = logging.getLogger(__name__)

NOTHING = "no operator becomes int8"
TUNED = "tuned"
"""Label of ranges that were chosen one tensor at a time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """One way to int8 graphs, tried. attempt: what the report says of it."""

    attempt: Attempt
    source: Source
    ranges: Ranges
    graphs: Sequence[Int8Graph]

    @property
    def error(self) -> float:
        """The largest of any output of the first plan; 0 if it was not measured."""
        return max(self.attempt.errors.values(), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept:
    """By variant, the candidates that worked, the one that is kept first. attempts: all, in the order of their time."""

    candidates: Mapping[str, Sequence[Candidate]]
    attempts: tuple[Attempt, ...]

    @property
    def graphs(self) -> dict[str, Sequence[Int8Graph]]:
        """By variant, of the candidate that is kept."""
        return {variant: found[0].graphs for variant, found in self.candidates.items()}


def best(
    prepared: Prepared, exclude: Sequence[str], progress: Progress = silent, *,
    engines: Mapping[str, Engine] = ENGINES,
) -> Kept:  # fmt: skip
    """Try what the options name for each int8 variant; what is near enough to be worth it is tuned.

    A candidate that raises is passed over as long as another one works; the first error of all is raised otherwise.
    NotThere where none of the engines is installed.
    """
    asked = [engines[name] for name in dict.fromkeys(prepared.options.trials.engines)]
    missing = {engine.name: engine.missing() for engine in asked}
    if all(missing.values()):
        raise NotThere(missing[asked[0].name], hint="Take the engine that needs nothing more: portable")
    ways = [(one, mode) for one in asked if not missing[one.name] for mode in one.modes(prepared)]
    options = prepared.options
    trials = options.trials
    search = options.range_search
    several = len(trials.range_methods) > 1 or len(ways) > 1 or trials.tune_s > 0 or search is not None
    found: dict[str, list[Candidate]] = {}
    attempts: list[Attempt] = []
    for variant in options.int8_variants:
        made: list[Candidate] = []
        failed: list[EdgeError] = []
        attempts += [_attempt(variant, one, "", why=missing[one.name]) for one in asked if missing[one.name]]
        for number, (engine, mode) in enumerate(ways):
            if several:
                progress(number, len(ways), f"{variant} with the {engine.name} engine{mode and f', {mode}'}")
            try:
                tried = list(
                    _tried(prepared, engine, mode, variant, exclude, measure=several or trials.within is not None)
                )
                made += tried
                if not tried:
                    attempts.append(_attempt(variant, engine, mode, why=NOTHING))
            except EdgeError as exc:
                failed.append(exc)
                attempts.append(_attempt(variant, engine, mode, why=str(exc)))
        if failed and not made:
            raise failed[0]
        if made and search is not None:
            nearest = min(made, key=lambda one: one.error)
            try:
                made.append(_searched(prepared, search, nearest, found, progress))
            except EdgeError as exc:
                log.warning(f"{variant}: the range search {search.label} failed and is passed over: {exc}")
                attempts.append(replace(nearest.attempt, ranges=search.label, errors={}, seconds=0.0, why=str(exc)))
        if made and options.trials.tune_s > 0:
            made.append(_tuned(prepared, min(made, key=lambda one: one.error), found, progress))
        if made:
            kept = min(made, key=lambda one: one.error)  # the first of equal ones
            kept = replace(kept, attempt=replace(kept.attempt, kept=True))
            found[variant] = [kept, *(one for one in made if one.graphs is not kept.graphs)]
            attempts += [kept.attempt if one.graphs is kept.graphs else one.attempt for one in made]
    return Kept(candidates=found, attempts=tuple(attempts))


def _tried(
    prepared: Prepared, engine: Engine, mode: str, variant: str, exclude: Sequence[str], *, measure: bool
) -> Iterator[Candidate]:
    """Each candidate of one mode, none where nothing becomes int8. measure: False where there is nothing to choose."""
    with measured() as shared:
        source = engine.source(prepared, mode, variant, exclude)
    for number, label in enumerate(source.labels if source else ()):
        assert source is not None
        with measured() as usage:
            ranges = source.ranges(label)
            graphs = source.graphs(ranges)
        if not graphs:
            return
        if not number:  # what candidates of one mode share counts for their first
            usage.seconds += shared.seconds
            usage.peak_bytes = max(filter(None, (usage.peak_bytes, shared.peak_bytes)), default=None)
        errors = _errors(prepared, graphs) if measure else {}
        attempt = _attempt(variant, engine, mode, label, errors, usage)
        yield Candidate(attempt=attempt, source=source, ranges=ranges, graphs=graphs)


def _tuned(
    prepared: Prepared, start: Candidate, before: Mapping[str, Sequence[Candidate]], progress: Progress
) -> Candidate:
    """`start` with ranges chosen one tensor at a time."""
    with measured() as usage:
        until = time.monotonic() + prepared.options.trials.tune_s
        ranges = _known(TUNED, start, before) or tuned(
            prepared, start.source, start.ranges, until=until, progress=progress
        )
        graphs = start.source.graphs(ranges)
    return _from(prepared, start, TUNED, ranges, graphs, usage)


def _searched(
    prepared: Prepared, search: RangeSearch, start: Candidate, before: Mapping[str, Sequence[Candidate]],
    progress: Progress,
) -> Candidate:  # fmt: skip
    """`start` with ranges from outside. Raises EdgeError where the search does, and BadInput for what is no range."""
    observed = start.source.observed
    with measured() as usage:
        ranges = _known(search.label, start, before)
        if ranges is None:
            minmax = observed.ranges("minmax")
            first, *_ = start.source.graphs(minmax)
            tops = search.tops(observed.model, first, prepared.samples, progress)
            ranges = {**minmax, **{name: stated(observed.seen[name], tops[name]) for name in minmax if name in tops}}
        graphs = start.source.graphs(ranges)
    return _from(prepared, start, search.label, ranges, graphs, usage)


def _known(label: str, start: Candidate, before: Mapping[str, Sequence[Candidate]]) -> Ranges | None:
    """Ranges that another variant of the same source has under this label: ranges of activations hardly depend on the
    weights."""
    source = (start.attempt.engine, start.attempt.mode)
    tried = (one for others in before.values() for one in others)
    return next(
        (one.ranges for one in tried if (one.attempt.ranges, one.attempt.engine, one.attempt.mode) == (label, *source)),
        None,
    )


def _from(
    prepared: Prepared, start: Candidate, label: str, ranges: Ranges, graphs: Sequence[Int8Graph], usage: Usage
) -> Candidate:
    """`start` with other ranges, measured."""
    attempt = replace(
        start.attempt, ranges=label, errors=_errors(prepared, graphs), seconds=usage.seconds,
        peak_bytes=usage.peak_bytes,
    )  # fmt: skip
    return Candidate(attempt=attempt, source=start.source, ranges=ranges, graphs=graphs)


def _errors(prepared: Prepared, made: Sequence[Int8Graph]) -> dict[str, float]:
    """Of the first plan: plans of one source differ far less than candidates do, and each costs as much to run."""
    return distance.errors(prepared, made[:1])


def _attempt(
    variant: str, engine: Engine, mode: str, ranges: str = "", errors: Mapping[str, float] | None = None,
    usage: Usage | None = None, *, why: str = "",
) -> Attempt:  # fmt: skip
    return Attempt(
        variant=variant, engine=engine.name, mode=mode, ranges=ranges, errors=errors or {},
        seconds=usage.seconds if usage else 0.0, peak_bytes=usage.peak_bytes if usage else None, why=why,
    )  # fmt: skip
