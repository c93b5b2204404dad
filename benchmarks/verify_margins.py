"""How far int8 answers are from ONNX semantics where the kernels are right, and where their sums saturate.

`verify` must pass the first and refuse the second: export/pack.py's TOLERANCES stand between. Replays the golden
samples of bundles natively and on AVX2 kernels (how: avx2_cpu.py), where "int8" saturates and "int8-w7" does not.

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
from record import write_record

CALL = "from edge_sdk.cli.main import run; run()"
RUNTIMES, VARIANTS = ("onnxruntime", "openvino"), ("int8", "int8-w7")


def worst(bundle: Path, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """By graph and runtime, the largest error of each output as a share of its largest golden value."""
    options = [*(f"--runtime={name}" for name in RUNTIMES), *(f"--variant={name}" for name in VARIANTS)]
    command = [sys.executable, "-W", "ignore", "-c", CALL, "verify", str(bundle), "--json", *options]
    told = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if told.returncode not in (0, 1):
        raise SystemExit(told.stderr)
    report = json.loads(told.stdout)
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
    for bundle in bundles:
        right += [row["relative"][output] for row in bundle["native"]]
        right += [row["relative"][output] for row in bundle["avx2"] if row["variant"] == "int8-w7"]
        of_int8 = [row for row in bundle["avx2"] if row["variant"] == "int8"]
        capped[bundle["bundle"]] = {
            "largest": max(row["relative"][output] for row in of_int8), "passed": all(row["passed"] for row in of_int8)
        }  # fmt: skip
    return {"largest_right": max(right), "int8_on_avx2": capped}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        avx2 = avx2_cpu.environment(Path(folder))
        avx2_cpu.proven(avx2)
        told = [
            {"bundle": path.name, "native": worst(path, {}), "avx2": worst(path, avx2)} for path in arguments.bundles
        ]
    figures = {"bundles": told, "map": summary(told, "map"), "score": summary(told, "score")}
    write_record(arguments.out, figures, seeds=[0], samples=3 * len(told))
    print(json.dumps({name: figures[name] for name in ("map", "score")}, indent=1))


if __name__ == "__main__":
    main()
