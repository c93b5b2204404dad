"""What each runtime here makes of a graph: "refused", "wrong", "float", or "" where it runs well. Knows no rule.

ONNX Runtime without optimisation is the standard to the letter; the others are compared with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from edge_sdk.errors import EdgeError
from edge_sdk.runtimes import trt_build, trt_confirm
from edge_sdk.runtimes.operators import float_kernels
from edge_sdk.runtimes.ov import core_of

Feeds = dict[str, NDArray[Any]]
TOLERANCE = 0.02
"""Of the largest value: beyond rounding of one int8 operator, far below what "wrong" means in specs/runtimes.md."""
FREE = 4
"""The size that a free axis gets."""


def feeds_for(model: ModelProto, seed: int = 0) -> Feeds:
    """Numbers for every input that is no initializer: normal, small integers, or all values of 8 bits."""
    rng, stored = np.random.default_rng(seed), {t.name for t in model.graph.initializer}
    feeds: Feeds = {}
    for info in model.graph.input:
        if info.name in stored:
            continue
        kind = info.type.tensor_type.elem_type
        shape = [d.dim_value if d.HasField("dim_value") else FREE for d in info.type.tensor_type.shape.dim]
        if kind == TensorProto.STRING:
            feeds[info.name] = np.full(shape, "1", object)
            continue
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        if kind == TensorProto.INT64 and len(shape) == 1:  # sizes
            feeds[info.name] = np.ones(shape, np.int64)
            continue
        if np.issubdtype(dtype, np.integer):
            limits = np.iinfo(dtype) if dtype.itemsize == 1 else np.iinfo(np.int8)
            feeds[info.name] = rng.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)
        elif dtype == np.bool_:
            feeds[info.name] = rng.integers(0, 2, shape).astype(dtype)
        else:
            feeds[info.name] = rng.normal(size=shape).astype(dtype)
    return feeds


def standard(model: ModelProto, feeds: Feeds) -> list[NDArray[Any]] | None:
    """ONNX Runtime to the letter; None if it refuses the graph, at load or in the run."""
    return _onnxruntime(model, feeds, optimised=False)


def _onnxruntime(model: ModelProto, feeds: Feeds, *, optimised: bool) -> list[NDArray[Any]] | None:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return list(session.run(None, feeds))
    except Exception:  # noqa: BLE001 - onnxruntime raises classes of its own for each kind of refusal
        return None


def onnxruntime_effect(model: ModelProto, feeds: Feeds, wanted: list[NDArray[Any]] | None) -> str:
    """What ONNX Runtime makes of the graph, with its optimiser and without."""
    got = _onnxruntime(model, feeds, optimised=True)
    if wanted is None or got is None:
        return "refused"
    if not same(got, wanted):
        return "wrong"
    with tempfile.TemporaryDirectory() as folder:
        file, options = Path(folder) / "graph.onnx", ort.SessionOptions()
        options.optimized_model_filepath, options.log_severity_level = str(file), 4
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        ran = Counter(node.op_type for node in onnx.load(file).graph.node)
    return "float" if not float_kernels("onnxruntime").isdisjoint(ran) else ""


def openvino_effect(model: ModelProto, feeds: Feeds, wanted: list[NDArray[Any]] | None) -> str:
    """What OpenVINO makes of the graph, in float32 and with no setting that goes around a fault."""
    import openvino as ov

    try:
        core = core_of(ov)
        net = core.compile_model(
            core.read_model(model.SerializeToString()), "CPU",
            {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1},
        )  # fmt: skip
        answers = net({name: np.array(value) for name, value in feeds.items()})
        got = [np.array(answers[i]) for i in range(len(net.outputs))]
    except Exception:  # noqa: BLE001 - OpenVINO raises RuntimeError and classes of its own
        return "refused"
    if wanted is not None and not same(got, wanted):
        return "wrong"
    layers = [node.get_rt_info() for node in net.get_runtime_model().get_ordered_ops()]
    ran = {str(i["layerType"].astype(str)): str(i["runtimePrecision"].astype(str)) for i in layers}
    matrix = [precision for kind, precision in ran.items() if kind in float_kernels("openvino")]
    return "float" if any(precision.startswith("f") for precision in matrix) else ""


def tensorrt_effect(model: ModelProto) -> tuple[str, str]:
    """What TensorRT-RTX makes of the graph, and why. "wrong": it warns that it computes another type, its Q makes int8
    where the graph says uint8, or an output has another size. Values can't be seen without a GPU."""
    found = trt_confirm.confirm(model.SerializeToString(), axes={"N": FREE})
    if found.accepted:
        types, shapes = _parsed(model)
        if _any_uint8(model) and "INT8" in types:
            return "wrong", "Q makes int8 of uint8"
        return ("", "") if _as_standard(model, shapes) else ("wrong", f"outputs of the shapes {shapes}")
    why = "; ".join(found.errors)[:200]
    return ("wrong" if found.warnings and all("another type" in text for text in found.errors) else "refused"), why


def _any_uint8(model: ModelProto) -> bool:
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    quantizes = [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    return any(
        kinds.get(n.input[2] if len(n.input) > 2 else "", TensorProto.UINT8) == TensorProto.UINT8 for n in quantizes
    )


def _as_standard(model: ModelProto, shapes: list[list[int]]) -> bool:
    """Whether outputs have the sizes that the standard has; free ones (-1) are not looked at."""
    wanted = standard(model, feeds_for(model))
    return wanted is None or all(
        size in (-1, right)
        for shape, answer in zip(shapes, wanted) for size, right in zip(shape, answer.shape)
    )  # fmt: skip


def _parsed(model: ModelProto) -> tuple[list[str], list[list[int]]]:
    """Types that TensorRT's parser gives to the outputs of its quantize layers, and the shapes of all outputs; in a
    child, as for every parse."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.onnx"
        file.write_bytes(model.SerializeToString())
        done = subprocess.run([sys.executable, __file__, str(file)], capture_output=True, check=False, timeout=60)
    types, shapes = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else ([], [])
    return types, shapes


def same(got: list[NDArray[Any]], wanted: list[NDArray[Any]]) -> bool:
    """Whether outputs agree within TOLERANCE; NaN at the same places counts as agreement."""
    for ours, theirs in zip(got, wanted, strict=True):
        if ours.shape != theirs.shape:
            return False
        if theirs.dtype.kind not in "fiub":
            if not np.array_equal(ours, theirs):
                return False
            continue
        left, right = ours.astype(np.float64), theirs.astype(np.float64)
        finite = np.isfinite(right)
        if not np.array_equal(np.isfinite(left), finite):
            return False
        scale = np.abs(right[finite]).max(initial=0.0)
        if np.abs(left[finite] - right[finite]).max(initial=0.0) > TOLERANCE * scale:
            return False
    return True


def main(path: str) -> None:
    trt = trt_build.load(trt_confirm.RUNTIME)
    heard = trt_build.logger(trt)
    network = trt.Builder(heard).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, heard)
    if not parser.parse(Path(path).read_bytes()):
        raise EdgeError("not parsed")
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    kinds = [str(x.get_output(0).dtype).rpartition(".")[2] for x in layers if x.type == trt.LayerType.QUANTIZE]
    shapes = [list(network.get_output(i).shape) for i in range(network.num_outputs)]
    sys.stdout.write(json.dumps([kinds, shapes]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
