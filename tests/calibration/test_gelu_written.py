"""A GELU is found however its numbers and its halving are written, and what computes anything else is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from calibration_nets import Builder
from onnx import ModelProto, TensorProto, helper, shape_inference

from edge_sdk.calibration.gelu import answering, gelus, reading
from edge_sdk.calibration.graphs import Index

ROOT = float(np.sqrt(2.0))
Write = Callable[[Builder, str], str]


def chain(*, root: float = ROOT, one: float = 1.0, half: float = 0.5, times: bool = False, axes: int = 0) -> Write:
    """x * (one + erf(x / root)) * half. times: x multiplied by the inverse. axes: of the constants."""

    def write(b: Builder, x: str) -> str:
        def number(value: float) -> str:
            return b.constant(np.full((1,) * axes, value, np.float32))

        ratio = b.op("Mul", x, number(1 / root)) if times else b.op("Div", x, number(root))
        return b.op("Mul", b.op("Mul", x, b.op("Add", b.op("Erf", ratio), number(one))), number(half))

    return write


def inside(*, halves: tuple[float, float] = (0.5, 0.5), divides: bool = False, axes: int = 0) -> Write:
    """x * (erf(x / sqrt 2) * halves[0] + halves[1]). divides: by the inverse of the first."""

    def write(b: Builder, x: str) -> str:
        def number(value: float) -> str:
            return b.constant(np.full((1,) * axes, value, np.float32))

        erf = b.op("Erf", b.op("Div", x, number(ROOT)))
        part = b.op("Div", erf, number(1 / halves[0])) if divides else b.op("Mul", number(halves[0]), erf)
        return b.op("Mul", b.op("Add", number(halves[1]), part), x)

    return write


FUSED = {"divided": chain(), "of one axis": chain(axes=1), "a root as exporters write it": chain(root=1.4142135)}
"""Those that ONNX Runtime makes one operator of."""
GELUS = FUSED | {
    "multiplied": chain(times=True), "of three axes": chain(axes=3), "halved inside": inside(),
    "halved inside by a division": inside(divides=True), "halved inside of two axes": inside(axes=2),
}  # fmt: skip
OTHERS = {
    "1 / 1.5 for the root": chain(root=1.5, times=True), "1.5 for the root": chain(root=1.5),
    "a root a hundredth off": chain(root=1.01 * ROOT), "a half a hundredth off": chain(half=0.505),
    "a one a hundredth off": chain(one=1.01), "a half of another sign": chain(half=-0.5),
    "constants of more axes than x": chain(axes=4), "another half inside": inside(halves=(0.505, 0.5)),
    "another sum inside": inside(halves=(0.5, 0.51)), "one inside": inside(halves=(0.5, 1.0)),
}  # fmt: skip


def network(write: Write) -> tuple[ModelProto, str, str]:
    """A model of one chain, and the tensors that it reads and answers."""
    b = Builder(np.random.default_rng(0))
    x = b.op("Relu", "x")
    y = b.op("Neg", write(b, x))
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [2, 3, 4]), (y, None))]
    graph = helper.make_graph(b.nodes, "chain", ends[:1], ends[1:], b.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return shape_inference.infer_shapes(model), x, str(b.nodes[-1].input[0])


@pytest.mark.parametrize("written", GELUS)
def test_a_gelu_is_found_however_it_is_written(written: str) -> None:
    model, x, y = network(GELUS[written])
    index = Index.of(model)
    (found,) = gelus(index)
    assert (found.source, found.end) == (x, y)
    assert {node.name for node in found.nodes} == {n.name for n in model.graph.node if n.op_type not in ("Relu", "Neg")}
    assert reading(x, index) == answering(y, index) == found


@pytest.mark.parametrize("written", OTHERS)
def test_what_computes_anything_else_is_none(written: str) -> None:
    model, _, _ = network(OTHERS[written])
    assert list(gelus(Index.of(model))) == []


def test_constants_with_axes_are_taken_where_the_axes_of_the_tensor_are_known() -> None:
    model, _, _ = network(GELUS["of three axes"])
    del model.graph.value_info[:]
    assert list(gelus(Index.of(model))) == []


@pytest.mark.parametrize("written", [*GELUS, *OTHERS])
def test_onnxruntime_fuses_what_it_is_said_to(written: str, tmp_path: Path) -> None:
    model, _, _ = network((GELUS | OTHERS)[written])
    options = ort.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimized.onnx"), 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    made = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert ("Gelu" in made) == (written in FUSED)
