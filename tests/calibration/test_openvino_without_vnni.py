"""int8-w7 on a CPU without VNNI: OpenVINO's AVX2 kernels answer as ONNX says, whatever activation stands between.

Wide weights (int8) saturate there in 16-bit sums: a known fault, and why int8-w7 exists.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from calibration_nets import Builder, pictures, run
from numpy.typing import NDArray

from edge_sdk.calibration import QuantizeOptions, quantize
from edge_sdk.export.tasks.base import TOLERANCES

CHILD = """
from pathlib import Path
import numpy as np
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions
feeds = {"image": np.load("x.npy")}
for path in sorted(Path().glob("*.onnx")):
    session = registry.runtime("openvino").compile(path.read_bytes(), CompileOptions(threads=1))
    assert session.explain().layers_by_precision["i8"] >= 2, session.explain().layers_by_precision
    np.save(path.with_suffix(".npy"), session.run(feeds)["out"])
    session.close()
"""
ACTIVATIONS: dict[str, Callable[[Builder, str], str]] = {
    "HardSwish": lambda b, c: b.op("HardSwish", c),
    "Gelu": lambda b, c: b.op("Gelu", c),
    "ThresholdedRelu": lambda b, c: b.op("ThresholdedRelu", c, alpha=0.3),
    "SiLU, gate first": lambda b, c: b.op("Mul", b.op("Sigmoid", c), c),
    "Sqrt": lambda b, c: b.op("Sqrt", b.op("Abs", c)),
    "Sin": lambda b, c: b.op("Sin", c),
    "Softsign": lambda b, c: b.op("Softsign", c),
    "Relu": lambda b, c: b.relu(c),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """By activation and variant: OpenVINO's answer on AVX2, and that of ONNX to the letter."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed: its int8 kernels are not tested here")
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("AVX2 is x86's: OpenVINO's kernels without VNNI are not tested here")
    folder = tmp_path_factory.mktemp("avx2")
    feeds = pictures(1, 16, seed=5)[0]
    np.save(folder / "x.npy", feeds["image"])
    letter = {}
    for activation, make in ACTIVATIONS.items():
        b = Builder(np.random.default_rng(0))
        h = make(b, b.conv(b.picture(normalised=True), 3, 32))
        model = b.model({"out": b.conv(make(b, b.conv(h, 32, 32)), 32, 8)}, size=16, batch=1, opset=20)
        options = QuantizeOptions(variants=("int8", "int8-w7"), threads=1, first_conv="int8")
        made = quantize(model.SerializeToString(), pictures(6, 16), options=options)
        for variant in ("int8", "int8-w7"):
            graph = made.get(variant, "conv-relu-q", runtime="openvino").graph
            name = f"{activation} {variant}"
            (folder / f"{name}.onnx").write_bytes(graph)
            letter[name] = run(graph, feeds)["out"]
    subprocess.run(
        [sys.executable, "-c", CHILD], cwd=folder, check=True, timeout=300,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    return {name: (np.load(folder / f"{name}.npy"), wanted) for name, wanted in letter.items()}


def gap(answer: tuple[NDArray[np.float32], NDArray[np.float32]]) -> float:
    """The largest difference, as a share of the largest value."""
    got, wanted = answer
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_reduced_range_weights_are_right_on_avx2(
    activation: str, answers: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
) -> None:
    assert gap(answers[f"{activation} int8-w7"]) <= TOLERANCES["int8"].relative


def test_wide_weights_saturate_there(
    answers: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]],
) -> None:
    """Red if these nets could not tell: then the test above would show nothing."""
    assert max(gap(answers[f"{activation} int8"]) for activation in ACTIVATIONS) > TOLERANCES["int8"].relative
