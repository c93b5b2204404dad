"""int8 of a text detector is slower than float32: float operators and conversions stand between the convolutions.

python samples/complaints/slower_than_float.py
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import ours
import usual
from networks import Samples, text_detector
from replay import Claim, Replay, Row, run

from edge_sdk.runtimes.operators import int8_kernels
from edge_sdk.runtimes.protocol import ProfiledSession

PAIRS = 40
"""Calls of each side, in turn."""


def replay(folder: Path) -> Replay:
    """Operators of the optimised graphs, and CPU time of int8 over float32, one thread, called in turn."""
    (graph, convolutions), samples, variant = text_detector(), Samples((1, 3, 160, 160), 4), ours.variant_here()
    feeds, made = samples[0], ours.quantized(graph, samples, variant)
    static, dynamic = usual.quantized(graph, samples, folder), usual.quantized_dynamic(graph, folder)
    for_ort, for_openvino = (ours.graph_of(made, variant, name) for name in ("onnxruntime", "openvino"))
    of_static, of_dynamic = _operators(static, folder), _operators(dynamic, folder)
    mine_int8, mine_other = _layers(for_openvino, feeds)
    in_ort, in_openvino = partial(_ratio, graph, _by_onnxruntime, feeds), partial(_ratio, graph, _by_openvino, feeds)
    return Replay(
        usual="quantize_static, defaults, in ONNX Runtime",
        ours=f"quantize, {variant}, in OpenVINO, as load chooses",
        rows=(
            Row(f"of {convolutions} convolutions in int8", _int8(of_static), mine_int8),
            Row("other operators that run beside them", _others(of_static), mine_other),
            Row("other operators after quantize_dynamic", _others(of_dynamic), None),
            Row("time in OpenVINO, int8 over float32", in_openvino(static), in_openvino(for_openvino)),
            Row("time in ONNX Runtime, int8 over float32", in_ort(static), in_ort(for_ort)),
            Row("time in ONNX Runtime after quantize_dynamic", in_ort(dynamic), None),
        ),
        claims=(
            Claim("the usual file runs all convolutions in int8", _int8(of_static) == convolutions),
            Claim("and at least two other operators for each of them", _others(of_static) >= 2 * convolutions),
            Claim("that of edge-sdk runs all in int8", mine_int8 == convolutions),
            Claim("and at most one other operator for two of them", mine_other <= convolutions / 2),
        ),
    )


def _operators(graph: bytes, folder: Path) -> Counter[str]:
    """What ONNX Runtime's optimiser makes of a graph, by operator."""
    ort, file = usual.onnxruntime(), folder / "optimised.onnx"
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(file)
    ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(file).graph.node)


def _int8(operators: Counter[str]) -> int:
    return sum(operators[name] for name in int8_kernels("onnxruntime"))


def _others(operators: Counter[str]) -> int:
    return operators.total() - _int8(operators)


def _layers(graph: bytes, feeds: usual.Feeds) -> tuple[int, int]:
    """How many layers OpenVINO executes: convolutions in int8, and all others."""
    session = ours.session(graph, "openvino", profile_layers=True)
    assert isinstance(session, ProfiledSession)
    int8, total = session.explain().int8_operators, len(session.layer_times(feeds))
    session.close()
    return int8, total - int8


def _by_onnxruntime(graph: bytes, feeds: usual.Feeds) -> Callable[[], Any]:
    ort = usual.onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, dict(feeds))


def _by_openvino(graph: bytes, feeds: usual.Feeds) -> Callable[[], Any]:
    session = ours.session(graph, "openvino")
    return lambda: session.run(feeds)


def _ratio(
    base: bytes, caller: Callable[[bytes, usual.Feeds], Callable[[], Any]], feeds: usual.Feeds, graph: bytes
) -> float:
    """Median over pairs of CPU time of `graph` over that of `base`, each pair one right after the other."""
    first, second, ratios = caller(graph, feeds), caller(base, feeds), []
    for _ in range(PAIRS + 2):
        start = time.process_time()
        first()
        middle = time.process_time()
        second()
        ratios.append((middle - start) / max(time.process_time() - middle, 1e-9))
    return statistics.median(ratios[2:])  # the first calls allocate


if __name__ == "__main__":
    run(__file__, replay)
