"""What a session says of its operators: matrix products count like convolutions, alike in every runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_products_count_as_operators(op: str, runtime: str) -> None:
    """Of a size at which OpenVINO does not make one Subgraph of them, whose inside it does not show."""
    pytest.importorskip(runtime)
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.normal(size=(512, 512)).astype(np.float32), f"w{n}") for n in range(3)]
    nodes = []
    for n in range(3):
        nodes.append(helper.make_node(op, [f"r{n - 1}" if n else "x", f"w{n}"], [f"g{n}"], name=f"g{n}"))
        nodes.append(helper.make_node("Relu", [f"g{n}"], [f"r{n}"], name=f"r{n}"))
    ends = [helper.make_tensor_value_info(name, 1, [1, 512]) for name in ("x", "r2")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = registry.runtime(runtime).compile(model.SerializeToString(), CompileOptions(threads=1))
    try:
        assert session.explain().layers_by_precision == {"f32": 3}
    finally:
        session.close()
