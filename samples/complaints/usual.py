"""The usual tools, called as their documentation shows: onnxruntime, onnxruntime.quantization, OpenVINO, NNCF. Knows no
complaint."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from replay import installed

from edge_sdk.extras import need

Feeds = Mapping[str, NDArray[Any]]
PORTABLE = {
    "per_channel": True,
    "extra_options": {"ActivationSymmetric": True, "WeightSymmetric": True},
}
"""Settings of quantize_static for symmetric int8, which TensorRT asks for."""
_QUIET = 4


def onnxruntime() -> Any:
    """The package, without telemetry (edge_sdk sets the variable that stops it)."""
    out = need("onnxruntime", extra="quantize")
    out.set_default_logger_severity(_QUIET)
    return out


def answer(graph: bytes, feeds: Feeds, *, as_written: bool = False) -> NDArray[Any]:
    """The first output in ONNX Runtime on the CPU. as_written: not optimised, as the standard says."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    if as_written:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, dict(feeds))[0])


def openvino_answer(graph: bytes, feeds: Feeds) -> NDArray[Any]:
    """The first output in OpenVINO on the CPU, float32 where it would take bfloat16 by itself."""
    core = need("openvino", extra="openvino").Core()
    compiled = core.compile_model(core.read_model(io.BytesIO(graph)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled(dict(feeds))[0])


def quantized(graph: bytes, samples: Sequence[Feeds], folder: Path, **settings: Any) -> bytes:
    """onnxruntime.quantization.quantize_static with its defaults, or with `settings`."""
    onnxruntime()
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(samples)

        def get_next(self) -> Feeds | None:
            return next(self._left, None)

    source, target = folder / "float.onnx", folder / "int8.onnx"
    source.write_bytes(graph)
    with without_advice():
        quantize_static(source, target, Reader(), **settings)
    return target.read_bytes()


def quantized_dynamic(graph: bytes, folder: Path) -> bytes:
    """onnxruntime.quantization.quantize_dynamic; uint8 weights, since signed ones have no kernel for convolutions."""
    onnxruntime()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, target = folder / "float.onnx", folder / "dynamic.onnx"
    source.write_bytes(graph)
    with without_advice():
        quantize_dynamic(source, target, weight_type=QuantType.QUInt8)
    return target.read_bytes()


def quantized_by_nncf(graph: bytes, samples: Sequence[Feeds]) -> bytes:
    """nncf.quantize with its defaults."""
    nncf = need("nncf", extra="nncf")  # without its telemetry
    nncf.set_log_level(logging.ERROR)
    with without_advice():
        made = nncf.quantize(onnx.load_from_string(graph), nncf.Dataset(list(samples)))
    return bytes(made.SerializeToString())


def missing_nncf() -> tuple[str, ...]:
    """() where NNCF is installed, else the note of a replay that leaves its rows out."""
    return () if installed("nncf") else ("nncf is not installed: its rows are left out",)


def relative_error(got: NDArray[Any], wanted: NDArray[Any]) -> float:
    """L2 of the difference over L2 of what is wanted, percent."""
    return 100 * float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


@contextlib.contextmanager
def without_advice() -> Iterator[None]:
    """No warnings, no advice on the root logger, no progress bars, in one block."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
