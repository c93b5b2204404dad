"""How far int8 answers are from ONNX semantics where the kernels are right, and where their sums saturate.

`verify` must pass the first and refuse the second: the tolerances of export/tasks/anomaly/task.py stand between.
Replays the golden samples of bundles natively and on AVX2 kernels (how: avx2_cpu.py), where "int8" saturates and
"int8-w7" does not. On a CPU without VNNI both are the same, and the record says so.

    python benchmarks/verify_margins.py demo-report/demo.edge line3.edge --out docs/results/verify_margins.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import avx2_cpu
from record import Rows, options, write_record

from edge_sdk.runtimes import probe

CALL = "from edge_sdk.cli.main import run; run()"
RUNTIMES, VARIANTS = ("onnxruntime", "openvino"), ("int8", "int8-w7")


def worst(bundle: Path, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """By graph and runtime, the largest error of each output as a share of its largest golden value."""
    words = [*(f"--runtime={name}" for name in RUNTIMES), *(f"--variant={name}" for name in VARIANTS)]
    command = [sys.executable, "-W", "ignore", "-c", CALL, "verify", str(bundle), "--json", *words]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    report = json.loads(done.stdout)
    rows = []
    for row in report["rows"]:
        if row["problem"]:
            raise SystemExit(f"{row['graph']} on {row['runtime']}: {row['problem']}")
        found: dict[str, float] = {}
        for check in row["outputs"] + row["batch_outputs"]:
            found[check["output"]] = max(found.get(check["output"], 0.0), check["relative"])
        rows.append({**{key: row[key] for key in ("graph", "variant", "runtime", "passed")}, "relative": found})
    return rows


def summary(bundles: list[dict[str, Any]], output: str) -> dict[str, Any]:
    """The largest error of right kernels, and by bundle the largest of "int8" on AVX2 kernels, whose sums of 16 bits
    may saturate: where few do, the answer is as good as right."""
    right, capped = [], {}
    exact = ("int8", "int8-w7") if probe.cpu().adds_in_32_bits else ("int8-w7",)
    for bundle in bundles:
        right += [row["relative"][output] for row in bundle["native"] if row["variant"] in exact]
        right += [row["relative"][output] for row in bundle["avx2"] if row["variant"] == "int8-w7"]
        of_int8 = [row for row in bundle["avx2"] if row["variant"] == "int8"]
        capped[bundle["bundle"]] = {
            "largest": max(row["relative"][output] for row in of_int8), "passed": all(row["passed"] for row in of_int8)
        }  # fmt: skip
    return {"largest_right": max(right), "int8_on_avx2": capped}


def measured(bundle: Path, avx2: Mapping[str, str]) -> dict[str, Any]:
    """Errors of one bundle with the kernels of this CPU, and with those of AVX2."""
    return {"bundle": bundle.name, "native": worst(bundle, {}), "avx2": worst(bundle, avx2)}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("bundles", nargs="+", type=Path)
    out.add_argument("--out", type=Path, default=Path("docs/results/verify_margins.json"))
    out.add_argument("--note", action="append", default=[], help="a remark for the record")
    return out


def main() -> None:
    """One record of all bundles."""
    asked = parser().parse_args()
    rows = Rows(asked.out, asked)
    with tempfile.TemporaryDirectory() as folder:
        avx2: Mapping[str, str] = {}
        if probe.cpu().adds_in_32_bits:
            avx2 = avx2_cpu.environment(Path(folder))
            avx2_cpu.proven(avx2)
        measured_rows = [rows.row(path.name, lambda path=path: measured(path, avx2)) for path in asked.bundles]
    metrics = {
        "instruction_set": probe.cpu().isa, "bundles": measured_rows, "map": summary(measured_rows, "map"),
        "score": summary(measured_rows, "score"),
    }  # fmt: skip
    write_record(asked.out, metrics, seeds=[0], samples=3 * len(measured_rows), notes=asked.note)
    rows.discard()
    print(json.dumps({name: metrics[name] for name in ("map", "score")}, indent=1))


if __name__ == "__main__":
    main()
