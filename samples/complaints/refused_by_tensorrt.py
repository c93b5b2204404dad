"""TensorRT refuses int8 files of ONNX Runtime's quantizer, and builds NNCF's as another type, which clips.

    python samples/complaints/refused_by_tensorrt.py

TensorRT-RTX parses and builds without a GPU; nothing runs in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import ours
import usual
from networks import Samples, chain
from replay import Claim, Replay, Row, run

from edge_sdk.calibration.lint.linter import lint
from edge_sdk.runtimes.trt_confirm import Confirmation, confirm


def replay(folder: Path) -> Replay:
    """What the builder says of each file, and what clipping costs."""
    graph, samples = chain(24), Samples((1, 3, 24, 24), 8)
    files = {
        "defaults": usual.quantized(graph, samples, folder),
        "symmetric": usual.quantized(graph, samples, folder, **usual.PORTABLE),
        "ours": ours.graph_of(ours.quantized(graph, samples, "int8"), "int8", "tensorrt"),
    }
    said = {name: confirm(data) for name, data in files.items()}
    rows = [
        Row("builder", _words(said["defaults"]), _words(said["ours"])),
        Row("why", _reason(said["defaults"]), None),
        Row("builder, symmetric and per channel", _words(said["symmetric"]), None),
        Row("why", _reason(said["symmetric"]), None),
        Row(
            "errors that edge-sdk lint finds beforehand",
            len(lint(files["defaults"], ("tensorrt",))),
            len(lint(files["ours"], ("tensorrt",))),
        ),
    ]
    claims = [
        Claim(
            "TensorRT-RTX refuses the usual file", not said["defaults"].accepted and not said["defaults"].engine_bytes
        ),
        Claim("and the symmetric one", not said["symmetric"].accepted and not said["symmetric"].engine_bytes),
        Claim("it builds that of edge-sdk without a warning", said["ours"].accepted and not said["ours"].warnings),
    ]
    if not usual.missing_nncf():
        more_rows, claim = _of_nncf(graph, samples)
        rows += more_rows
        claims.append(claim)
    return Replay(
        usual="quantize_static, defaults",
        ours="quantize, int8",
        rows=rows,
        claims=claims,
        notes=usual.missing_nncf(),
    )


def _of_nncf(graph: bytes, samples: Samples) -> tuple[list[Row], Claim]:
    data, feeds = usual.quantized_by_nncf(graph, samples), samples[0]
    said, wanted = confirm(data), usual.answer(graph, feeds)
    exact = usual.relative_error(usual.answer(data, feeds, as_written=True), wanted)
    clipped = usual.relative_error(usual.answer(as_built(data), feeds, as_written=True), wanted)
    rows = [
        Row("builder, nncf.quantize", f"{_words(said)}, {len(said.warnings)} warning", None),
        Row("error of nncf.quantize by the ONNX standard", exact, None, "%"),
        Row("the same with uint8 built as int8", clipped, None, "%"),
    ]
    holds = bool(said.engine_bytes and said.warnings and clipped > 5 * exact)
    return rows, Claim("it builds NNCF's with a warning, as int8: five times the error or more", holds)


def as_built(graph: bytes) -> bytes:
    """The graph as TensorRT builds it: what it quantizes to uint8 ends at 127, half of the range."""
    model = onnx.load_from_string(graph)
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        zero = constants.get(node.input[2]) if node.op_type == "QuantizeLinear" else None
        if zero is not None and zero.dtype == np.uint8:
            top, held = np.asarray(127 * constants[node.input[1]], np.float32).reshape(()), f"{node.output[0]}/held"
            model.graph.initializer.append(onnx.numpy_helper.from_array(top, f"{held}/top"))
            nodes.append(onnx.helper.make_node("Clip", [node.input[0], "", f"{held}/top"], [held], name=held))
            node.input[0] = held
        nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return bytes(model.SerializeToString())


def _words(said: Confirmation) -> str:
    return "builds" if said.engine_bytes else "refuses"


def _reason(said: Confirmation) -> str:
    """The sentence about the type in what the parser says."""
    text = " ".join(said.errors)
    return text[text.find("input has type") :].split(". ")[0] if "input has type" in text else text[:120]


if __name__ == "__main__":
    run(__file__, replay)
