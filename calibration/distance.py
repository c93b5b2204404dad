"""How far int8 graphs are from the float graph on the compared samples. Knows no engine."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto

from edge_sdk.calibration import fidelity
from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.calibration.prepare import Prepared


def errors(prepared: Prepared, made: Sequence[Int8Graph]) -> dict[str, float]:
    """By output, by the letter of the standard: the largest over the plans, without what can't be compared."""
    found: dict[str, float] = {}
    for one in made:
        for name, error in of_model(prepared, one.model).items():
            found[name] = max(error, found.get(name, 0.0))
    return found


def of_model(prepared: Prepared, model: ModelProto) -> dict[str, float]:
    """By output, of one graph."""
    got = fidelity.outputs(model, prepared.compared, prepared.options.threads)
    return fidelity.errors(prepared.wanted, got)[0]


def worst(errors: dict[str, float]) -> float:
    """The largest error of any output, 0 of none."""
    return max(errors.values(), default=0.0)
