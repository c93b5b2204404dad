"""edge-sdk on the same inputs: graphs from `quantize`, answers from its adapters. Knows no complaint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from usual import Feeds

from edge_sdk.calibration import Quantized, QuantizeOptions, quantize
from edge_sdk.runtimes import probe, registry
from edge_sdk.runtimes.protocol import CompileOptions, Session
from edge_sdk.runtimes.variants import is_int8


def variant_here() -> str:
    """The int8 variant that `load` takes on this CPU: with reduced-range weights where 16-bit sums saturate."""
    return "int8" if probe.cpu().adds_in_32_bits else "int8-w7"


def quantized(graph: bytes, samples: Sequence[Feeds], *variants: str) -> Quantized:
    """`quantize` with its defaults."""
    return quantize(graph, samples, options=QuantizeOptions(variants=variants, threads=1))


def graph_of(made: Quantized, variant: str, runtime: str) -> bytes:
    """The graph that a bundle holds for one runtime."""
    layouts = registry.runtime(runtime).int8_layouts if is_int8(variant) else ("plain",)
    return made.get(variant, layouts[0], runtime=runtime).graph


def session(graph: bytes, runtime: str, **options: Any) -> Session:
    """A graph compiled with one thread."""
    return registry.runtime(runtime).compile(graph, CompileOptions(threads=1, **options))


def answer(made: Quantized, variant: str, runtime: str, feeds: Feeds) -> NDArray[Any]:
    """The first output of a variant in one runtime."""
    compiled = session(graph_of(made, variant, runtime), runtime)
    try:
        return np.asarray(next(iter(compiled.run(feeds).values())))
    finally:
        compiled.close()
