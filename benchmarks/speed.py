"""Speed ratios of a PDN-S and an XS bundle, each measured in one interleaved run of two processes.

int8 against fp32 in the same runtime, native and capped to AVX2 (how: avx2_cpu.py); predict() against the bare runtime
call; XS int8 against PDN-S fp32, end to end.

    python benchmarks/speed.py --pdn runs/pdn_s.edge --xs runs/xs.edge --out docs/results/speed.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import avx2_cpu
from record import write_record

from edge_sdk.profiling.compare import CompareOptions, compare
from edge_sdk.profiling.processes import Side
from edge_sdk.runtimes import probe

PREDICT, BARE = "edge_sdk.profiling.predicting:predict", "edge_sdk.profiling.predicting:bare"


@dataclass(frozen=True)
class Pair:
    """One ratio: how many times faster `b` is than `a`, and the figure that is asked of it."""

    name: str
    a: Side
    b: Side
    wanted: str


def side(
    bundle: Path, variant: str | None, runtime: str, threads: int, *, factory: str = PREDICT, folder: Path | None = None
) -> Side:
    """One process that runs one variant of one bundle. variant: None = what suits this machine. folder: where a
    `factory` lies that is not edge_sdk's."""
    name = f"{bundle.stem} {variant or 'as it suits'} {runtime} {threads} threads {factory.rpartition(':')[2]}"
    return Side(
        name=name, factory=factory, folder=folder,
        arguments={"bundle": str(bundle), "variant": variant, "runtime": runtime, "threads": threads}, threads=threads,
    )  # fmt: skip


def pairs(pdn: Path, xs: Path, threads: int, avx2: Mapping[str, str]) -> list[Pair]:
    """All ratios, in the order in which they are told. avx2: environment of a process capped to AVX2."""
    out = []
    for runtime, wanted in (("openvino", ">= 3 with VNNI"), ("onnxruntime", ">= 1.6 with VNNI")):
        a, b = side(pdn, "fp32", runtime, threads), side(pdn, "int8", runtime, threads)
        out.append(Pair(f"PDN-S int8 over fp32, {runtime}", a, b, wanted))
    for runtime, wanted in (("openvino", ">= 1.8"), ("onnxruntime", ">= 1.35")):
        a, b = side(pdn, "fp32", runtime, threads), side(pdn, "int8-w7", runtime, threads)
        capped = [replace(s, environment=avx2, name=f"{s.name} capped to AVX2") for s in (a, b)]
        out.append(Pair(f"PDN-S int8-w7 over fp32, {runtime} capped to AVX2", *capped, wanted))
    for bundle, name in ((pdn, "PDN-S"), (xs, "XS")):
        whole = side(bundle, "int8", "openvino", threads)
        out.append(Pair(
            f"bare runtime call over predict, {name} int8, openvino", whole, replace(
                side(bundle, "int8", "openvino", threads, factory=BARE)), "<= 1.05 for PDN-S",
        ))  # fmt: skip
    for runtime in ("openvino", "onnxruntime"):
        a, b = side(xs, "fp32", runtime, threads), side(xs, "int8", runtime, threads)
        out.append(Pair(f"XS int8 over fp32, {runtime}", a, b, "no bound"))
    a, b = side(pdn, "fp32", "openvino", threads), side(xs, "int8", "openvino", threads)
    out.append(Pair("XS int8 over PDN-S fp32, end to end, openvino", a, b, ">= 30"))
    return out


def portable(told: Any) -> Any:
    """The same without this machine's folders: an interpreter is "python", a bundle its file name."""
    if isinstance(told, dict):
        return {key: portable(value) for key, value in told.items()}
    if isinstance(told, str) and told == sys.executable:
        return "python"
    return Path(told).name if isinstance(told, str) and told.startswith("/") else told


def main() -> None:
    """Measures every pair and writes one record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pdn", type=Path, required=True)
    parser.add_argument("--xs", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/results/speed.json"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-time", type=float, default=60.0, help="seconds of measuring a pair")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, avx2_cpu.environment(Path(folder)))


def measure(arguments: argparse.Namespace, avx2: Mapping[str, str]) -> None:
    """Every pair, then the record."""
    cpu, saturated = probe.cpu(), avx2_cpu.proven(avx2)
    found: list[dict[str, Any]] = []
    for pair in pairs(arguments.pdn, arguments.xs, arguments.threads, avx2):
        told = compare(pair.a, pair.b, options=CompareOptions(max_time_s=arguments.max_time))
        row = {
            "name": pair.name,
            "wanted": pair.wanted,
            "speedup": told.speedup,
            "comparison": portable(told.to_json()),
        }
        found.append(row)
        print(f"{told.speedup:6.2f}x  {pair.name}  (wanted {pair.wanted})", flush=True)
    result = {
        "instruction_set": cpu.isa, "flags": list(cpu.flags), "onnxruntime_full_scale_answer_capped": saturated,
        "ratios": found,
    }  # fmt: skip
    write_record(arguments.out, result, seeds=[0], samples=sum(r["comparison"]["ratios"]["calls"] for r in found))
    print(json.dumps({r["name"]: round(r["speedup"], 2) for r in found}, indent=1))


if __name__ == "__main__":
    main()
