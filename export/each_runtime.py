"""Does one piece of work with every variant of a graph on every runtime that is here. Knows sessions; no task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias, TypeVar

from edge_sdk.calibration import Variant
from edge_sdk.counted import listed
from edge_sdk.errors import EdgeError
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes import faults as known_faults
from edge_sdk.runtimes import registry, targets
from edge_sdk.runtimes.onnx_file import read_facts
from edge_sdk.runtimes.protocol import CompileOptions, Runtime, Session

T = TypeVar("T")
Tick: TypeAlias = Callable[[], None]
"""Called once for each sample that is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RanOn:
    """One variant in one layout on one runtime, and what ran. convolutions: how many operators (convolutions and matrix
    products) in which type, in words.

    size_bytes: of the graph. problem: why it could not run, "" = it did; the facts are then unknown. unusable: the
    known fault that makes its answers wrong on this CPU, so that `load` does not take it here; "" = none is known.
    """

    variant: str
    layout: str
    runtime: str
    version: str = ""
    device: str = ""
    precision: str = ""
    convolutions: str = ""
    threads: int = 0
    size_bytes: int = 0
    problem: str = ""
    unusable: str = ""

    def facts(self) -> dict[str, Any]:
        """These fields alone, for a row that adds its own."""
        return {one.name: getattr(self, one.name) for one in fields(RanOn)}

    def ran(self) -> str:
        """Device, and the types that its convolutions and products ran in; where a runtime doesn't say those, the
        graph's precision. Or the problem."""
        kinds = f"operators: {self.convolutions}" if self.convolutions else self.precision
        return self.problem or f"{self.device}, {kinds}{'; load does not use this graph here' * bool(self.unusable)}"


def faults(rows: Iterable[RanOn]) -> list[str]:
    """A note for each row that a known fault makes wrong."""
    return [
        f"{row.variant} on {row.runtime} is wrong on this CPU by a known fault, so load does not use it here: "
        f"{row.unusable}"
        for row in rows if row.unusable
    ]  # fmt: skip


def left_out(rows: Iterable[RanOn]) -> str:
    """What a summary of the graphs that `load` uses here leaves out: a part of a sentence, "" = nothing."""
    names = list(dict.fromkeys(f"{row.variant} on {row.runtime}" for row in rows if row.unusable))
    return f"without {listed(names, 'and')}, which load does not use here" if names else ""


def on_each_runtime(
    variants: Sequence[Variant], samples: int, work: Callable[[Session, Variant, Tick], T], *, doing: str,
    threads: int | None = None, axes: Mapping[str, int] | None = None, progress: Progress = silent,
) -> Iterator[tuple[RanOn, T | None]]:  # fmt: skip
    """What `work(session, variant, tick)` answers, in the layout that `load` takes on each runtime; fp32 comes first
    where `variants` have it first. None: it could not run there, which is a row that says so and ends nothing.

    samples: how many ticks `work` makes, for the progress. doing: such as "scoring". threads, axes: as in
    `CompileOptions`.
    """
    present = [runtime for runtime in registry.runtimes() if runtime.probe().usable]
    jobs = [(v, r) for v in variants for r in present if targets.taken(variants, v.variant, r.name) is v]
    for number, (variant, runtime) in enumerate(jobs):
        done = number * samples

        def tick(note: str = f"{doing} {variant.variant} on {runtime.name}") -> None:
            nonlocal done
            done += 1
            progress(done, len(jobs) * samples, note)

        options = CompileOptions(
            graph_name=variant.variant, threads=threads, int8_convolutions=variant.int8_convolutions, axes=axes or {}
        )
        yield _on(variant, runtime, options, work, tick)


def _on(
    variant: Variant, runtime: Runtime, options: CompileOptions, work: Callable[[Session, Variant, Tick], T], tick: Tick
) -> tuple[RanOn, T | None]:
    blank = RanOn(
        variant=variant.variant, layout=variant.layout, runtime=runtime.name, unusable=_unusable(variant, runtime)
    )
    try:
        session = runtime.compile(variant.graph, options)
    except EdgeError as exc:
        return replace(blank, problem=str(exc)), None
    try:
        found = work(session, variant, tick)
        e = session.explain()
        convolutions = ", ".join(f"{n} {kind}" for kind, n in sorted(e.layers_by_precision.items()))
        ran = replace(
            blank, version=e.version, device=e.device, precision=e.precision, threads=e.threads,
            convolutions=convolutions, size_bytes=len(variant.graph),
        )  # fmt: skip
        return ran, found
    except EdgeError as exc:
        return replace(blank, problem=str(exc)), None
    finally:
        session.close()


def _unusable(variant: Variant, runtime: Runtime) -> str:
    return known_faults.wrong_here(
        runtime.probe(), variant.layout, lambda: read_facts(variant.graph, where=variant.variant)
    )
