"""int8 with large weights is right on CPUs with VNNI and wrong on those without: 16-bit sums saturate.

python samples/complaints/wrong_without_vnni.py
"""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import ours
import usual
from networks import Samples, chain
from numpy.typing import NDArray
from replay import Claim, Replay, Row, child, run

from edge_sdk.errors import NotThere

ISA = "AVX2"
"""What the child's OpenVINO is capped to: any x86-64 CPU of the last ten years can replay it."""


def replay(folder: Path) -> Replay:
    """Errors of int8 files by the ONNX standard, which is what VNNI computes, and by OpenVINO's AVX2 kernels."""
    if platform.machine() not in ("x86_64", "AMD64"):
        raise NotThere(f"{ISA} is x86's, this is {platform.machine()}", hint="Run it on an x86-64 CPU")
    graph, samples = chain(24, tails=True), Samples((1, 3, 24, 24), 8)
    feeds, made = samples[0], ours.quantized(graph, samples, "int8", "int8-w7")
    wanted = usual.answer(graph, feeds, as_written=True)
    files = {
        "usual": usual.quantized(graph, samples, folder, **usual.PORTABLE),
        "w7": ours.graph_of(made, "int8-w7", "openvino"),
        "int8": ours.graph_of(made, "int8", "openvino"),
    }
    if not usual.missing_nncf():
        files["nncf"] = usual.quantized_by_nncf(graph, samples)
    exact = {
        name: usual.relative_error(usual.answer(data, feeds, as_written=True), wanted) for name, data in files.items()
    }
    capped = {name: usual.relative_error(got, wanted) for name, got in _without_vnni(files, feeds, folder).items()}
    shares = {name: max(row.unsafe_pairs[name] for row in made.report.layers) for name in ("int8", "int8-w7")}
    rows = [
        Row("error where sums have 32 bits (VNNI)", exact["usual"], exact["w7"], "%"),
        Row(f"error where they have 16 ({ISA})", capped["usual"], capped["w7"], "%"),
        Row(f"error of the variant int8 ({ISA})", None, capped["int8"], "%"),
        Row("weight pairs that can saturate, int8, as the calibration report says", None, 100 * shares["int8"], "%"),
        Row("the same, int8-w7", None, 100 * shares["int8-w7"], "%"),
    ]
    if "nncf" in files:
        rows.append(Row(f"error of nncf.quantize ({ISA}; {exact['nncf']:.2g} % with VNNI)", capped["nncf"], None, "%"))
    return Replay(
        usual="quantize_static, symmetric, per channel",
        ours="quantize, int8-w7",
        rows=rows,
        claims=(
            Claim("the usual file is right with VNNI (error below 5 %)", exact["usual"] < 5),
            Claim("and more than three times as wrong without", capped["usual"] > 3 * exact["usual"]),
            Claim("int8-w7 has the same error on both, within 0.5 points", abs(capped["w7"] - exact["w7"]) < 0.5),
            Claim("edge-sdk says beforehand which variant saturates", shares["int8"] > 0 and shares["int8-w7"] == 0),
        ),
        notes=usual.missing_nncf(),
    )


def _without_vnni(files: dict[str, bytes], feeds: usual.Feeds, folder: Path) -> dict[str, NDArray[np.float32]]:
    """OpenVINO's answers in a process whose kernels are capped: the variable counts before OpenVINO is imported."""
    np.savez(folder / "feeds.npz", **feeds)
    for name, data in files.items():
        (folder / f"{name}.onnx").write_bytes(data)
    words, environment = child([__file__, "--child", str(folder), *files], environment={"ONEDNN_MAX_CPU_ISA": ISA})
    subprocess.run(words, env=environment, check=True)
    return {name: np.load(folder / f"{name}.npy") for name in files}


def _answer_all(folder: Path, names: list[str]) -> None:
    """The child's side."""
    with np.load(folder / "feeds.npz") as feeds:
        for name in names:
            np.save(folder / f"{name}.npy", usual.openvino_answer((folder / f"{name}.onnx").read_bytes(), dict(feeds)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _answer_all(Path(sys.argv[2]), sys.argv[3:])
    else:
        run(__file__, replay)
