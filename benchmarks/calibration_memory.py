"""Peak memory of `calibration.quantize`: 24 convolutions at 512 x 512, and a transformer's blocks, each with 8 and with
32 samples. Each run in a process of its own; the peak is VmHWM, with interpreter, numpy, onnx and onnxruntime in it.

    python benchmarks/calibration_memory.py --out docs/results/calibration_memory.json

Linux. Samples are drawn in each pass, so that none of them is in the peak.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import Rows, options, write_record

GRAPHS = ("convolutions", "transformer")


class Samples:
    """Drawn anew in every pass, so that none is kept in memory."""

    def __init__(self, name: str, shape: tuple[int, ...], count: int) -> None:
        self._name, self._shape, self._count = name, shape, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for seed in range(self._count):
            rng = np.random.default_rng(seed)
            yield {self._name: rng.normal(0, 1, self._shape).astype(np.float32)}


def convolutions(*, side: int, channels: int, layers: int) -> tuple[bytes, tuple[int, ...]]:
    """A chain of 3 x 3 convolutions with ReLU at full resolution, and the shape of its input."""
    from edge_sdk.export.onnx_graph import GraphBuilder

    rng, b = np.random.default_rng(0), GraphBuilder("convolutions")
    x, width = b.input("x", "float32", [1, 3, side, side]), 3
    for number in range(layers):
        weight = rng.normal(0, (2 / (9 * width)) ** 0.5, (channels, width, 3, 3)).astype(np.float32)
        x = b.conv(x, weight, np.zeros(channels, np.float32), name=f"conv{number}", pads=(1, 1, 1, 1))
        x, width = b.node("Relu", [x], name="y" if number == layers - 1 else f"relu{number}"), channels
    b.output("y", "float32", [1, channels, side, side])
    return b.finish(), (1, 3, side, side)


def transformer(*, tokens: int, width: int, blocks: int) -> tuple[bytes, tuple[int, ...]]:
    """Blocks of attention with one head and of two products, as a ViT has them, and the shape of the input."""
    from edge_sdk.export.onnx_graph import GraphBuilder

    rng, b = np.random.default_rng(0), GraphBuilder("transformer")

    def product(x: str, size: int, out: int, name: str) -> str:
        weight = b.constant(f"{name}.w", rng.normal(0, size**-0.5, (size, out)).astype(np.float32))
        return b.node("MatMul", [x, weight], name=name)

    x = b.input("x", "float32", [1, tokens, width])
    for number in range(blocks):
        end = "y" if number == blocks - 1 else f"out{number}"
        q, k, v = (product(x, width, width, f"{name}{number}") for name in "qkv")
        keys = b.node("Transpose", [k], name=f"keys{number}", attributes={"perm": [0, 2, 1]})
        scores = b.arithmetic(
            "Mul", b.node("MatMul", [q, keys], name=f"qk{number}"), width**-0.5, name=f"scaled{number}"
        )
        shares = b.node("Softmax", [scores], name=f"shares{number}", attributes={"axis": -1})
        mixed = product(b.node("MatMul", [shares, v], name=f"mixed{number}"), width, width, f"proj{number}")
        x = b.node("Add", [x, mixed], name=f"attended{number}")
        hidden = b.node("Relu", [product(x, width, 4 * width, f"up{number}")], name=f"relu{number}")
        x = b.node("Add", [x, product(hidden, 4 * width, width, f"down{number}")], name=end)
    b.output("y", "float32", [1, tokens, width])
    return b.finish(), (1, tokens, width)


def made(name: str, asked: argparse.Namespace) -> tuple[bytes, tuple[int, ...]]:
    """One of the graphs, in the size that was asked for."""
    if name == "convolutions":
        return convolutions(side=asked.side, channels=asked.channels, layers=asked.layers)
    return transformer(tokens=asked.tokens, width=asked.width, blocks=asked.blocks)


def calibrated(name: str, count: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Peak of this process after one calibration, MB, and what it was before it began."""
    from edge_sdk.calibration import QuantizeOptions, quantize
    from edge_sdk.calibration.trials import ONE, THOROUGH

    graph, shape = made(name, asked)
    before, began = peak_mb(), time.monotonic()
    trials = {"one": ONE, "thorough": THOROUGH}[asked.trials]
    options = QuantizeOptions(trials=trials, threads=asked.threads, force=True)
    report = quantize(graph, Samples("x", shape, count), options=options).report
    return {
        "graph": name, "samples": count, "trials": asked.trials, "peak_mb": peak_mb(), "imports_mb": before,
        "seconds": time.monotonic() - began, "graph_mb": len(graph) / 1e6, "tensors_quantized": len(report.tensors),
        "int8_operators": len(report.layers), "largest_tensor_mb": largest_tensor_mb(name, asked),
        "errors": {variant: dict(of) for variant, of in report.errors.items()},
    }  # fmt: skip


def largest_tensor_mb(name: str, asked: argparse.Namespace) -> float:
    """Of one sample, float32: what a peak can't be below."""
    values = (
        asked.channels * asked.side**2 if name == "convolutions" else asked.tokens * max(asked.tokens, 4 * asked.width)
    )
    return values * 4 / 1e6


def peak_mb() -> float:
    """VmHWM: of this process alone; ru_maxrss of a child counts what its parent held when it was started."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("--out", type=Path, default=Path("docs/results/calibration_memory.json"))
    out.add_argument("--graphs", nargs="+", choices=GRAPHS, default=list(GRAPHS))
    out.add_argument("--samples", type=int, nargs="+", default=[8, 32])
    out.add_argument("--trials", choices=("one", "thorough"), default="one", help="thorough is edge-sdk quantize's own")
    out.add_argument("--threads", type=int, default=2, help="of onnxruntime while calibrating")
    sizes = {"side": 512, "channels": 16, "layers": 24, "tokens": 512, "width": 384, "blocks": 6}
    for name, value in sizes.items():
        out.add_argument(f"--{name}", type=int, default=value)
    out.add_argument("--one", nargs=2, metavar=("GRAPH", "SAMPLES"), help="measure this one in this process, print it")
    return out


def main() -> None:
    """Every graph and number of samples in a fresh process, then one record."""
    asked = parser().parse_args()
    if asked.one:
        print(json.dumps(calibrated(asked.one[0], int(asked.one[1]), asked)))
        return
    rows = Rows(asked.out, asked)
    found = [
        rows.row(f"{name} {count}", lambda name=name, count=count: _in_a_process(name, count))
        for name in asked.graphs for count in asked.samples
    ]  # fmt: skip
    write_record(asked.out, {"runs": found}, seeds=[0], samples=max(asked.samples))
    rows.discard()


def _in_a_process(name: str, count: int) -> Any:
    command = [sys.executable, __file__, *sys.argv[1:], "--one", name, str(count)]
    row = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    print(f"{name}, {count} samples: peak {row['peak_mb']:.0f} MB in {row['seconds']:.0f} s", flush=True)
    return row


if __name__ == "__main__":
    main()
