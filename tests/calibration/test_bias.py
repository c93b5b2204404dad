"""A convolution's bias reaches the int8 graph, whoever makes it: an initializer, a Constant, or other nodes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from calibration_nets import Builder, pictures, relative, run

from edge_sdk.calibration import QuantizeOptions, quantize

LARGE = np.full(4, 5.0, np.float32)
"""Beside it the rest of the output is small: a graph that loses it is off by almost everything."""

SOURCES: dict[str, Callable[[Builder, str], str]] = {
    "initializer": lambda b, x: b.constant(LARGE),
    "Reshape": lambda b, x: b.op("Reshape", b.constant(LARGE.reshape(1, 4, 1, 1)), b.constant(np.array([4]))),
    "Cast of half": lambda b, x: b.op("Cast", b.constant(LARGE.astype(np.float16)), to=1),
    "Add of two": lambda b, x: b.op("Add", b.constant(LARGE), b.constant(LARGE)),
    "Identity": lambda b, x: b.op("Identity", b.constant(LARGE)),
    "Constant": lambda b, x: b.op("Constant", value_floats=LARGE.tolist()),
    "the picture": lambda b, x: b.op(
        "Add", b.constant(LARGE), b.op("ReduceMean", b.op("Abs", x), axes=[0, 1, 2, 3], keepdims=0)
    ),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_no_bias_gets_lost(source: str, corrected: bool, op: str) -> None:
    b = Builder(np.random.default_rng(0))
    x = b.picture(normalised=True)
    shape = (4, 3, 1, 1) if op == "Conv" else (3, 4, 1, 1)
    weight = b.constant((b.rng.standard_normal(shape) * 0.2).astype(np.float32))
    graph = b.model({"out": b.op(op, x, weight, SOURCES[source](b, x))}).SerializeToString()
    options = QuantizeOptions(variants=("int8",), first_conv="int8", bias_correction=corrected, threads=1)
    made = quantize(graph, pictures(3), options=options)
    for feeds in pictures(2, seed=5):
        for variant in made.variants:
            assert relative(run(variant.graph, feeds)["out"], run(graph, feeds)["out"]) < 0.03
