"""EfficientAD PDN-S on the screws of MVTec AD: one seed, image AUROC over the steps of one training.

`train` resumes from the checkpoint in RUN_FOLDER and may be stopped at any time; on its way it keeps copies, each at
twice the steps of the one before. `judge` measures map quantiles and test pictures with each of them; but for the last,
their learning rate has not fallen to its end yet. Needs the pictures of --data, and a teacher (the one that ships).

    python benchmarks/pdn_quality.py train RUN_FOLDER --data ../shared/data --steps 70000
    python benchmarks/pdn_quality.py judge RUN_FOLDER --data ../shared/data --out docs/results/pdn_quality.json
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import Rows, options, write_record
from xs_quality import SETS, evaluated, read

if TYPE_CHECKING:
    from edge_sdk.export.anomaly.data import AnomalyData, AnomalyTrained
    from edge_sdk.export.efficientad.options import EfficientAdOptions
    from edge_sdk.preprocess import Prepared

FIRST_COPY = 100
"""Steps; the next copy at twice the steps of the one before."""


class Copies:
    """Progress of a training printed in lines, which also keeps a checkpoint at every doubling of the steps."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, _checkpoint(folder)
        self._seen, self._reported = 0.0, 0.0

    def __call__(self, done: int, total: int, note: str) -> None:
        if time.monotonic() - self._reported > 60.0:
            self._reported = time.monotonic()
            print(f"{time.strftime('%H:%M:%S')} {done}/{total} {note}", flush=True)
        if self._file.is_file() and self._file.stat().st_mtime > self._seen:
            self._seen = self._file.stat().st_mtime
            self._keep(_step_of(self._file))

    def _keep(self, step: int) -> None:
        kept = _copies(self._folder)
        if step >= (2 * kept[-1][0] if kept else FIRST_COPY):
            target = self._folder / f"step-{step}"
            target.mkdir()
            shutil.copyfile(self._file, _checkpoint(target))


def _checkpoint(folder: Path) -> Path:
    from edge_sdk.export.training import checkpoint

    return folder / checkpoint.NAME


def _copies(folder: Path) -> list[tuple[int, Path]]:
    return sorted((int(path.name.removeprefix("step-")), path) for path in folder.glob("step-*"))


def _step_of(file: Path) -> int:
    from edge_sdk.export import tensors_file
    from edge_sdk.export.training import checkpoint

    with tensors_file.opened(file, kind=checkpoint.FORMAT, what="no checkpoint", hint="Run train first") as opened:
        return int(opened.described["step"])


def options_of(asked: argparse.Namespace, steps: int | None) -> EfficientAdOptions:
    """What a user of the screws states: they lie in any direction."""
    from edge_sdk.export.efficientad.options import EfficientAdOptions

    minutes = asked.budget_min if steps is None else None
    return EfficientAdOptions(
        size="s", width=256, height=256, steps=steps, time_budget_s=None if minutes is None else minutes * 60.0,
        seed=asked.seed, any_orientation=SETS["screw"].any_orientation, teacher=asked.teacher, threads=asked.threads,
        device=asked.device,
    )  # fmt: skip


def trained(asked: argparse.Namespace, data: AnomalyData, folder: Path, steps: int | None) -> AnomalyTrained:
    """The model of one folder: trained on, or where it is at its end measured again."""
    from edge_sdk.export.efficientad.pdn import train as pdn

    recipe = pdn.PdnRecipe(bf16=asked.bf16)
    return pdn.train(data, options_of(asked, steps), folder=folder, progress=Copies(folder), recipe=recipe)


def scores_of(trained: AnomalyTrained, inputs: Sequence[Prepared], threads: int) -> tuple[str, NDArray[np.float64]]:
    """Which runtime, and the raw score of every picture, in float32."""
    from edge_sdk.export.efficientad.pdn import train as pdn
    from edge_sdk.runtimes import registry
    from edge_sdk.runtimes.protocol import CompileOptions
    from edge_sdk.tasks.base import MODEL

    onnx = pdn.graphs(trained).graphs[MODEL].onnx
    runtime = registry.runtime("openvino")
    session = runtime.compile(onnx, CompileOptions(graph_name="fp32", threads=threads))
    try:
        name = session.inputs[0].name
        scores = [float(session.run({name: item.tensor})["score"][0]) for item in inputs]
        return f"{runtime.name} {session.explain().version}", np.array(scores)
    finally:
        session.close()


def evaluate_each(asked: argparse.Namespace, data: AnomalyData, rows: Rows) -> dict[str, Any]:
    """The curve, one point a copy."""
    from edge_sdk.export.efficientad.pdn.train import PdnRecipe
    from edge_sdk.export.tasks.anomaly import evaluate

    recipe = PdnRecipe(bf16=asked.bf16)
    last = _step_of(_checkpoint(asked.folder))
    copies = [*((s, p) for s, p in _copies(asked.folder) if s < last), (last, asked.folder)]
    inputs = evaluate.prepared(data.test, data.store, options_of(asked, 1).prepared_by(recipe.border))

    def point(step: int, folder: Path) -> dict[str, Any]:
        done = trained(asked, data, folder, step)
        runtime, scores = scores_of(done, inputs, asked.threads)
        facts = done.summary()
        return {
            "facts": facts, "losses": [{"step": step, **values} for step, values in done.history],
            "point": {"step": step, "training_s": facts["training_s"], "runtime": runtime,
                      **evaluated(scores, data, asked.seed)},
        }  # fmt: skip

    found: list[dict[str, Any]] = []
    for step, folder in copies:
        found.append(rows.row(f"step {step}", lambda step=step, folder=folder: point(step, folder)))
        print(step, found[-1]["point"]["auroc"], flush=True)
    return {
        "set": "screw", "recipe": asdict(recipe), "facts": found[-1]["facts"],
        "curve": [one["point"] for one in found], "losses": found[-1]["losses"],
    }  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("verb", choices=("train", "judge"))
    out.add_argument("folder", type=Path)
    out.add_argument("--data", type=Path, required=True, help="folder with mvtec_screw")
    out.add_argument("--teacher", type=Path, help="default: the one that ships")
    length = out.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="the paper's 70,000 by default")
    length.add_argument("--budget-min", type=float)
    out.add_argument("--bf16", action="store_true", help="convolutions of a training step in bfloat16")
    out.add_argument("--seed", type=int, default=0)
    out.add_argument("--threads", type=int, default=2)
    out.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    out.add_argument("--out", type=Path, default=Path("docs/results/pdn_quality.json"))
    out.add_argument("--note", action="append", default=[], help="a remark for the record")
    return out


def main() -> None:
    """One of the two steps."""
    asked = parser().parse_args()
    from edge_sdk.export.tasks.anomaly.options import AnomalyOptions

    data = read(SETS["screw"], asked.data, options_of(asked, 1), AnomalyOptions())
    if asked.verb == "train":
        trained(asked, data, asked.folder, asked.steps)
        return
    rows = Rows(asked.out, asked)
    found = evaluate_each(asked, data, rows)
    write_record(asked.out, found, seeds=[asked.seed], samples=found["curve"][-1]["pictures"], notes=asked.note)
    rows.discard()


if __name__ == "__main__":
    main()
