"""Does one call draw as well as the teacher's 35? scikit-learn's digits, 8 x 8: losses at equal budget, three seeds.

Trains a teacher for each seed, with classes and without, distils it by score implicit matching (pseudo-Huber), and for
the first seed by its relatives; measures the Frechet distance in the second layer of a classifier (256 numbers, nothing
saturated), recall, and the share of each class, beside the teacher's at 35 calls and controls that must fail: the ten
class means, and the teacher's network called once before any distillation.

    python benchmarks/onestep_digits.py --runs runs/digits
    python benchmarks/onestep_digits.py --runs runs/digits --arm pseudo-huber/0/plain

Resumable: an arm that has its JSON in --runs is not run again, one that has a checkpoint is resumed. --arm runs one of
them alone and writes no record; the record is written by the call that finds all arms there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import numpy as np
from record import ROOT, options, write_record

from edge_sdk import atomic

if TYPE_CHECKING:
    from edge_sdk.export.onestep.recipe import DistillRecipe
    from edge_sdk.export.onestep.teacher import NetworkTeacher
    from edge_sdk.export.tasks.generation.data import GenerationData
    from edge_sdk.export.tasks.generation.real import Real

SEEDS = (0, 1, 2)
OURS = "pseudo-huber"
OTHERS = ("l2", "sid", "diff-instruct")
PLAIN, CLASSES = "plain", "classes"
SIDE, COUNT = 8, 5000
SID_ALPHA = 1.2


@dataclass(frozen=True, slots=True)
class Arm:
    """One distillation. loss: see `recipe.KINDS`. kind: PLAIN, or CLASSES for a generator with labels."""

    loss: str
    seed: int
    kind: str

    @property
    def name(self) -> str:
        return f"{self.loss}/{self.seed}/{self.kind}"


ARMS = tuple(Arm(OURS, seed, kind) for kind in (PLAIN, CLASSES) for seed in SEEDS) + tuple(
    Arm(loss, 0, PLAIN) for loss in OTHERS
)


def digits() -> GenerationData:
    """1,797 pictures, 8 x 8; 17 grey levels become 0 to 255."""
    from sklearn.datasets import load_digits

    from edge_sdk.export.tasks.generation.data import GenerationData

    found = load_digits()
    pictures = np.rint(found.images * 255.0 / 16.0).astype(np.uint8)[..., None]
    return GenerationData(
        pictures=pictures, labels=found.target.astype(np.int64), names=tuple(map(str, range(10)))
    )  # fmt: skip


def real_digits(data: GenerationData) -> Real:
    """Seen by one classifier, whether the generator has classes or not."""
    from edge_sdk.export.tasks.generation.real import real_of

    return real_of(data)


def teacher_of(asked: argparse.Namespace, data: GenerationData, seed: int, kind: str) -> NetworkTeacher:
    """Trained, or read from its checkpoint."""
    import torch

    from edge_sdk.export.onestep import teacher_training as training
    from edge_sdk.export.onestep import unet
    from edge_sdk.export.onestep.recipe import TeacherRecipe
    from edge_sdk.export.onestep.teacher import NetworkTeacher, TeacherFacts
    from edge_sdk.export.tasks.generation.real import scaled
    from edge_sdk.export.training import loop
    from edge_sdk.export.training.identity import identify

    classes = 10 if kind == CLASSES else 0
    spread = float(scaled(data.pictures).std())
    facts = TeacherFacts(channels=1, side=SIDE, classes=classes, sigma_data=spread)
    torch.manual_seed(seed)
    network = unet.UNet(unet.layout(channels=1, side=SIDE, base=asked.base, multiples=(1, 2), classes=classes))
    recipe = TeacherRecipe(batch=asked.teacher_batch)
    lesson = training.TeacherTraining(
        NetworkTeacher(network, facts), data.pictures, data.labels if classes else None, recipe, seed=seed
    )
    identity = identify(recipe, code=training.CODE, seed=str(seed), network=repr(network.layout), data="digits")
    loop.run(
        lesson, loop.LoopPlan(steps=asked.teacher_steps), folder=asked.runs / f"teacher-{seed}-{kind}",
        identity=identity, seed=seed, progress=_progress(f"teacher {seed} {kind}"),
    )  # fmt: skip
    return lesson.kept.eval()


def recipe_of(loss: str) -> DistillRecipe:
    from edge_sdk.export.onestep.recipe import DistillRecipe, Matching

    return DistillRecipe(matching=Matching(kind=loss, alpha=SID_ALPHA if loss == "sid" else 1.0))  # type: ignore[arg-type]


def run(asked: argparse.Namespace, data: GenerationData, arm: Arm) -> dict[str, Any]:
    """One arm's figures, from its JSON or measured now."""
    out: Path = asked.runs / f"{arm.name.replace('/', '-')}.json"
    if out.is_file():
        found: dict[str, Any] = json.loads(out.read_text("utf-8"))
        return found
    from edge_sdk.export.onestep import distillation
    from edge_sdk.export.onestep.edm import sample
    from edge_sdk.export.onestep.monitor import Monitor, drawn_by
    from edge_sdk.export.training import loop
    from edge_sdk.export.training.identity import digest_of_weights, identify

    real = real_digits(data)
    teacher = teacher_of(asked, data, arm.seed, arm.kind)
    facts, recipe = teacher.facts, recipe_of(arm.loss)
    shape = (facts.channels, facts.side, facts.side)
    began = time.monotonic()
    of_teacher = real.of(
        drawn_by(
            lambda start, labels: sample(lambda noisy, sigma: teacher(noisy, sigma, labels), start), COUNT, shape,
            facts.classes,
        )
    )  # fmt: skip
    teacher_s = time.monotonic() - began
    shares = np.full(facts.classes, 1.0 / facts.classes) if facts.classes else np.zeros(0)
    start = digest_of_weights(teacher)
    lesson = distillation.Distillation(teacher, recipe, shares=shares, seed=arm.seed)
    before = real.of(drawn_by(lesson.kept, COUNT, shape, facts.classes))
    identity = identify(recipe, code=distillation.CODE, seed=str(arm.seed), teacher=start)
    watch = Monitor(lesson=lesson, real=real, every=asked.every, count=COUNT, patience=None)
    position = loop.run(
        lesson, loop.LoopPlan(steps=asked.steps), folder=asked.runs / arm.name.replace("/", "-"), identity=identity,
        seed=arm.seed, progress=_progress(arm.name), watch=watch,
    )  # fmt: skip
    curve = [(step, row) for step, row in position.history if "frechet" in row]
    last = real.of(drawn_by(lesson.kept.eval(), COUNT, shape, facts.classes))
    row = {
        "loss": arm.loss, "seed": arm.seed, "kind": arm.kind, "steps": position.step,
        "training_s": round(position.elapsed_s, 1), "teacher_sampling_s": round(teacher_s, 1),
        "classifier_accuracy": real.classifier.accuracy if real.classifier is not None else None,
        "teacher": of_teacher, "one_call_before": before, "generator": last,
        "ratio": last["frechet"] / of_teacher["frechet"], "curve": curve,
        "auxiliary_loss": [(step, one["auxiliary"]) for step, one in position.history if "auxiliary" in one][-1:],
    }  # fmt: skip
    atomic.write(out, json.dumps(row).encode())
    return row


