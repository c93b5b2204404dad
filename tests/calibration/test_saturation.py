"""16-bit saturation: the static bound, the emulation, and OpenVINO's own AVX2 kernel beside them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper

from edge_sdk.calibration.saturation import columns_of, emulate, unsafe_pairs

CHILD = """
import io, json, sys
import numpy as np, openvino
graph, picture = open(sys.argv[1], "rb").read(), np.load(sys.argv[2])
core = openvino.Core()
compiled = core.compile_model(core.read_model(io.BytesIO(graph)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
kernel = [o.get_rt_info()["primitiveType"].value for o in compiled.get_runtime_model().get_ops()
          if o.get_rt_info()["layerType"].value == "Convolution"]
np.save(sys.argv[3], compiled(picture)[0])
print(json.dumps(kernel))
"""


@given(
    weights=hnp.arrays(np.int8, (3, 4, 2), elements=st.integers(-64, 64)),
    columns=hnp.arrays(np.int8, (5, 4, 2)),
)
def test_weights_within_64_never_saturate_whatever_the_input(weights: np.ndarray, columns: np.ndarray) -> None:
    found = emulate(columns, weights)
    assert unsafe_pairs(weights) == 0.0
    assert found.pairs_cut == 0.0
    assert np.array_equal(found.exact, found.saturated)
    wide = np.einsum("pik,oik->po", columns.astype(int), weights.astype(int))
    assert np.array_equal(found.exact, wide)


@given(weights=hnp.arrays(np.int8, (2, 3, 2), elements=st.integers(-127, 127)), columns=hnp.arrays(np.int8, (6, 3, 2)))
def test_a_pair_that_was_cut_was_named_by_the_static_bound(weights: np.ndarray, columns: np.ndarray) -> None:
    assert emulate(columns, weights).pairs_cut == 0.0 or unsafe_pairs(weights) > 0.0


def test_full_scale_saturates_almost_entirely() -> None:
    """64 products of 127 x 127 make 1032256; pairs of 255 * 127 * 2 are cut at 32767, then 128 * sum(w) goes off."""
    found = emulate(np.full((1, 64, 1), 127, np.int8), np.full((1, 64, 1), 127, np.int8))
    assert (found.exact[0, 0], found.saturated[0, 0], found.pairs_cut) == (1032256, 32 * 32767 - 128 * 64 * 127, 1.0)
    assert found.relative_error > 0.99


def int8_conv(weights: np.ndarray, size: int) -> bytes:
    """x float -> Q(1) -> DQ -> convolution with scales 1: the output is the accumulator itself."""
    out, channels, *kernel = weights.shape
    constants = {
        "s": np.float32(1), "z": np.int8(0), "w": weights, "ws": np.ones(out, np.float32), "wz": np.zeros(out, np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="d"),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], name="wd", axis=0),
        helper.make_node("Conv", ["d", "wd"], ["y"], name="conv", kernel_shape=kernel),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX2 is x86's")
def test_the_emulation_is_what_openvinos_avx2_kernel_computes(tmp_path: Path, rng: np.random.Generator) -> None:
    weights = np.clip(rng.laplace(0, 45, (16, 32, 3, 3)), -127, 127).astype(np.int8)
    picture = np.clip(np.abs(rng.normal(0, 60, (32, 10, 10))), 0, 127).astype(np.int8)
    (tmp_path / "g.onnx").write_bytes(int8_conv(weights, 10))
    np.save(tmp_path / "x.npy", picture[None].astype(np.float32))
    child = subprocess.run(
        [sys.executable, "-c", CHILD, "g.onnx", "x.npy", "y.npy"],
        cwd=tmp_path,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},  # must stand before openvino is imported
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert "avx2" in json.loads(child.stdout)[0]
    found = emulate(columns_of(picture, (3, 3)), weights.reshape(16, 32, 9))
    assert 0.001 < found.pairs_cut < 0.5
    got = np.load(tmp_path / "y.npy")[0].reshape(16, -1).T
    np.testing.assert_allclose(got, found.saturated, rtol=1e-5, atol=0.5)
