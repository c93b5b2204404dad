"""One run of a graph in each runtime on the CPU, in float32 on one thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnxruntime
import openvino
from numpy.typing import NDArray

from edge_sdk.runtimes.ov import core_of

Feeds = Mapping[str, NDArray[Any]]
Run = Callable[[Feeds], dict[str, NDArray[np.float32]]]


def in_onnxruntime(graph: bytes) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(names, dict(feeds)), strict=True))


def in_openvino(graph: bytes) -> Run:
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    core = core_of(openvino)
    model: Any = core.compile_model(core.read_model(graph, b""), "CPU", hints)
    return lambda feeds: {port.any_name: np.array(value) for port, value in model(dict(feeds)).items()}


RUNTIMES: dict[str, Callable[[bytes], Run]] = {"onnxruntime": in_onnxruntime, "openvino": in_openvino}
