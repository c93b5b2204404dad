"""int8 on a CPU without VNNI: how wrong a network built to saturate answers, how wrong it was predicted, and int8-w7.

    python benchmarks/saturation.py --out docs/results/saturation.json

Each network is quantized with the defaults of `quantize`; the report of that predicts what is then run in OpenVINO
and ONNX Runtime as their vendors ship them, capped to AVX2 (how: avx2_cpu.py; a CPU without VNNI needs no cap). The
networks are those of tests/calibration/without_vnni.py.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import avx2_cpu
from record import ROOT, options, write_record

from edge_sdk.runtimes import probe

VARIANTS = ("int8", "int8-w7")


def networks() -> ModuleType:
    """tests/calibration/without_vnni.py."""
    sys.path.insert(0, str(ROOT / "tests" / "calibration"))
    import without_vnni

    return without_vnni


def environment(folder: Path) -> dict[str, str]:
    """Of a process that finds no VNNI; exits where that can't be had."""
    if not probe.cpu().adds_in_32_bits:
        return {}
    made = avx2_cpu.environment(folder)
    avx2_cpu.proven(made)
    return made


def measured(seed: int, count: int, folder: Path, capped: dict[str, str]) -> list[dict[str, Any]]:
    """One row for each runtime: relative L2 errors against float32, by the standard, predicted and run."""
    import numpy as np

    from edge_sdk.calibration import QuantizeOptions, Trials, graphs, quantize
    from edge_sdk.calibration.comparison import fidelity

    nets = networks()
    graph, feeds = nets.built_to_saturate(seed), nets.samples(count)
    trials = Trials(scales=True)
    made = quantize(graph, feeds, options=QuantizeOptions(variants=VARIANTS, threads=1, trials=trials))
    wanted = [one["out"] for one in fidelity.outputs(graphs.parsed(graph), feeds, 1)]
    rows = []
    for runtime, layout in nets.LAYOUTS.items():
        pixels = [one["image"] for one in feeds]
        files = {name: (made.get(name, layout).graph, pixels) for name in VARIANTS}
        got = nets.answers(runtime, files, folder, (sys.executable,), capped)
        real = {name: fidelity.relative(wanted, got[name]) for name in VARIANTS}
        by = {row.by: row.scale for row in made.report.scales if row.variant == "int8"}
        predicted = by[f"{runtime} without VNNI, predicted"].relative_error
        layers = next(one for one in made.report.saturation if one.runtime == runtime).layers
        rows.append(
            {
                "seed": seed, "runtime": runtime,
                "error_by_the_standard": by["ONNX semantics"].relative_error,
                "predicted_error": predicted, "error": real["int8"],
                "predicted_off_by": abs(predicted - real["int8"]) / real["int8"],
                "error_int8_w7": real["int8-w7"],
                "layers": [{"node": one.node, "pairs_cut": one.pairs_cut, "lost": one.error} for one in layers],
                "values": int(np.sum([one.size for one in wanted])),
            }
        )  # fmt: skip
    return rows


def parser() -> argparse.ArgumentParser:
    """The options of this script."""
    made = options(__doc__)
    made.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "saturation.json")
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the networks' weights")
    return made


def main() -> None:
    asked = parser().parse_args()
    warnings.simplefilter("ignore")
    from edge_sdk.calibration.saturation.prediction import MOST_SAMPLES

    with tempfile.TemporaryDirectory() as name:
        capped = environment(Path(name))
        rows = [row for seed in asked.seeds for row in measured(seed, MOST_SAMPLES, Path(name), capped)]
    worst = {
        "least_error": min(row["error"] for row in rows),
        "largest_predicted_off_by": max(row["predicted_off_by"] for row in rows),
        "largest_error_int8_w7": max(row["error_int8_w7"] for row in rows),
    }
    how = "capped to AVX2" if capped else "this CPU has no VNNI: nothing had to be capped"
    write_record(
        asked.out, {"networks": rows, **worst}, seeds=asked.seeds, samples=MOST_SAMPLES,
        notes=[how, "errors are relative (L2) against float32; lost: of a layer's own output, given what it reads"],
    )  # fmt: skip
    print(worst)


if __name__ == "__main__":
    main()
