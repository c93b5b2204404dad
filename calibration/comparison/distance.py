"""How far int8 graphs are from the float graph on the compared samples. Knows no engine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from onnx import ModelProto

from edge_sdk.calibration.comparison import fidelity
from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.calibration.prepare import Prepared
from edge_sdk.tensors import Array


def errors(prepared: Prepared, made: Sequence[Int8Graph]) -> dict[str, float]:
    """By output, by the letter of the standard: the largest over the plans, as `of_answers`."""
    found: dict[str, float] = {}
    for one in made:
        for name, error in of_model(prepared, one.model).items():
            found[name] = max(error, found.get(name, 0.0))
    return found


def of_model(prepared: Prepared, model: ModelProto, first: int | None = None) -> dict[str, float]:
    """By output, of one graph; on the first compared samples alone, or on all of them."""
    return of_answers(prepared, fidelity.outputs(model, prepared.compared[:first], prepared.options.threads))


def of_answers(prepared: Prepared, got: Sequence[Mapping[str, Array]]) -> dict[str, float]:
    """By output, of what a runtime answered to the first compared samples, as many as it was given. Infinite where a
    shape differs, since it depends on the values then: what can't be compared is not near, and no bound is known to
    hold for it. Without outputs of which the float graph's own are empty or zero on every sample."""
    wanted = prepared.wanted[: len(got)]
    found = dict(fidelity.errors(wanted, got)[0])
    for name in wanted[0] if wanted else ():
        if any(w[name].shape != g[name].shape for w, g in zip(wanted, got, strict=True)):
            found[name] = math.inf
    return found


def worst(errors: Mapping[str, float]) -> float:
    """The largest error of any output, 0 of none."""
    return max(errors.values(), default=0.0)
