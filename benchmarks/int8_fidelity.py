"""int8 against fp32 of trained XS models on the three picture sets: AUROC, verdict flips, score kept by strong defects.

Both int8 variants in ONNX Runtime and OpenVINO, native and with OpenVINO's instruction set capped to AVX2. Uses the run
folders that xs_quality.py left, so nothing is trained again.

    python benchmarks/int8_fidelity.py --data ../shared/data --runs runs/xs_quality --out docs/results/int8_fidelity
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import write_record
from xs_quality import SETS, add_configuration, training_options

from edge_sdk.export import build, evaluate, figures, registry
from edge_sdk.export.pictures import read_pictures
from edge_sdk.runtimes import probe

CAP = "ONEDNN_MAX_CPU_ISA"


def measure(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """All variants of one trained model on every runtime here, at the lowest rate that its held-out parts support."""
    stated = SETS[name]
    data = read_pictures(arguments.data / stated.folder, group=stated.group)
    family = registry.family("efficientad")
    folder = arguments.runs / f"{name}-{seed}"
    trained = family.train(data, training_options(stated, seed, arguments), folder=folder, progress=_quiet)
    made = build.variants(family, data, trained)
    decision = build.decide(data, trained, build.BuildOptions(name=name, out=folder))
    inputs = evaluate.prepared(data.test, made.graph.preprocessing)
    scored = evaluate.score_all(made.all, inputs, threads=arguments.threads)
    table = figures.rows(scored, data.test, decision.threshold, group=data.group)
    cpu = probe.cpu()
    return {
        "set": name, "seed": seed, "instruction_set": cpu.isa, "openvino_instruction_set": cpu.onednn_isa,
        "threshold": decision.threshold, "pictures": len(data.test), "rows": [row.to_json() for row in table],
    }  # fmt: skip


def _quiet(done: int, total: int, note: str) -> None:
    pass


def main() -> None:
    """One record a set; the capped half runs in a process of its own, since the cap is read when OpenVINO is loaded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/xs_quality"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/int8_fidelity"))
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seed", type=int, default=0)
    add_configuration(parser)
    parser.add_argument("--one", choices=list(SETS), help="print one set's figures as JSON, write nothing")
    arguments = parser.parse_args()
    if arguments.one:
        sys.stdout.write(json.dumps(measure(arguments.one, arguments.seed, arguments)))
        return
    for name in arguments.sets:
        native = measure(name, arguments.seed, arguments)
        command = [sys.executable, __file__, *sys.argv[1:], "--one", name]
        capped = subprocess.run(command, env={**os.environ, CAP: "AVX2"}, capture_output=True, text=True, check=True)
        result = {"native": native, "capped_to_avx2": json.loads(capped.stdout.splitlines()[-1])}
        write_record(arguments.out / f"{name}.json", result, seeds=[arguments.seed], samples=native["pictures"])
        for kind, told in result.items():
            for row in told["rows"]:
                print(name, kind, *(f"{k}={row[k]}" for k in KEYS), row["by_part"] or row["by_picture"], flush=True)


KEYS = ("variant", "layout", "runtime", "kept_least", "problem")

if __name__ == "__main__":
    main()