def controls(data: GenerationData) -> dict[str, Any]:
    """What the measures say of the ten class means, and of one half of the real pictures against the other."""
    from edge_sdk.export.tasks.generation import measures

    real = real_digits(data)
    means = np.stack([data.pictures[data.labels == one].mean(0) for one in range(10)])
    repeated = np.rint(np.tile(means, (COUNT // 10, 1, 1, 1))).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(data.pictures))
    halves = [measures.Statistics.of(real.features[part]) for part in np.array_split(order, 2)]
    return {"class_means": real.of(repeated), "half_against_half": measures.frechet(*halves)}


def _progress(name: str) -> Any:
    shown = [-1]

    def show(done: int, total: int, note: str) -> None:
        if done * 20 // max(total, 1) > shown[0]:
            shown[0] = done * 20 // max(total, 1)
            print(f"{name}: {100 * done // max(total, 1)} %, {note}", file=sys.stderr, flush=True)

    return show


def parser() -> argparse.ArgumentParser:
    out = options(__doc__)
    out.add_argument("--runs", type=Path, required=True, help="Folder of checkpoints and of what is measured.")
    out.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "onestep_digits.json")
    out.add_argument("--steps", type=int, default=5000, help="Of each distillation.")
    out.add_argument("--teacher-steps", type=int, default=10_000)
    out.add_argument("--teacher-batch", type=int, default=64)
    out.add_argument("--base", type=int, default=16, help="Channels of the UNet's first stage.")
    out.add_argument("--every", type=int, default=500, help="Steps between two looks.")
    out.add_argument("--threads", type=int, default=1)
    out.add_argument("--arm", help="Run this one alone: LOSS/SEED/KIND.")
    return out


def main() -> None:
    asked = parser().parse_args()
    from edge_sdk.export.training.device import computing

    arms = [one for one in ARMS if asked.arm in (None, one.name)]
    if not arms:
        sys.exit(f"there is no arm {asked.arm}: {', '.join(one.name for one in ARMS)}")
    asked.runs.mkdir(parents=True, exist_ok=True)
    data = digits()
    with computing(asked.threads):
        rows = [run(asked, data, arm) for arm in arms]
        if asked.arm is None:
            write_record(asked.out, {"controls": controls(data), "arms": rows}, seeds=list(SEEDS), samples=COUNT)


if __name__ == "__main__":
    main()
