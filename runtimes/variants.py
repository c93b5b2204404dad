"""The one table of variants: what the graphs of a bundle are called and what tells them apart. Pure data, no graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TOP = 127
"""Largest magnitude of an int8 number here: -128 is never written, so that negation is exact."""
SAFE_TOP = 64
"""Largest magnitude of a weight for which two products with 255 fit the 16-bit sums of CPUs without VNNI; with 65 they
do not (specs/runtimes.md, section 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One variant.

    weight_limit: the largest magnitude of its int8 weights; 0 = no int8. relative: how far a runtime may be from the
    ONNX standard's result by default, relative to the largest value; absolute: beside it.
    distance: or, how far all values of an output together may be, as a relative L2 difference; 0 = that is not asked.
    """

    name: str
    what: str
    weight_limit: int = 0
    absolute: float
    relative: float
    distance: float = 0.0


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(name="fp32", what="float32", absolute=1e-6, relative=1e-4),
        Kind(name="fp16", what="float16 where its range allows", absolute=1e-5, relative=2e-2),
        # int8: kernels round ties differently, and a network passes each such step on: of 500 random graphs the 99th
        # percentile is about 10 % in a single output value (docs/results/random_graphs.json).
        Kind(name="int8", what="int8 weights and activations", weight_limit=TOP, absolute=1e-6, relative=0.1,
            distance=0.1,
        ),
        Kind(
            name="int8-w7", what="int8 with weights in [-64, 64], for CPUs without VNNI", weight_limit=SAFE_TOP,
            absolute=1e-6, relative=0.1, distance=0.1,
        ),
    )
}  # fmt: skip
"""By name, float32 first."""
MADE_BY_DEFAULT = ("int8", "int8-w7", "fp16")
"""What calibration makes besides fp32, unless others are asked for."""


def is_int8(variant: str) -> bool:
    """Whether a variant is an int8 one."""
    return variant in KINDS and KINDS[variant].weight_limit > 0
