"""How many convolutions and products a runtime really runs in int8, by compiling. Knows no plan and no samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edge_sdk.calibration.layout import written_for
from edge_sdk.calibration.report import Variant
from edge_sdk.errors import BadInput, NotThere
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions, Runtime


def with_true_counts(variants: Sequence[Variant], axes: Mapping[str, int]) -> tuple[list[Variant], list[str]]:
    """Variants that ask for no more int8 operators than the runtimes here run, and notes on what does not run.

    Only `int8_convolutions` follows what was measured; `int8_planned` stays the plan's. A runtime that refuses the
    graph, or runs none of it in int8, is taken off the variant's runtimes; a variant without any is left out. Runtimes
    that are not installed are taken to run what was planned. axes: as in `CompileOptions`; at sizes that the graph
    can't run with, a runtime would seem to refuse it.
    """
    kept: list[Variant] = []
    notes: dict[str, None] = {}
    ran: dict[tuple[str, tuple[str, ...], int], int | str] = {}
    lost: set[str] = set()  # plans whose first layout lost its runtime, which must not take the second one instead
    for variant in variants:
        if variant.plan in lost and not variant.runtimes:
            variant = replace(variant, runtimes=written_for(variant.layout))
        runtime = _measured_on(variant.layout)
        if not runtime or (variant.runtimes and runtime not in variant.runtimes):
            kept.append(variant)
            continue
        # Structure, not weights, decides: int8 and int8-w7 of one plan are alike.
        key = (runtime, variant.runtimes, variant.int8_planned)
        found = ran[key] if key in ran else ran.setdefault(key, _ran(runtime, variant.graph, axes))
        limited, note = _limited(variant, runtime, found)
        if note:
            notes[note] = None
        if limited is None or (limited.runtimes and runtime not in limited.runtimes):
            lost.add(variant.plan)
        if limited is not None:
            kept.append(limited)
    return kept, list(notes)


def ran_in_int8(runtime: Runtime, graph: bytes | Path, options: CompileOptions) -> int:
    """How many operators the compiled graph has in int8. Raises as `Runtime.compile`."""
    session = runtime.compile(graph, options)
    try:
        return session.explain().int8_operators
    finally:
        session.close()


def _measured_on(layout: str) -> str:
    """The runtime that a layout is measured on: one that is there where models are exported, which GPUs are not."""
    return next((one for one in written_for(layout) if one not in registry.of_gpus()), "")


def _ran(runtime: str, graph: bytes, axes: Mapping[str, int]) -> int | str:
    """A count, or why the runtime does not take the graph; -1: the runtime is not here."""
    try:
        return ran_in_int8(registry.runtime(runtime), graph, CompileOptions(threads=1, axes=axes))
    except NotThere:
        return -1
    except BadInput as exc:
        return str(exc.args[0])  # a part of a sentence of the report, which has its own end


def _limited(variant: Variant, runtime: str, found: int | str) -> tuple[Variant | None, str]:
    """The variant as `runtime` runs it, None if no runtime needs it any more; and a note on what it does not run."""
    if found == 0 or isinstance(found, str):
        why = found or f"it runs none of {variant.int8_planned} planned operators in int8"
        others = tuple(one for one in variant.runtimes or written_for(variant.layout) if one != runtime)
        return replace(variant, runtimes=others) if others else None, f"not for {runtime}: {why}"
    if found < 0 or found >= variant.int8_planned:
        return variant, ""
    note = f"{runtime} runs {found} of {variant.int8_planned} planned int8 operators in int8, the rest in float"
    return replace(variant, int8_convolutions=found), note
