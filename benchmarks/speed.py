"""Speed ratios of a PDN-S and an XS bundle, each measured in one interleaved run of two processes.

With one thread and with all: int8 against fp32 in the same runtime, native and capped to AVX2 (how: avx2_cpu.py);
predict() against the bare runtime call; predict with map and regions against predict alone, since a thread pool that
still spins after the map takes cores from the next call; XS int8 against PDN-S fp32, end to end. int8 is int8-w7 on a
CPU that adds int8 products in 16 bits, as `load` chooses there.

    python benchmarks/pdn_bundle.py runs/pdn_s.edge
    edge-sdk train efficientad PHOTOS --steps 30 --out runs/xs.edge        (speed needs no more)
    python benchmarks/speed.py --pdn runs/pdn_s.edge --xs runs/xs.edge --out docs/results/speed.json

Resumable: pairs that were measured stay in a file beside --out until the record is written.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import avx2_cpu
from pairs import BARE, Pair, calls, measured, side
from record import Rows, options, write_record

from edge_sdk.profiling.compare import CompareOptions
from edge_sdk.runtimes import probe

HERE = Path(__file__).resolve().parent
RUNTIMES = ("openvino", "onnxruntime")
KINDS = ("int8", "bare", "map", "xs")
OVER_FP32 = {"openvino": "speedup >= 3 with VNNI", "onnxruntime": "speedup >= 1.6 with VNNI"}
OVER_FP32_AVX2 = {"openvino": "speedup >= 1.8", "onnxruntime": "speedup >= 1.35"}


def looked_at(*, bundle: str, variant: str | None, runtime: str, threads: int) -> Any:
    """`predict`, then map and regions, as whoever draws an overlay asks for them."""
    from edge_sdk.profiling.predicting import Calls, predict

    alone = predict(bundle=bundle, variant=variant, runtime=runtime, threads=threads)

    def call(_: Any) -> Any:
        result = alone()
        return result.map, result.regions

    shape, regions = call(None)[0].shape, len(call(None)[1])
    facts = {**alone.facts, "what": "predict, map and regions", "map": list(shape), "regions": regions}
    return Calls(call, [None], facts)


def pairs(asked: argparse.Namespace, threads: int, avx2: Mapping[str, str] | None) -> list[Pair]:
    """All ratios with so many threads, in the order of the report. avx2: environment of a process capped to
    AVX2, None where this CPU has no more."""
    int8, count = asked.int8, f"{threads} thread{'s'[: threads > 1]}"
    bundles = {"PDN-S": asked.pdn.resolve(), "XS": asked.xs.resolve()}
    pdn, xs = bundles.values()
    out: dict[str, list[Pair]] = {kind: [] for kind in KINDS}
    for runtime in RUNTIMES:
        name = f"PDN-S {int8} over fp32, {runtime}, {count}"
        wanted = OVER_FP32 if int8 == "int8" else OVER_FP32_AVX2
        a, b = side(pdn, "fp32", runtime, threads), side(pdn, int8, runtime, threads)
        out["int8"].append(Pair(name, a, b, wanted[runtime]))
        if avx2 is not None:
            name = f"PDN-S int8-w7 over fp32, {runtime} capped to AVX2, {count}"
            a, b = (side(pdn, variant, runtime, threads, environment=avx2) for variant in ("fp32", "int8-w7"))
            out["int8"].append(Pair(name, a, b, OVER_FP32_AVX2[runtime]))
        for title, bundle in bundles.items():
            name = f"predict with map and regions over predict alone, {title} {int8}, {runtime}, {count}"
            alone = side(bundle, int8, runtime, threads)
            shown = side(bundle, int8, runtime, threads, factory="speed:looked_at", folder=HERE)
            out["map"].append(Pair(name, alone, shown, "time_ratio <= 1.1"))
        a, b = side(xs, "fp32", runtime, threads), side(xs, int8, runtime, threads)
        out["xs"].append(Pair(f"XS {int8} over fp32, {runtime}, {count}", a, b, "no bound"))
    for title, bundle in bundles.items():
        whole = side(bundle, int8, "openvino", threads)
        bare = side(bundle, int8, "openvino", threads, factory=BARE)
        wanted_ = "speedup <= 1.05" if title == "PDN-S" else "no bound"
        out["bare"].append(
            Pair(f"bare runtime call over predict, {title} {int8}, openvino, {count}", whole, bare, wanted_)
        )
    a, b = side(pdn, "fp32", "openvino", threads), side(xs, int8, "openvino", threads)
    out["xs"].append(Pair(f"XS {int8} over PDN-S fp32, end to end, openvino, {count}", a, b, "speedup >= 30"))
    return [pair for kind in asked.only for pair in out[kind]]


def measure(asked: argparse.Namespace, avx2: Mapping[str, str] | None) -> None:
    """Every pair with every number of threads, then the record."""
    cpu, rows, found = probe.cpu(), Rows(asked.out, asked), []
    saturated = None if avx2 is None else avx2_cpu.proven(avx2)
    limits = CompareOptions(max_time_s=asked.max_time, pairs=tuple(asked.pairs))
    for threads in asked.threads:
        found += measured(pairs(asked, threads, avx2), rows, limits)
    metrics = {
        "instruction_set": cpu.isa, "flags": list(cpu.flags), "onnxruntime_full_scale_answer_capped": saturated,
        "ratios": found,
    }  # fmt: skip
    write_record(asked.out, metrics, seeds=[0], samples=calls(found), notes=asked.note)
    rows.discard()
    print(json.dumps({row["name"]: round(row["speedup"], 2) for row in found}, indent=1))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("--pdn", type=Path, required=True, help="of pdn_bundle.py")
    out.add_argument("--xs", type=Path, required=True, help="an XS bundle, however shortly trained")
    out.add_argument("--out", type=Path, default=Path("docs/results/speed.json"))
    out.add_argument("--threads", type=int, nargs="+", default=sorted({1, probe.default_threads()}), help="of each run")
    out.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), help="some of the ratios")
    out.add_argument("--max-time", type=float, default=60.0, help="seconds of measuring a pair")
    out.add_argument("--pairs", type=int, nargs="+", default=list(CompareOptions().pairs), help="of blocks of calls")
    out.add_argument("--note", nargs="*", default=[], help="kept in the record: what else the machine was doing")
    return out


def main() -> None:
    """Measures every pair and writes one record."""
    asked = parser().parse_args()
    asked.int8 = "int8" if probe.cpu().adds_in_32_bits else "int8-w7"
    if "int8" not in asked.only or asked.int8 != "int8":
        measure(asked, None)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(asked, avx2_cpu.environment(Path(folder)))


if __name__ == "__main__":
    main()
