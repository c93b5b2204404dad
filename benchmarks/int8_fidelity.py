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
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))
import avx2_cpu
from record import options, write_record
from xs_quality import SETS, add_configuration, read, stated_options

from edge_sdk.runtimes import probe

if TYPE_CHECKING:
    from edge_sdk.export.anomaly.data import Picture
    from edge_sdk.export.tasks.anomaly.evaluate import VariantScores

KEYS = ("variant", "layout", "runtime", "kept_least", "problem")


def measure(name: str, seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    """All variants of one trained model on every runtime here, at the lowest rate that its held-out parts support."""
    from edge_sdk.export import build, registry
    from edge_sdk.export.tasks.anomaly import evaluate, metrics
    from edge_sdk.export.tasks.anomaly.task import AnomalyExport
    from edge_sdk.export.tasks.base import Made
    from edge_sdk.progress import silent

    stated, family = SETS[name], registry.family("efficientad")
    training, task = stated_options(stated, seed, asked)
    data = read(stated, asked.data, training, task)
    folder = asked.runs / f"{name}-{seed}"
    planned = family.plan(data, training, folder=folder)
    trained = family.train(data, training, planned=planned, folder=folder, progress=silent)
    exported = family.graphs(trained)
    made = Made(
        family=family, data=data, options=task, trained=trained, exported=exported, threads=asked.threads,
        quantized=build.quantized(
            exported, family.samples(data, trained, exported, build.CALIBRATION_SAMPLES), asked.threads
        ),
    )  # fmt: skip
    (decision,) = AnomalyExport().decide(made)
    inputs = evaluate.prepared(data.test, data.store, exported.preprocessing)
    scored = evaluate.score_all(made.variants(), inputs, threads=asked.threads)
    table = metrics.rows(scored, data.test, decision.threshold, group=data.group)
    cpu = probe.cpu()
    return {
        "set": name, "seed": seed, "instruction_set": cpu.isa, "openvino_instruction_set": cpu.onednn_isa,
        "threshold": decision.threshold, "pictures": len(data.test), "rows": [row.to_json() for row in table],
        "equal_error": equal_error(scored, data.test),
    }  # fmt: skip


def equal_error(scored: Sequence[VariantScores], pictures: Sequence[Picture]) -> dict[str, Any]:
    """Flips, by picture, at the threshold where fp32's share of false rejects and its share of misses are nearest."""
    from edge_sdk.export.tasks.anomaly import detection, metrics

    against = metrics.reference(scored)
    if against is None:
        raise SystemExit("no fp32 graph ran")
    good = np.array([p.label == "good" for p in pictures])
    found = [
        detection.at_threshold(against.scores[good], against.scores[~good], t) for t in _between(against.scores)
    ]  # fmt: skip
    at = min(found, key=lambda t: abs(t.false_rejects / t.good - t.misses / t.defects))
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


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("--data", type=Path, required=True)
    out.add_argument("--runs", type=Path, default=Path("runs/xs_quality"))
    out.add_argument("--out", type=Path, default=Path("docs/results/int8_fidelity"))
    out.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    out.add_argument("--seed", type=int, default=0)
    add_configuration(out)
    out.add_argument("--again", action="store_true", help="measure sets anew that have a record")
    out.add_argument("--one", choices=list(SETS), help="print one set's figures as JSON, write nothing")
    out.add_argument("--note", action="append", default=[], help="a remark for the record")
    return out


def main() -> None:
    """One record a set; the capped half runs in a process of its own, since the cap is read when OpenVINO is loaded."""
    asked = parser().parse_args()
    if asked.one:
        sys.stdout.write(json.dumps(measure(asked.one, asked.seed, asked)))
        return
    for name in asked.sets:
        file = asked.out / f"{name}.json"
        if file.exists() and not asked.again:
            print(f"{file} is there: --again measures it anew")
            continue
        result = {"native": measure(name, asked.seed, asked)}
        if probe.cpu().adds_in_32_bits:  # else the native half ran AVX2 kernels
            result["capped_to_avx2"] = capped(name)
        write_record(file, result, seeds=[asked.seed], samples=result["native"]["pictures"], notes=asked.note)
        for kind, found in result.items():
            for row in found["rows"]:
                print(name, kind, *(f"{k}={row[k]}" for k in KEYS), row["by_part"] or row["by_picture"], flush=True)
            print(name, kind, "equal_error", found["equal_error"], flush=True)


def capped(name: str) -> dict[str, Any]:
    """`measure` with this process's own options, in one that sees a CPU with AVX2 alone."""
    command = [sys.executable, __file__, *sys.argv[1:], "--one", name]
    with tempfile.TemporaryDirectory() as folder:
        avx2 = avx2_cpu.environment(Path(folder))
        avx2_cpu.proven(avx2)
        ran = subprocess.run(command, env={**os.environ, **avx2}, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return answer


if __name__ == "__main__":
    main()
