"""EfficientAD PDN-S on the screws of MVTec AD: one seed, image AUROC over the steps of one training.

`train` goes on from the checkpoint in RUN_FOLDER and may be stopped at any time; on its way it keeps copies, each at
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
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import write_record
from xs_quality import SETS, judged

from edge_sdk.export import evaluate, tensors_file
from edge_sdk.export.efficientad.pdn import train as pdn
from edge_sdk.export.family import PictureSet, Trained, TrainOptions
from edge_sdk.export.pictures import read_pictures
from edge_sdk.export.training import checkpoint
from edge_sdk.preprocess import Prepared
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions

FIRST_COPY = 100
"""Steps; the next copy at twice the steps of the one before."""


class Copies:
    """Progress of a training that is told in lines, and keeps a checkpoint at every doubling of the steps."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / checkpoint.NAME
        self._seen, self._told = 0.0, 0.0

    def __call__(self, done: int, total: int, note: str) -> None:
        if time.monotonic() - self._told > 60.0:
            self._told = time.monotonic()
            print(f"{time.strftime('%H:%M:%S')} {done}/{total} {note}", flush=True)
        if self._file.is_file() and self._file.stat().st_mtime > self._seen:
            self._seen = self._file.stat().st_mtime
            self._keep(_step_of(self._file))

    def _keep(self, step: int) -> None:
        kept = _copies(self._folder)
        if step >= (2 * kept[-1][0] if kept else FIRST_COPY):
            target = self._folder / f"step-{step}"
            target.mkdir()
            shutil.copyfile(self._file, target / checkpoint.NAME)


def _copies(folder: Path) -> list[tuple[int, Path]]:
    return sorted((int(path.name.removeprefix("step-")), path) for path in folder.glob("step-*"))


def _step_of(file: Path) -> int:
    with tensors_file.opened(file, kind=checkpoint.FORMAT, what="no checkpoint", do="Run train first") as opened:
        return int(opened.described["step"])


def options_of(arguments: argparse.Namespace, steps: int | None) -> TrainOptions:
    """What a user of the screws states: they lie in any direction."""
    minutes = arguments.budget_min if steps is None else None
    return TrainOptions(
        size="s", width=256, height=256, steps=steps, time_budget_s=None if minutes is None else minutes * 60.0,
        seed=arguments.seed, turns=SETS["screw"].turns, teacher=arguments.teacher, threads=arguments.threads,
    )  # fmt: skip


def recipe_of(arguments: argparse.Namespace) -> pdn.PdnRecipe:
    """The product's own, in bfloat16 if asked."""
    return pdn.PdnRecipe(bf16=arguments.bf16)


def scores_of(trained: Trained, inputs: Sequence[Prepared], threads: int) -> tuple[str, NDArray[np.float64]]:
    """Which runtime, and the raw score of every picture, in float32."""
    runtime = registry.runtime("openvino")
    session = runtime.compile(pdn.graph(trained).onnx, CompileOptions(graph_name="fp32", threads=threads))
    try:
        name = session.inputs[0].name
        scores = [float(session.run({name: item.tensor})["score"][0]) for item in inputs]
        return f"{runtime.name} {session.explain().version}", np.array(scores)
    finally:
        session.close()


def judge(arguments: argparse.Namespace, data: PictureSet) -> dict[str, Any]:
    """The curve, one point a copy."""
    recipe = recipe_of(arguments)
    last = _step_of(arguments.folder / checkpoint.NAME)
    copies = [*((s, p) for s, p in _copies(arguments.folder) if s < last), (last, arguments.folder)]
    inputs = evaluate.prepared(data.test, pdn.preprocessing(options_of(arguments, 1), recipe))
    points, facts = [], {}
    for step, folder in copies:
        trained = pdn.train(data, options_of(arguments, step), folder=folder, progress=Copies(folder), recipe=recipe)
        runtime, scores = scores_of(trained, inputs, arguments.threads)
        facts = trained.told()
        points.append({
            "step": step, "training_s": facts["training_s"], "runtime": runtime, **judged(scores, data, arguments.seed),
        })  # fmt: skip
        print(step, points[-1]["auroc"], flush=True)
    losses = [{"step": step, **values} for step, values in trained.history]
    return {"set": "screw", "recipe": asdict(recipe), "facts": facts, "curve": points, "losses": losses}


def main() -> None:
    """One of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("train", "judge"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder with mvtec_screw")
    parser.add_argument("--teacher", type=Path, help="default: the one that ships")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="the paper's 70,000 by default")
    length.add_argument("--budget-min", type=float)
    parser.add_argument("--bf16", action="store_true", help="convolutions of a training step in bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/results/pdn_quality.json"))
    parser.add_argument("--note", action="append", default=[], help="a remark for the record")
    arguments = parser.parse_args()
    data = read_pictures(arguments.data / SETS["screw"].folder)
    if arguments.verb == "train":
        pdn.train(
            data, options_of(arguments, arguments.steps), folder=arguments.folder, progress=Copies(arguments.folder),
            recipe=recipe_of(arguments),
        )  # fmt: skip
        return
    found = judge(arguments, data)
    write_record(
        arguments.out, found, seeds=[arguments.seed], samples=found["curve"][-1]["pictures"], notes=arguments.note
    )


if __name__ == "__main__":
    main()
