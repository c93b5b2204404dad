"""60 random graphs: quantized with a true claim, or refused in words; 500 of them in benchmarks/random_graphs.py."""

from __future__ import annotations

import pytest
import random_graphs
from random_graphs import examine, failures

from edge_sdk.calibration.graphs import opset_of

WITH_PEER = 12
"""onnxruntime.quantization takes as long as everything else: beside the first few only."""


@pytest.mark.filterwarnings("ignore")  # onnxruntime.quantization's and onnx's own
@pytest.mark.parametrize("seed", range(60))
def test_a_random_graph_keeps_every_rule(seed: int) -> None:
    found = examine(seed, with_peer=seed < WITH_PEER)
    assert found is not None, "ONNX Runtime does not run the generator's own graph"
    assert not found.refused
    assert failures(found) == []


def test_the_generator_is_seeded_and_writes_every_kind() -> None:
    models = [random_graphs.Net(seed).model() for seed in range(200)]
    assert models[7].SerializeToString() == random_graphs.Net(7).model().SerializeToString()
    ops = {node.op_type for model in models for node in model.graph.node}
    assert ops >= {
        "Conv", "ConvTranspose", "Gemm", "MatMul", "Softmax", "Concat", "MaxPool", "AveragePool", "If", "Split", "Act",
        "Resize", "Upsample", "Sigmoid", "HardSigmoid", "LeakyRelu", "BatchNormalization", "LayerNormalization", "Pad",
    }  # fmt: skip
    assert {opset_of(model) for model in models} == set(random_graphs.OPSETS)
    assert max(len(model.graph.input) for model in models) == 2
    assert max(len(model.graph.output) for model in models) > 2
    assert any(all(not node.name for node in model.graph.node) for model in models)
