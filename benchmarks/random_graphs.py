"""500 random graphs through `quantize`: errors beside onnxruntime.quantization's, true int8 counts, runtimes' answers.

    python benchmarks/random_graphs.py --out docs/results/random_graphs.json

The generator is tests/calibration/random_graphs.py. Resumable: what was examined stays in a file beside --out until the
record is written.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import statistics
import sys
import time
import warnings
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import ROOT, Rows, options, write_record

from edge_sdk.calibration.trials import ENGINE_NAMES

GENERATOR = ROOT / "tests" / "calibration" / "random_graphs.py"


def generator() -> ModuleType:
    """tests/calibration/random_graphs.py, which has this file's name."""
    spec = importlib.util.spec_from_file_location("generator_of_random_graphs", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def examined(made: ModuleType, seed: int, engines: tuple[str, ...]) -> dict[str, Any]:
    """The row of one seed."""
    from edge_sdk.calibration.trials import Trials

    found = made.examine(seed, trials=Trials(engines=engines))
    if found is None:
        return {"seed": seed, "skipped": True}
    return {"seed": seed, **asdict(found), "broken": made.failures(found)}


def summary(rows: list[dict[str, Any]], tolerance: float) -> dict[str, Any]:
    """The figures of the record; nothing is left out: refused and broken graphs are listed with their sentence."""
    run = [row for row in rows if "skipped" not in row]
    done = [row for row in run if not row["refused"] and not row["failed"]]
    compared = [row for row in done if row["peer"] is not None and row["int8"]]
    ratios = sorted(row["ours"] / max(row["peer"], 1e-9) for row in compared)
    return {
        "graphs": len(rows),
        "run_by_onnxruntime": len(run),
        "quantized": len(done),
        "refused": [{key: row[key] for key in ("seed", "opset", "refused")} for row in run if row["refused"]],
        "broken": [{key: row[key] for key in ("seed", "opset", "broken")} for row in run if row["broken"]],
        "bare_exceptions": sum(any(text.startswith("bare") for text in row["failed"]) for row in run),
        "by_opset": dict(sorted(Counter(row["opset"] for row in run).items())),
        "nodes_median": statistics.median(row["nodes"] for row in run),
        "peer": "onnxruntime.quantization: QDQ, symmetric int8, per channel, QuantizeBias=False",
        "peer_took": len(compared),
        "error_ratio_to_peer_median": statistics.median(ratios),
        "error_ratio_to_peer_95th": ratios[int(0.95 * len(ratios))],
        "error_ratio_above_1.5": sum(ratio > 1.5 for ratio in ratios),
        "error_median": statistics.median(row["ours"] for row in done),
        "error_median_peer": statistics.median(row["peer"] for row in compared),
        "int8_claimed": _sums(done),
        "openvino": _gaps(done, "openvino", tolerance),
        "onnxruntime": _gaps(done, "onnxruntime", tolerance),
    }  # fmt: skip


def _gaps(rows: list[dict[str, Any]], runtime: str, tolerance: float) -> dict[str, Any]:
    """Largest distance of a value from ONNX semantics, in largest values of its output."""
    found = sorted(row[runtime] for row in rows if row[runtime] is not None)
    beyond = sum(gap > tolerance for gap in found)
    return {
        "compared": len(found), "distance_median": statistics.median(found), "distance_largest": found[-1],
        "distance_99th": found[int(0.99 * len(found))], f"beyond_{tolerance:g}": beyond,
    }  # fmt: skip


def _sums(rows: list[dict[str, Any]]) -> dict[str, int]:
    """int8 operators by runtime, over all graphs; each count was compiled and read back."""
    sums: Counter[str] = Counter()
    for row in rows:
        for runtime, layout in (("openvino", "conv-relu-q"), ("onnxruntime", "conv-q-relu-q")):
            for key, count in row["int8"].items():
                name, *runtimes = key.split()
                if name == layout and (not runtimes or runtime in runtimes):
                    sums[runtime] += count
    return dict(sums)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "random_graphs.json")
    out.add_argument("--graphs", type=int, default=500)
    out.add_argument("--engines", nargs="+", choices=ENGINE_NAMES, default=list(ENGINE_NAMES))
    return out


def main() -> None:
    """Every seed, then the record."""
    asked = parser().parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    made, kept, rows, started = generator(), Rows(asked.out, asked), [], time.monotonic()
    for seed in range(asked.graphs):
        rows.append(kept.row(str(seed), lambda seed=seed: examined(made, seed, tuple(asked.engines))))
        if (seed + 1) % 50 == 0:
            print(f"{seed + 1} of {asked.graphs}, {time.monotonic() - started:.0f} s", file=sys.stderr)
    write_record(
        asked.out,
        summary(rows, made.TOLERANCE),
        seeds=[0, asked.graphs - 1],
        samples=asked.graphs,
        notes=[
            f"seeds 0 to {asked.graphs - 1}, {made.SAMPLES} calibration samples, {made.FRESH} others each",
            "errors: worst relative L2 difference of a real output from the float graph, by the letter of the "
            "standard, of the plans for all runtimes",
            f"engines: {', '.join(asked.engines)}; of both the nearer is kept",
            "distances: int8-w7 on CPUs that add int8 products in 16 bits, int8 elsewhere",
        ],
    )
    kept.discard()


if __name__ == "__main__":
    main()
