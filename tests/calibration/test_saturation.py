"""16-bit saturation: the static bound, the emulation, and OpenVINO's own AVX2 kernel beside them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_sdk.calibration.saturation.loss import unsafe_pairs

CHILD = """
import io, json, sys
import numpy as np
from edge_sdk.extras import need
openvino = need("openvino", extra="openvino")  # without its telemetry
graph, picture = open(sys.argv[1], "rb").read(), np.load(sys.argv[2])
core = openvino.Core()
compiled = core.compile_model(core.read_model(io.BytesIO(graph)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
kernel = [o.get_rt_info()["primitiveType"].value for o in compiled.get_runtime_model().get_ops()
          if o.get_rt_info()["layerType"].value == "Convolution"]
np.save(sys.argv[3], compiled(picture)[0])
print(json.dumps(kernel))
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Emulated:
    """exact, saturated: int64 accumulators (positions, O). pairs_cut: share of pair sums that left the int16 range."""

    exact: NDArray[np.int64]
    saturated: NDArray[np.int64]
    pairs_cut: float

    @property
    def relative_error(self) -> float:
        """L2 of the difference over L2 of the exact accumulators."""
        norm = float(np.linalg.norm(self.exact.astype(np.float64)))
        return float(np.linalg.norm((self.exact - self.saturated).astype(np.float64))) / max(norm, 1e-30)


def emulate(columns: NDArray[np.int8], weights: NDArray[np.int8]) -> Emulated:
    """One convolution without groups, as oneDNN's AVX2 kernel computes it.

    columns: (positions, I, taps), int8, the input under the kernel at some output positions; 0 where it is padded.
    weights: (O, I, taps), int8.
    """
    w0, w1 = _pairs(weights)  # (O, ceil(I/2), taps)
    shifted = columns.astype(np.int32) + 128
    a0, a1 = _pairs(shifted)  # (positions, ceil(I/2), taps)
    exact = np.empty((len(columns), len(weights)), np.int64)
    saturated, cut = np.empty_like(exact), 0
    for o in range(len(weights)):
        sums = w0[o] * a0 + w1[o] * a1
        held = np.clip(sums, -32768, 32767)
        cut += int(np.count_nonzero(sums != held))
        shift = 128 * int(weights[o].sum(dtype=np.int64))
        exact[:, o] = sums.sum(axis=(1, 2), dtype=np.int64) - shift
        saturated[:, o] = held.sum(axis=(1, 2), dtype=np.int64) - shift
    return Emulated(exact=exact, saturated=saturated, pairs_cut=cut / max(a0.size * len(weights), 1))


def columns_of(image: NDArray[np.int8], kernel: tuple[int, int]) -> NDArray[np.int8]:
    """(positions, I, taps) of an unpadded convolution over `image` (I, H, W): what `emulate` takes."""
    windows = np.lib.stride_tricks.sliding_window_view(image, kernel, axis=(1, 2))
    channels, rows, cols = windows.shape[:3]
    return windows.transpose(1, 2, 0, 3, 4).reshape(rows * cols, channels, -1)


def _pairs(values: NDArray[np.int8] | NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Even and odd entries of axis 1; an odd count is filled up with zeros."""
    wide = values.astype(np.int32)
    if wide.shape[1] % 2:
        wide = np.concatenate([wide, np.zeros_like(wide[:, :1])], axis=1)
    return wide[:, 0::2], wide[:, 1::2]


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


@pytest.mark.parametrize(("second", "cut"), [(64, 0.0), (65, 1.0)])
def test_the_static_bound_is_the_last_pair_that_a_full_scale_input_does_not_cut(second: int, cut: float) -> None:
    weights, brightest = np.array([[[64], [second]]], np.int8), np.full((1, 2, 1), 127, np.int8)
    assert emulate(brightest, weights).pairs_cut == cut
    assert unsafe_pairs(weights) == cut


def test_neighbours_count_across_channels_and_across_taps_and_the_worse_is_reported() -> None:
    """oneDNN pairs channels of one tap; MLAS goes through all channels of a tap and on into the next one."""
    across_taps = np.array([[[1, 127], [1, 1], [127, 1]]], np.int8)  # in the order (taps, channels): 1 1 127 127 1 1
    across_channels = np.array([[[127, 1], [127, 1], [1, 1]]], np.int8)  # 127 127 1 1 1 1: a pair in both orders
    assert unsafe_pairs(across_taps) == pytest.approx(1 / 3)
    assert unsafe_pairs(across_channels) == pytest.approx(1 / 3)


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
