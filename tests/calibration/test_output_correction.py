"""One gain and one shift per tensor take off what rounding adds on average; nothing else of the graph changes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from calibration_nets import TAIL, Feeds, mobile, pictures, run
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.calibration import Quantized, QuantizeOptions, graphs, quantize
from edge_sdk.calibration.rewrite.clean import tidy
from edge_sdk.calibration.statistics.observe import Reader
from edge_sdk.calibration.statistics.output_correction import GAIN_LIMITS, OutputCorrection, applied, fitted
from edge_sdk.errors import BadUsage

INSIDE = "square"
"""A node of the float tail, between the networks and the map."""


def _scaled(model: onnx.ModelProto, gain: float, shift: float) -> onnx.ModelProto:
    """`model` in which the node INSIDE answers its output * gain + shift."""
    asked = OutputCorrection(node=INSIDE, gain=gain, shift=shift, error_before=0.0, error_after=0.0)
    altered = applied(model, (asked,))
    (before,) = (n for n in altered.graph.node if n.name == INSIDE)
    (after,) = (n for n in altered.graph.node if n.name == f"{INSIDE}/correction/out")
    before.name, after.name = "before", INSIDE
    return altered


def _only(real: onnx.ModelProto, altered: onnx.ModelProto, samples: list[Feeds]) -> OutputCorrection:
    """The correction of the node INSIDE of one quantized graph."""
    (found,) = fitted(real, {"altered": altered}, samples, (INSIDE,), threads=1)["altered"]
    return found


def _error(made: Quantized, samples: list[Feeds], tensor: str) -> float:
    """Mean squared gap of an int8 graph's `tensor` to what the float graph's INSIDE makes."""
    real = tidy(mobile())
    (name,) = (n.output[0] for n in real.graph.node if n.name == INSIDE)
    quantized = graphs.load(made.get("int8-w7", "conv-relu-q").graph)
    ours, theirs = Reader(quantized, (tensor or name,), optimised=False), Reader(real, (name,))
    return float(
        np.mean([np.square(ours.run(s)[tensor or name] - theirs.run(s)[name], dtype=np.float64) for s in samples])
    )


@given(gain=st.floats(0.85, 1.2), shift=st.floats(-2.0, 2.0))
def test_the_match_undoes_a_gain_and_a_shift(gain: float, shift: float) -> None:
    model = tidy(mobile())
    match = _only(model, _scaled(model, gain, shift), pictures(2))
    assert match.gain == pytest.approx(1.0 / gain, rel=1e-3)
    assert match.shift == pytest.approx(-shift / gain, abs=1e-3 * (1.0 + abs(shift)))
    assert match.error_after <= min(match.error_before, 1e-2) + 1e-6


def test_no_sample_is_evaluated_by_the_gain_and_shift_that_were_fitted_on_it() -> None:
    """Of one sample the other half is empty: nothing is known of how well its match does elsewhere."""
    model = tidy(mobile())
    match = _only(model, _scaled(model, 0.9, 1.0), pictures(1))
    assert match.gain == pytest.approx(1.0 / 0.9, rel=1e-3)
    assert match.error_after == match.error_before > 0.01


@pytest.mark.parametrize("gain", [0.1, 10.0])
def test_a_gain_that_no_rounding_explains_is_not_corrected(gain: float) -> None:
    model = tidy(mobile())
    match = _only(model, _scaled(model, gain, 0.0), pictures(2))
    assert not GAIN_LIMITS[0] <= 1.0 / gain <= GAIN_LIMITS[1]
    assert match.gain == 1.0


def test_corrected_variants_are_nearer_to_the_float_graph_and_equal_in_both_layouts() -> None:
    samples = pictures(6)
    plain, corrected = (
        quantize(
            mobile().SerializeToString(),
            samples,
            options=QuantizeOptions(
                variants=("int8-w7",), keep_fp32=TAIL, output_correction=nodes, bias_correction=False, threads=1
            ),
        )
        for nodes in ((), (INSIDE,))
    )
    assert plain.report.output_corrections == {}
    (found,) = corrected.report.output_corrections["int8-w7"]
    assert found.error_after < found.error_before
    assert _error(corrected, samples, f"{INSIDE}/correction/out") < _error(plain, samples, "")
    left, right = (corrected.get("int8-w7", layout).graph for layout in ("conv-relu-q", "conv-q-relu-q"))
    for sample in samples:
        np.testing.assert_array_equal(run(left, sample)["map"], run(right, sample)["map"])


def test_the_node_of_an_output_is_refused() -> None:
    graph = tidy(mobile())
    (last,) = (n.name for n in graph.graph.node if "map" in n.output)
    options = QuantizeOptions(variants=("int8",), keep_fp32=TAIL, output_correction=(last,), threads=1)
    with pytest.raises(BadUsage, match="makes an output"):
        quantize(mobile().SerializeToString(), pictures(1), options=options)
