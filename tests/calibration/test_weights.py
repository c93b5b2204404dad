"""Which channel an entry of a weight reads and makes, held against ONNX Runtime; and reports of what may saturate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from broken_graphs import model_of, node
from rule_claims import feeds_for, standard

from edge_sdk.calibration import graphs
from edge_sdk.calibration.report import Variant, layer_rows
from edge_sdk.calibration.rewrite.fold import folded
from edge_sdk.calibration.saturation.loss import unsafe_pairs
from edge_sdk.calibration.statistics.weights import by_output, channels_in, channels_out, inputs_of, outputs_of

CASES: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "Conv": ("Conv", (6, 4, 1, 1), {}),
    "Conv, 2 groups": ("Conv", (6, 4, 1, 1), {"group": 2}),
    "Conv, as many groups as outputs": ("Conv", (2, 4, 1, 1), {"group": 2}),
    "depthwise": ("Conv", (6, 1, 1, 1), {"group": 6}),
    "ConvTranspose": ("ConvTranspose", (4, 6, 1, 1), {}),
    "ConvTranspose, 2 groups": ("ConvTranspose", (4, 3, 1, 1), {"group": 2}),
    "MatMul": ("MatMul", (4, 6), {}),
    "Gemm": ("Gemm", (4, 6), {}),
    "Gemm, transB": ("Gemm", (6, 4), {"transB": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_each_entry_multiplies_and_adds_to_the_channel_that_is_said(case: str) -> None:
    op, shape, attributes = CASES[case]
    rng = np.random.default_rng(0)
    one = node(op, "x w", **attributes)
    weight = rng.integers(-8, 8, shape).astype(np.float32)
    read, made = channels_in(one, shape), channels_out(one, shape)
    x = rng.integers(-8, 8, (1, read, *[1] * (len(shape) - 2))).astype(np.float32)
    wanted = np.zeros(made, np.float32)
    to = np.broadcast_to(outputs_of(one, shape), shape)
    np.add.at(wanted, to, weight * x.ravel()[inputs_of(one, shape)])
    model = model_of([one], {"w": weight}, shape=x.shape)
    answers = standard(model, {"x": x})
    assert answers is not None
    assert np.array_equal(answers[0].ravel(), wanted)
    rows = by_output(one, to)
    assert np.array_equal(rows.reshape(made, -1), np.repeat(np.arange(made)[:, None], weight.size // made, axis=1))


def test_a_grouped_transposed_convolution_is_evaluated_along_the_inputs_that_are_added() -> None:
    """Each output adds up 127 and 0, which is safe; along its outputs the weight holds 127 beside 127."""
    weight = np.array([127, 0, 127, 0], np.int8)[:, None, None, None] * np.ones((4, 2, 1, 1), np.int8)
    constants = {"s": np.float32(0.04), "z": np.int8(0), "w": weight}
    nodes = [
        node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"),
        node("DequantizeLinear", "w s z", "wd"), node("ConvTranspose", "d wd", group=2),
    ]  # fmt: skip
    model = model_of(nodes, constants)
    (row,) = layer_rows(
        model, [Variant(variant="int8", layout="conv-q-relu-q", graph=model.SerializeToString(), int8_convolutions=1)]
    )
    assert row.unsafe_pairs == {"int8": 0.0}
    assert unsafe_pairs(weight) > 0.0  # read along its first axis


def test_a_scale_before_a_convolution_of_as_many_groups_as_outputs_is_folded() -> None:
    """Several inputs for each output: no depthwise one."""
    gain = (1 + np.arange(8, dtype=np.float32)).reshape(1, 8, 1, 1)
    weight = np.arange(8, dtype=np.float32).reshape(2, 4, 1, 1)
    nodes = [node("Relu", "x", "r"), node("Mul", "r k", "m"), node("Conv", "m w", group=2)]
    model = model_of(nodes, {"k": gain, "w": weight}, shape=(1, 8, 4, 4))
    made = folded(graphs.with_types(model))
    assert [one.op_type for one in made.graph.node] == ["Relu", "Conv"]
    before, after = (standard(one, feeds_for(model)) for one in (model, made))
    assert before is not None
    assert after is not None
    assert np.allclose(before[0], after[0], rtol=1e-5, atol=1e-4)
