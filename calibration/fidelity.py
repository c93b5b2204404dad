"""Is the int8 graph still the float graph? Differences on calibration samples, and where they begin. Knows no plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from onnx import ModelProto

from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.observe import Feeds, Reader
from edge_sdk.calibration.ops import DEQUANTIZE
from edge_sdk.tensors import Array

LARGEST_ERROR = 0.2
"""Relative L2 difference on its own calibration samples from which an int8 graph counts as another graph."""
_SAME = 1e-3


def relative(wanted: Sequence[Array], got: Sequence[Array]) -> float:
    """Relative L2 difference over all samples; the plain L2 difference where everything wanted is zero.

    Infinite values must be the same ones: they count as no difference then, else as an infinite one.
    """
    gap = norm = 0.0
    for w, g in zip(wanted, got, strict=True):
        if w.shape != g.shape:
            return float("inf")
        w64, g64 = w.astype(np.float64), g.astype(np.float64)
        odd = ~np.isfinite(w64)
        if not np.array_equal(w64[odd], g64[odd], equal_nan=True) or not np.isfinite(g64[~odd]).all():
            return float("inf")
        gap += float(np.sum((w64[~odd] - g64[~odd]) ** 2))
        norm += float(np.sum(w64[~odd] ** 2))
    return float(np.sqrt(gap / norm)) if norm > 0.0 else float(np.sqrt(gap))


def outputs(model: ModelProto, samples: Iterable[Feeds], threads: int | None) -> list[dict[str, Array]]:
    """What a graph answers by the letter of the standard, a sample at a time."""
    reader = Reader.of_outputs(model, threads=threads)
    return [reader.run(feeds, where=f"compared sample {number}") for number, feeds in enumerate(samples)]


def errors(wanted: Sequence[Mapping[str, Array]], got: Sequence[Mapping[str, Array]]) -> dict[str, float]:
    """Relative difference by output."""
    names = wanted[0] if wanted else ()
    return {name: relative([w[name] for w in wanted], [g[name] for g in got]) for name in names}


def comparable(wanted: Sequence[Mapping[str, Array]], name: str) -> bool:
    """Whether a relative difference of this output means anything: real numbers that are not all zero.

    A class index or a mask turns whole where its score moves by little.
    """
    arrays = [one[name] for one in wanted]
    return all(a.dtype.kind == "f" for a in arrays) and any(bool(a.any()) for a in arrays)


def same_answers(left: ModelProto, right: ModelProto, sample: Feeds, threads: int | None) -> bool:
    """Whether two float graphs give the same real outputs on one sample, up to the rounding of float32."""
    a, b = (outputs(model, [sample], threads)[0] for model in (left, right))
    return all(relative([a[name]], [b[name]]) <= _SAME for name in a if a[name].dtype.kind == "f" and a[name].size)


def first_bad_layer(model: ModelProto, quantized: ModelProto, samples: Sequence[Feeds], threads: int | None) -> str:
    """The first node of the float graph whose output is off by more than LARGEST_ERROR in the quantized graph."""
    real, made = Index.of(model), Index.of(quantized)
    there = {}  # tensor of the float graph -> what stands for it in the quantized one
    for node in made.model.graph.node:
        source = made.producer.get(node.input[0]) if node.op_type == DEQUANTIZE else None
        if source is not None and source.input[0] in real.producer:
            there[source.input[0]] = node.output[0]
    for name in real.producer:
        if name not in there and name in made.producer and real.types.get(name) == 1:
            there[name] = name
    names = [name for node in model.graph.node for name in node.output if name in there]
    ours, theirs = (
        Reader(model, tuple(names), optimised=False, threads=threads),
        Reader(quantized, tuple(there[name] for name in names), optimised=False, threads=threads),
    )
    runs = [(ours.run(feeds), theirs.run(feeds)) for feeds in samples]
    for name in names:
        wanted, got = [a[name] for a, _ in runs], [b[there[name]] for _, b in runs]
        if wanted[0].dtype.kind == "f" and any(map(np.any, wanted)) and relative(wanted, got) > LARGEST_ERROR:
            return real.producer[name].name
    return ""
