"""What a graph costs: multiply-adds counted by hand, by kind, in float and in int8, at any size of a free axis."""

from __future__ import annotations

import numpy as np
import pytest

from edge_sdk.calibration import QuantizeOptions, graphs, quantize
from edge_sdk.calibration.macs import cost
from edge_sdk.errors import BadInput
from edge_sdk.export.onnx_graph import GraphBuilder


def net() -> bytes:
    """Each kind once: (N, 3, 8, 8) -> conv 3x3 s2 to 16, depthwise 3x3, 1x1 to 32, tokens x (32, 24), their product."""
    rng = np.random.default_rng(0)
    g = GraphBuilder("kinds")
    x = g.conv(g.input("x", "float32", ("N", 3, 8, 8)), rng.normal(size=(16, 3, 3, 3)), np.zeros(16), name="wide",
               stride=2, pads=(1, 1, 1, 1))  # fmt: skip
    x = g.conv(x, rng.normal(size=(16, 1, 3, 3)), np.zeros(16), name="deep", pads=(1, 1, 1, 1), groups=16)
    x = g.conv(x, rng.normal(size=(32, 16, 1, 1)), np.zeros(32), name="point")
    x = g.node("Reshape", [x, g.constant("shape", np.array([0, 32, 16], np.int64))], name="flat")
    x = g.node("Transpose", [x], name="tokens", attributes={"perm": [0, 2, 1]})
    weight = g.constant("linear/weight", rng.normal(size=(32, 24)).astype(np.float32))
    x = g.node("MatMul", [x, weight], name="linear")
    turned = g.node("Transpose", [x], name="turned", attributes={"perm": [0, 2, 1]})
    g.node("MatMul", [x, turned], name="y")
    g.output("y", "float32", ("N", 16, 16))
    return g.finish()


COUNTED = {
    "conv": 16 * 16 * 3 * 9, "depthwise": 16 * 16 * 9, "conv 1x1": 16 * 32 * 16, "linear": 16 * 32 * 24,
    "attention": 16 * 16 * 24,
}  # fmt: skip


@pytest.mark.parametrize("batch", [1, 5])
def test_multiply_adds_by_kind(batch: int) -> None:
    found = cost(graphs.parsed(net()), {"N": batch})
    assert found.by_kind == {kind: batch * macs for kind, macs in COUNTED.items()}
    assert found.macs == batch * sum(COUNTED.values())
    assert found.nodes["deep"].kind == "depthwise"
    assert found.parameters == 16 * 27 + 16 + 16 * 9 + 16 + 32 * 16 + 32 + 32 * 24
    assert found.int8_share == 0


def test_the_share_in_int8_counts_operators_whose_factors_are_dequantized() -> None:
    samples = [{"x": np.random.default_rng(seed).normal(size=(2, 3, 8, 8)).astype(np.float32)} for seed in range(2)]
    made = quantize(net(), samples, options=QuantizeOptions(variants=("int8",), threads=1))
    int8 = next(one for one in made.variants if one.variant == "int8")
    found = cost(graphs.parsed(int8.graph), {"N": 1})
    assert sum(one.int8 for one in found.nodes.values()) == int8.int8_planned
    assert found.by_kind == dict(sorted(COUNTED.items(), key=lambda item: -item[1]))
    assert 0 < found.int8_share < 1


def test_a_free_axis_without_a_size_is_named() -> None:
    with pytest.raises(BadInput, match="the size of axis N of x is not stated") as caught:
        cost(graphs.parsed(net()))
    assert "free axes" in caught.value.hint
