"""int8 against fp32 of trained XS models on the three picture sets: AUROC, verdict flips, score kept by strong defects.

Both int8 variants in ONNX Runtime and OpenVINO, native and capped to AVX2 (how: avx2_cpu.py). Verdict flips are counted
at the product's threshold, and amid the scores, at the one where fp32 errs alike on good parts and on defects.
Uses the run folders that xs_quality.py left, so nothing is trained again.

    python benchmarks/int8_fidelity.py --data ../shared/data --runs runs/xs_quality --out docs/results/int8_fidelity
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))
import avx2_cpu
from record import write_record
from xs_quality import SETS, add_configuration, training_options

from edge_sdk.export import build, evaluate, figures, registry
from edge_sdk.export.evaluate import Scored
from edge_sdk.export.family import Picture
from edge_sdk.export.pictures import read_pictures
from edge_sdk.quality import detection
from edge_sdk.runtimes import probe


def measure(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """All variants of one trained model on every runtime here, at the lowest rate that its held-out parts support."""
    stated = SETS[name]
    data = read_pictures(arguments.data / stated.folder, group=stated.group)
    family = registry.family("efficientad")
    folder = arguments.runs / f"{name}-{seed}"
    trained = family.train(data, training_options(stated, seed, arguments), folder=folder, progress=_quiet)
    made = build.variants(family, data, trained)
    wanted = build.BuildOptions(name=name, out=folder)
    decision = build.decide(data, trained, wanted, build.scored_by(made, trained, wanted))
    inputs = evaluate.prepared(data.test, made.graph.preprocessing)
    scored = evaluate.score_all(made.all, inputs, threads=arguments.threads)
    table = figures.rows(scored, data.test, decision.threshold, group=data.group)
    cpu = probe.cpu()
    return {
        "set": name, "seed": seed, "instruction_set": cpu.isa, "openvino_instruction_set": cpu.onednn_isa,
        "threshold": decision.threshold, "pictures": len(data.test), "rows": [row.to_json() for row in table],
        "equal_error": equal_error(scored, data.test),
    }  # fmt: skip


def equal_error(scored: Sequence[Scored], pictures: Sequence[Picture]) -> dict[str, Any]:
    """Flips, by picture, at the threshold where fp32's share of false rejects and its share of misses are nearest."""
    against = figures.reference(scored)
    if against is None:
        raise SystemExit("no fp32 graph ran")
    good = np.array([p.label == "good" for p in pictures])
    told = [
        detection.at_threshold(against.scores[good], against.scores[~good], t) for t in _between(against.scores)
    ]  # fmt: skip
    at = min(told, key=lambda t: abs(t.false_rejects / t.good - t.misses / t.defects))
    return {
        "threshold": at.threshold, "false_rejects": at.false_rejects, "misses": at.misses,
        "flips": [
            {"variant": s.variant, "layout": s.layout, "runtime": s.runtime,
             "flips": detection.verdict_flips(against.scores, s.scores, threshold=at.threshold).count}
            for s in scored if s is not against and not s.problem
        ],
    }  # fmt: skip


def _between(scores: NDArray[np.float64]) -> list[float]:
    """Thresholds that no score equals, half the way from each score to the next."""
    found = np.unique(scores)
    return [float(t) for t in (found[1:] + found[:-1]) / 2]


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
        with tempfile.TemporaryDirectory() as folder:
            avx2 = avx2_cpu.environment(Path(folder))
            avx2_cpu.proven(avx2)
            ran = subprocess.run(command, env={**os.environ, **avx2}, capture_output=True, text=True, check=True)
        result = {"native": native, "capped_to_avx2": json.loads(ran.stdout.splitlines()[-1])}
        write_record(arguments.out / f"{name}.json", result, seeds=[arguments.seed], samples=native["pictures"])
        for kind, told in result.items():
            for row in told["rows"]:
                print(name, kind, *(f"{k}={row[k]}" for k in KEYS), row["by_part"] or row["by_picture"], flush=True)
            print(name, kind, "equal_error", told["equal_error"], flush=True)


KEYS = ("variant", "layout", "runtime", "kept_least", "problem")

if __name__ == "__main__":
    main()
