"""How many convolutions and products a runtime really runs in int8, by compiling. Knows no plan and no samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edge_sdk.calibration.report import Variant
from edge_sdk.errors import BadInput, NotThere
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions

_LAYOUT_OF = {"onnxruntime": "conv-q-relu-q", "openvino": "conv-relu-q"}
"""What can be compiled where models are exported, with the layout that it likes best. TensorRT needs a GPU."""


def with_true_counts(variants: Sequence[Variant]) -> tuple[list[Variant], list[str]]:
    """int8 variants that claim no more than the runtimes here ran, and notes on what they did not run or take.

    A variant of which nothing runs in int8 is left out. Runtimes that are not installed count as their table says.
    """
    kept: list[Variant] = []
    notes: dict[str, None] = {}
    ran: dict[tuple[str, str, tuple[str, ...], int], int | str] = {}
    for variant in variants:
        for runtime, layout in _LAYOUT_OF.items():
            if layout != variant.layout or (variant.runtimes and runtime not in variant.runtimes):
                continue
            # Structure, not weights, decides: int8 and int8-w7 of one plan are alike.
            key = (runtime, layout, variant.runtimes, variant.int8_convolutions)
            found = ran[key] if key in ran else ran.setdefault(key, _ran(runtime, variant.graph))
            variant, note = _limited(variant, runtime, found)
            if note:
                notes[note] = None
        if variant.int8_convolutions or variant.layout == "plain":
            kept.append(variant)
    return kept, list(notes)


def _ran(runtime: str, graph: bytes) -> int | str:
    """A count, or why the runtime does not take the graph; -1: the runtime is not here."""
    try:
        session = registry.runtime(runtime).compile(graph, CompileOptions(threads=1))
    except NotThere:
        return -1
    except BadInput as exc:
        return str(exc)
    try:
        return session.explain().layers_by_precision.get("i8", 0)
    finally:
        session.close()


def _limited(variant: Variant, runtime: str, found: int | str) -> tuple[Variant, str]:
    if isinstance(found, str):
        others = tuple(one for one in variant.runtimes or ("tensorrt", "openvino") if one != runtime)
        count = variant.int8_convolutions if others else 0
        return replace(variant, runtimes=others, int8_convolutions=count), f"not for {runtime}: {found}"
    if found < 0 or found >= variant.int8_convolutions:
        return variant, ""
    note = f"{runtime} runs {found} of {variant.int8_convolutions} int8 operators in int8, the rest in float"
    return replace(variant, int8_convolutions=found), note
