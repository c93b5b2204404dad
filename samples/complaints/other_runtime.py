"""One int8 file gives one answer in ONNX Runtime and another in OpenVINO, and no error in either.

python samples/complaints/other_runtime.py
"""

from __future__ import annotations

from pathlib import Path

import ours
import usual
from networks import Samples, two_branches
from replay import Claim, Replay, Row, run

VARIANT = "int8-w7"  # right on every CPU, so that what differs is the runtime alone


def replay(folder: Path) -> Replay:
    """Relative errors against float32 of both files in both runtimes."""
    graph, samples = two_branches(), Samples((1, 3, 32, 32), 16)
    feeds, made = samples[0], ours.quantized(graph, samples, VARIANT)
    wanted, theirs = usual.answer(graph, feeds, as_written=True), usual.quantized(graph, samples, folder)
    written = ours.graph_of(made, VARIANT, "openvino")
    answers = {
        "error by the ONNX standard": (
            usual.answer(theirs, feeds, as_written=True), usual.answer(written, feeds, as_written=True),
        ),
        "error in ONNX Runtime": (usual.answer(theirs, feeds), ours.answer(made, VARIANT, "onnxruntime", feeds)),
        "error in OpenVINO": (usual.openvino_answer(theirs, feeds), ours.answer(made, VARIANT, "openvino", feeds)),
    }  # fmt: skip
    errors = {name: [usual.relative_error(got, wanted) for got in both] for name, both in answers.items()}
    return Replay(
        usual="quantize_static, defaults",
        ours=f"quantize, {VARIANT}",
        rows=[Row(name, theirs, mine, "%") for name, (theirs, mine) in errors.items()],
        claims=(
            Claim("the usual file is right in ONNX Runtime (error below 5 %)", errors["error in ONNX Runtime"][0] < 5),
            Claim("and wrong in OpenVINO (error above 20 %)", errors["error in OpenVINO"][0] > 20),
            Claim("that of edge-sdk is right in both (below 5 %)", max(mine for _, mine in errors.values()) < 5),
        ),
    )


if __name__ == "__main__":
    run(__file__, replay)
