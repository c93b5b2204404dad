"""Row L19: a scale of shape [1] is named where ONNX Runtime refuses it, and nowhere else; its mend is taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from broken_graphs import chain, node
from onnx import ModelProto, NodeProto
from rule_claims import feeds_for, onnxruntime_effect, standard

from edge_sdk.calibration.lint.linter import lint
from edge_sdk.calibration.lint.mend import mend

POOL: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
AVERAGE = ("AveragePool", POOL)
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("GlobalAveragePool", {}), ("ReduceMean", {"axes": [2, 3]}), ("MaxPool", POOL), ("GlobalMaxPool", {}),
    ("Relu", {}), ("LeakyRelu", {}), ("Sigmoid", {}), ("HardSwish", {}), ("Softmax", {}),
    ("Transpose", {"perm": [0, 1, 3, 2]}),
]  # fmt: skip
WHOLE = ("GlobalAveragePool", "ReduceMean", "GlobalMaxPool")
"""Nothing is left to average behind these."""
CHAINS = [
    [AVERAGE], *([one] for one in OTHERS), *([one, AVERAGE] for one in OTHERS if one[0] not in WHOLE),
    *([AVERAGE, one] for one in OTHERS),
]  # fmt: skip


def quantized(steps: list[tuple[str, dict[str, Any]]], wide: str) -> ModelProto:
    """Q and DQ on both sides of `steps`. wide: of these four in their order, which have scales of shape [1]."""
    scales = ["s1 z1" if one == "1" else "s z" for one in wide]
    middle: list[NodeProto] = []
    names = ["d", *(f"t{number}" for number in range(len(steps)))]
    for number, (op, attributes) in enumerate(steps):
        middle.append(node(op, names[number], names[number + 1], **attributes))
    return chain(
        node("QuantizeLinear", f"x {scales[0]}", "q"), node("DequantizeLinear", f"q {scales[1]}", "d"),
        *middle,
        node("QuantizeLinear", f"{names[-1]} {scales[2]}", "aq"), node("DequantizeLinear", f"aq {scales[3]}"),
        constants={
            "s": np.float32(0.021), "z": np.int8(0), "s1": np.full(1, 0.021, np.float32), "z1": np.zeros(1, np.int8),
        },
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wide", ["1111", "0000"])
@pytest.mark.parametrize("steps", CHAINS, ids=lambda steps: "-".join(op for op, _ in steps))
def test_named_where_it_is_refused(steps: list[tuple[str, dict[str, Any]]], wide: str) -> None:
    model = quantized(steps, wide)
    feeds = feeds_for(model)
    refused = onnxruntime_effect(model, feeds, standard(model, feeds)) == "refused"
    assert any(one.rule == "L19" for one in lint(model.SerializeToString())) == refused
    made, _ = mend(model)
    assert standard(made, feeds) is not None
    assert onnxruntime_effect(made, feeds, standard(made, feeds)) != "refused"
    assert not {"L19", "L21"} & {one.rule for one in lint(made.SerializeToString())}
