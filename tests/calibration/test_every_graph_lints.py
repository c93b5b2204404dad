"""What `quantize` hands out breaks no rule of the linter, for any runtime that takes it."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from calibration_nets import Feeds, relative, run
from onnx import ModelProto, TensorProto, helper, numpy_helper
from random_graphs import SAMPLES, Net, samples_for

from edge_sdk.calibration import Quantized, QuantizeOptions, quantize
from edge_sdk.calibration.lint.linter import lint
from edge_sdk.calibration.lint.rules import RUNTIMES
from edge_sdk.runtimes import registry, targets
from edge_sdk.runtimes.protocol import CompileOptions

pytestmark = pytest.mark.long


def faults(made: Quantized) -> list[str]:
    """As `edge-sdk lint BUNDLE` looks: each graph for each runtime that takes it, its layout too."""
    return [
        f"{one.variant} {one.layout} {one.runtimes} for {runtime}: {fault}"
        for one in made.variants
        for runtime in RUNTIMES
        if targets.takes(runtime, one)
        for fault in lint(one.graph, (runtime,))
    ]


@pytest.mark.filterwarnings("ignore")  # onnx's own
@pytest.mark.parametrize("seed", range(60))
def test_a_random_graph(seed: int) -> None:
    model = Net(seed).model()
    made = quantize(
        model.SerializeToString(), samples_for(model, SAMPLES, seed),
        options=QuantizeOptions(variants=("int8", "int8-w7", "fp16"), threads=1, force=True),
    )  # fmt: skip
    assert made.variants
    assert faults(made) == []


BETWEEN = ("Identity", "Relu", "Sigmoid", "HardSwish", "Add", "Flatten", "Softmax", "Tap")
ENDS = ("weight", "product", "square")


def chain(between: str, rows: int | str, end: str) -> ModelProto:
    """x -> MatMul -> between -> MatMul -> y; `end`: a product of two products, or of one and itself, before it."""
    rng = np.random.default_rng(0)
    constants = {
        "w1": rng.normal(size=(16, 16)) / 4, "w2": rng.normal(size=(16, 16)) / 4, "w3": rng.normal(size=(16, 8)) / 4,
        "c": np.full(16, 0.1),
    }  # fmt: skip
    nodes = [helper.make_node("MatMul", ["x", "w1"], ["h"], "first")]
    outputs = ["y"]
    if between == "Add":
        nodes.append(helper.make_node("Add", ["h", "c"], ["b"], "between"))
    else:
        nodes.append(helper.make_node("Relu" if between == "Tap" else between, ["h"], ["b"], "between"))
    if between == "Tap":
        outputs.append("h")
    inputs = {"x": [rows, 16]}
    if end == "product":
        inputs["z"] = [16, 16]
        nodes.append(helper.make_node("MatMul", ["z", "w2"], ["k"], "key"))
        nodes.append(helper.make_node("MatMul", ["b", "k"], ["g"], "both"))
    elif end == "square":
        nodes.append(helper.make_node("MatMul", ["b", "b"], ["g"], "both"))
    nodes.append(helper.make_node("MatMul", ["b" if end == "weight" else "g", "w3"], ["y"], "second"))
    width = {"y": 8, "h": 16}
    graph = helper.make_graph(
        nodes, "chain",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, width[name]]) for name in outputs],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made


CHAINS = [
    (between, rows, end)
    for between, rows, end in product(BETWEEN, (1, 8, 16, "N"), ENDS)
    if end != "square" or rows == 16
]


@pytest.mark.parametrize(("between", "rows", "end"), CHAINS)
def test_a_chain_of_products(between: str, rows: int | str, end: str) -> None:
    model = chain(between, rows, end)
    rng = np.random.default_rng(1)
    size = 4 if rows == "N" else rows
    shapes = {"x": (size, 16), **({"z": (16, 16)} if end == "product" else {})}
    samples: list[Feeds] = [
        {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()} for _ in range(6)
    ]
    options = QuantizeOptions(variants=("int8", "int8-w7"), threads=1)
    made = quantize(model.SerializeToString(), samples, options=options)
    assert made.variants
    assert faults(made) == []
    ours = made.get("int8-w7", runtime="openvino")
    session = registry.runtime("openvino").compile(
        ours.graph, CompileOptions(threads=1, axes={"N": 8} if rows == "N" else {})
    )
    for feeds in samples[:2]:
        wanted = run(model.SerializeToString(), feeds)["y"]
        assert relative(session.run(feeds)["y"], wanted) < 0.1
    session.close()
