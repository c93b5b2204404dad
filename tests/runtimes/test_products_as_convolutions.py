"""int8 products that OpenVINO computes as 1x1 convolutions: which ones, and that they answer what ONNX says."""

from __future__ import annotations

import io
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from numpy_runtime import NumpyRuntime
from onnx import TensorProto
from runtime_graphs import Sketch

from edge_sdk.runtimes import faults, ov_products
from edge_sdk.runtimes.onnx_file import read_facts
from edge_sdk.runtimes.ov import OvRuntime, core_of
from edge_sdk.runtimes.protocol import CompileOptions

ov = pytest.importorskip("openvino", reason="OpenVINO is not installed")
HERE = Path(__file__).parent
INPUTS, OUTPUTS = 24, 40
SHAPES: dict[str, list[Any]] = {
    "rows": [49, INPUTS], "windows of rows": [3, 49, INPUTS], "heads": [2, 3, 17, INPUTS],
    "a free batch": ["N", 49, INPUTS], "free rows": [20, "N", INPUTS],
}  # fmt: skip


def product(
    shape: list[Any],
    bias: str = "",
    *,
    op: str = "MatMul",
    paired: bool = True,
    stored: bool = True,
    last: bool = False,
) -> bytes:
    """x -> Q, DQ -> product with reduced-range int8 weights -> bias -> y. last: y is the product's own output."""
    g, rng = Sketch(), np.random.default_rng(0)
    transposed = {"transB": 1} if op == "Gemm" else {}
    weight = rng.normal(size=(OUTPUTS, INPUTS) if transposed else (INPUTS, OUTPUTS)).astype(np.float32)
    w = g.int8_weight("w", weight, axis=0 if transposed else 1, limit=64) if stored else g.constant("w", weight)
    x = g.qdq("x", 0.03) if paired else "x"
    added = rng.normal(size=OUTPUTS).astype(np.float32)
    if bias == "its own":
        g.add("Gemm", [x, w, g.constant("bias", added)], "y", **transposed)
    elif bias:
        made = g.add(op, [x, w], "p", **transposed)
        names = [made, g.constant("bias", added)]
        g.add(bias, names if last else list(reversed(names)) if bias == "Add" else names, "y")
    else:
        g.add(op, [x, w], "y", **transposed)
    return g.model([("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, [*shape[:-1], OUTPUTS])])


def answers(graph: bytes, x: NDArray[np.float32]) -> tuple[int, NDArray[np.float32]]:
    """How many products were rewritten, and what the graph answers then."""
    core = core_of(ov)
    model = core.read_model(io.BytesIO(graph))
    count = ov_products.as_convolutions(model)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
    assert [port.get_any_name() for port in compiled.outputs] == ["y"]
    return count, np.array(compiled(x)[0])


def values(shape: list[Any]) -> NDArray[np.float32]:
    sizes = [5 if isinstance(size, str) else size for size in shape]
    return np.random.default_rng(1).normal(size=sizes).astype(np.float32)


@pytest.mark.parametrize("bias", ["", "Add", "Sub"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_product_of_tokens_becomes_a_convolution_of_the_same_sums(shape: str, bias: str) -> None:
    graph, x = product(SHAPES[shape], bias), values(SHAPES[shape])
    want = NumpyRuntime().compile(graph, CompileOptions(axes={"N": 5})).run({"x": x})["y"]
    count, got = answers(graph, x)
    assert count == 1
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * float(np.abs(want).max()))


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (product([8, INPUTS]), "few rows"), (product(["N", "M", INPUTS]), "two free axes"),
        (product([49, INPUTS], paired=False), "float tokens"), (product([49, INPUTS], stored=False), "float weights"),
    ],
)  # fmt: skip
def test_other_products_stay(graph: bytes, why: str) -> None:
    assert ov_products.as_convolutions(core_of(ov).read_model(io.BytesIO(graph))) == 0, why


CHILD = """
import numpy as np
from test_products_as_convolutions import product, values
from edge_sdk.runtimes.ov import OvRuntime, core_of
from edge_sdk.runtimes.protocol import CompileOptions
options = CompileOptions(threads=1, int8_convolutions=1, profile_layers=True)
session = OvRuntime().compile(product([49, 24], "Sub"), options)
print(session.explain().workarounds, {row.op for row in session.layer_times({"x": values([49, 24])})})
"""


def test_the_adapter_does_it_on_cpus_without_vnni_alone() -> None:
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("AVX2 is x86's")
    paths = os.pathsep.join(path for path in (str(HERE), *sys.path) if path)
    ran = subprocess.run(
        (sys.executable, "-W", "ignore", "-c", CHILD), capture_output=True, text=True, timeout=120, check=True,
        env={**os.environ, "PYTHONPATH": paths, "ONEDNN_MAX_CPU_ISA": "AVX2"},
    )  # fmt: skip
    assert "openvino-int8-products-slow" in ran.stdout
    assert "'Convolution'" in ran.stdout


def test_a_float_graph_is_left_alone() -> None:
    session = OvRuntime().compile(product([49, INPUTS], stored=False), CompileOptions(threads=1))
    assert faults.SLOW_PRODUCTS not in session.explain().workarounds
    assert "openvino-int8-products-slow" not in session.explain().workarounds


def test_only_cpus_without_vnni_have_slow_products() -> None:
    from test_known_faults import AVX2, VNNI

    facts = read_facts(product([49, INPUTS]), where="tiny")
    seen = {cpu.isa: {row.id for row in faults.present("openvino", "2026.4.1", facts, cpu)} for cpu in (AVX2, VNNI)}
    assert {isa: "openvino-int8-products-slow" in ids for isa, ids in seen.items()} == {"avx2": True, "vnni": False}
