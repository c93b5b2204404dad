"""What a runtime ran limits what may be asked of it; what was planned stays what was planned."""

from __future__ import annotations

import pytest

from edge_sdk.calibration.counts import _limited
from edge_sdk.calibration.report import LayoutName, Variant

A: LayoutName = "conv-relu-q"
B: LayoutName = "conv-q-relu-q"


def variant(layout: LayoutName, *runtimes: str) -> Variant:
    return Variant(
        variant="int8", layout=layout, graph=b"", int8_convolutions=4, int8_operators=4, runtimes=runtimes, plan="p"
    )


@pytest.mark.parametrize(("found", "asked"), [(-1, 4), (3, 3), (4, 4), (5, 4)])
def test_no_more_is_asked_for_than_ran_and_the_plan_stays(found: int, asked: int) -> None:
    made, note = _limited(variant(B), "onnxruntime", found)
    assert made is not None
    assert (made.int8_convolutions, made.int8_operators, made.runtimes) == (asked, 4, ())
    assert note == ("" if found != 3 else "onnxruntime runs 3 of 4 planned int8 operators in int8, the rest in float")


@pytest.mark.parametrize("found", [0, "it refuses Foo"])
@pytest.mark.parametrize(
    ("made", "runtime", "left"),
    [
        (variant(A), "openvino", ("tensorrt",)),
        (variant(A, "openvino", "tensorrt"), "openvino", ("tensorrt",)),
        (variant(A, "openvino"), "openvino", None),
        (variant(B), "onnxruntime", None),
        (variant(B, "onnxruntime"), "onnxruntime", None),
    ],
)
def test_a_runtime_that_runs_nothing_in_int8_costs_the_others_nothing(
    found: int | str, made: Variant, runtime: str, left: tuple[str, ...] | None
) -> None:
    limited, note = _limited(made, runtime, found)
    assert (None if limited is None else limited.runtimes) == left
    assert limited is None or (limited.int8_convolutions, limited.int8_operators) == (4, 4)
    assert note.startswith(f"not for {runtime}: ")
