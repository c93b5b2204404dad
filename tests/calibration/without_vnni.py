"""What the runtimes answer on a CPU without VNNI, as their vendors ship them, and networks whose int8 saturates there.

Nothing is set that avoids saturation, unlike in the product. OpenVINO is capped by a variable; ONNX Runtime asks the
CPU, so that a machine with VNNI needs qemu-user for it (`command`) or a benchmark's patched copy.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from calibration_nets import Builder, Feeds, pictures
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_sdk.runtimes.probe import CAP_VARIABLE, cpu

LAYOUTS = {"openvino": "conv-relu-q", "onnxruntime": "conv-q-relu-q"}
"""Of the int8 graph that each runtime takes."""
RUNTIMES = tuple(LAYOUTS)
CHILDREN = {
    "openvino": """
import io, json, sys
import numpy as np
from edge_sdk.extras import need
openvino = need("openvino", extra="openvino")  # without its telemetry
core = openvino.Core()
for name in json.loads(sys.argv[1]):
    with open(f"{name}.onnx", "rb") as file:
        model = core.read_model(io.BytesIO(file.read()))
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
    with np.load(f"{name}.npz") as samples:
        np.savez(f"{name}.answers.npz", **{one: compiled(samples[one])[0] for one in samples.files})
""",
    "onnxruntime": """
import json, sys
import numpy as np
import onnxruntime as ort
for name in json.loads(sys.argv[1]):
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(f"{name}.onnx", options, providers=["CPUExecutionProvider"])
    fed = session.get_inputs()[0].name
    with np.load(f"{name}.npz") as samples:
        np.savez(f"{name}.answers.npz", **{one: session.run(None, {fed: samples[one]})[0] for one in samples.files})
""",
}
Answers = list[NDArray[Any]]


def command(runtime: str) -> tuple[str, ...] | str:
    """How Python starts so that `runtime` finds no VNNI; else what would make it possible here, in words."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return "sums of 16 bits are x86's: run it on an x86-64 CPU"
    if runtime == "openvino" or not cpu().adds_in_32_bits:
        return (sys.executable,)
    qemu = shutil.which("qemu-x86_64")
    if qemu is None or subprocess.run((qemu, "--version"), capture_output=True, check=False).returncode != 0:
        return "this CPU has VNNI, and ONNX Runtime can't be capped: `apt install qemu-user`, or a CPU without VNNI"
    return (qemu, "-cpu", "Haswell", str(Path(sys.executable).resolve()))  # the file itself, not a link


def answers(
    runtime: str, graphs: Mapping[str, tuple[bytes, Sequence[NDArray[Any]]]], folder: Path,
    start: Sequence[str], environment: Mapping[str, str] | None = None,
) -> dict[str, Answers]:  # fmt: skip
    """By name, the first output of each graph for each array of its only input. start: of `command`."""
    for name, (graph, samples) in graphs.items():
        (folder / f"{name}.onnx").write_bytes(graph)
        np.savez(folder / f"{name}.npz", **{f"{at:03}": sample for at, sample in enumerate(samples)})
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), CAP_VARIABLE: "AVX2"}
    done = subprocess.run(
        [*start, "-W", "ignore", "-c", CHILDREN[runtime], json.dumps(list(graphs))], cwd=folder,
        env={**os.environ, **paths, **(environment or {})}, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found = {}
    for name in graphs:
        with np.load(folder / f"{name}.answers.npz") as kept:
            found[name] = [kept[one] for one in sorted(kept.files)]
    return found


def built_to_saturate(seed: int = 0) -> bytes:
    """Float: pictures uint8 (1, 24, 24, 3), four convolutions with Relu between, out (1, 8, 24, 24).

    Behind the first, neighbouring input channels have weights of one sign and size, cut at twice their spread, so that
    many lie near full scale; most signs are positive, so that activations are large.
    """
    b = Builder(np.random.default_rng(seed))
    h = b.op("Mul", b.picture(), b.constant(np.float32(1 / 255)))
    h = b.relu(b.conv(h, 3, 16, pad=1))
    for before, after in ((16, 16), (16, 16), (16, 8)):
        half = (after, before // 2, 3, 3)
        sizes = np.minimum(np.abs(b.rng.standard_normal(half)), 2.0) * np.sqrt(2 / (before * 9))
        signs = np.where(b.rng.random((*half[:2], 1, 1)) < 0.6, 1.0, -1.0)
        weight = (sizes * signs).repeat(2, axis=1).astype(np.float32)
        bias = np.full(after, 0.1, np.float32)
        h = b.op("Conv", h, b.constant(weight), b.constant(bias), kernel_shape=[3, 3], pads=[1] * 4)
        h = b.relu(h) if after != 8 else h
    return bytes(b.model({"out": h}, batch=1).SerializeToString())


def samples(count: int, seed: int = 1) -> list[Feeds]:
    """For `built_to_saturate`."""
    return pictures(count, 24, seed)


def int8_operator(
    op: str, weights: NDArray[np.int8], shape: Sequence[int], *, signed: bool, scale: float, **attributes: Any
) -> bytes:
    """x float of `shape` -> Q, DQ -> operator with int8 weights -> Q, DQ -> y. signed: int8 with zero point 0, else
    uint8 with 128. scale: of y."""
    axis = 0 if op == "Conv" or attributes.get("transB") else 1
    steps = np.linspace(0.5, 1.5, weights.shape[axis]).astype(np.float32) / 100
    zero = np.int8(0) if signed else np.uint8(128)
    constants = {
        "s": np.float32(0.01), "z": zero, "w": weights, "ws": steps, "wz": np.zeros(len(steps), np.int8),
        "ys": np.float32(scale),
    }  # fmt: skip
    made = helper.make_node
    nodes = [
        made("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
        made("DequantizeLinear", ["q", "s", "z"], ["d"], name="d"),
        made("DequantizeLinear", ["w", "ws", "wz"], ["wd"], name="wd", axis=axis),
        made(op, ["d", "wd"], ["sums"], name="operator", **attributes),
        made("QuantizeLinear", ["sums", "ys", "z"], ["yq"], name="yq"),
        made("DequantizeLinear", ["yq", "ys", "z"], ["y"], name="yd"),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", list(shape)), ("y", None))]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "operator", ends[:1], ends[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return bytes(model.SerializeToString())
