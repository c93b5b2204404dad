"""Does full-stage distillation help? One student taught in three ways, three seeds, on BSDS500's box prompts.

Trains a teacher on the photographs of `train` and `val`, its trunk from the small size; then the same
student from the same start for the same number of steps, with true masks alone ("none"), with the teacher's masks too
("output"), and with embedding, tokens and weighted masks ("full"). Measures all of them on `test` by the protocol of
bsds.py, beside trivial masks and what the mask grid can express. Nothing trained here ships: the pictures are for
research.

    python benchmarks/distill_bsds.py --data ../shared/data/bsds500 --runs runs/bsds
    python benchmarks/distill_bsds.py --data ../shared/data/bsds500 --runs runs/bsds --look teacher

Resumable: an arm that has its JSON in --runs is not run again, one that has a checkpoint is resumed. A JSON that was
measured with other options, another teacher or other pictures is refused. Several processes may share one --runs: each
takes arms that no other works on (--stages and --seeds name some of them), once the teacher is there:

    python benchmarks/distill_bsds.py --data ../shared/data/bsds500 --runs runs/bsds --only-teacher
    python benchmarks/distill_bsds.py --data ../shared/data/bsds500 --runs runs/bsds --stages full

The record is written by the call that finds all stages of all SEEDS there, or of its own arms with --partial.

"share_of_teacher" compares mIoU as it is, of which most is won by a trivial mask; "share_of_teachers_gain" is what is
kept of the teacher's lead over the best trivial mask. "grid averaged" and "grid fitted" are the segments themselves on
the mask grid (bsds.GridFit): the second is the best that FIT_STEPS steps found, so the true bound is at least this.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import bsds
from arms import Arms
from bsds import Picture
from checkpoints import restore
from distill_scores import answers_of, compared, controls, summed
from record import options, write_record

from edge_sdk.errors import EdgeError

if TYPE_CHECKING:
    from edge_sdk.export.tinysam.distill.frames import Views
    from edge_sdk.export.tinysam.distill.recipe import DistillRecipe
    from edge_sdk.export.tinysam.distill.teacher import Teacher
    from edge_sdk.export.tinysam.sam import Sam
    from edge_sdk.export.training.loop import LoopPlan

STAGES = ("none", "output", "full")
TEACHER = "teacher"
SEEDS = (0, 1, 2)
CODE = "1"
"""Bump when what was measured before can no longer stand beside what is measured now."""
LEARNING = ("side", "width", "batch", "prompts", "rounds", "rate")
"""Options that the teacher's training and the students' depend on."""
EVERY = 10
"""One picture of as many of `val` is never trained on: --look measures on those, and not on `test`."""


def recipe_of(asked: argparse.Namespace, stage: str, *, views: int) -> DistillRecipe:
    """The recipe of the teacher (`TEACHER`), and of students in each stage. views: of each picture, 0 = without end.

    All three masks are taught alike: a box leaves little to choose among, and the one that counts is chosen by the
    predicted IoU, not by the truth. Of the teacher the lowest loss counts as much as the mean of the three, of students
    a tenth: with as much, the mask that was chosen was half a point worse than mask 0 of the same student.
    """
    from edge_sdk.export.tinysam.distill.recipe import STAGES, DistillRecipe, PromptRecipe, ViewRecipe

    prompts = PromptRecipe(each=asked.prompts, most_rounds=asked.rounds, box_share=0.75)
    if stage == TEACHER:
        weights = replace(STAGES["none"], mean_share=1.0)
    else:
        weights = replace(STAGES[stage], truth=0.1, mean_share=10.0, iou=10.0, single=5.0)
    return DistillRecipe(
        weights=weights, prompts=prompts, views=ViewRecipe(views=views),
        batch=asked.batch, rate=asked.rate,
    )  # fmt: skip


def shown_in_training(asked: argparse.Namespace) -> list[Picture]:
    """`train` and `val`, but for the pictures that --look measures on."""
    val = bsds.pictures(asked.data, "val")
    return bsds.pictures(asked.data, "train") + [one for k, one in enumerate(val) if k % EVERY]


def train(net: Sam, recipe: DistillRecipe, asked: argparse.Namespace, name: str, **how: Any) -> tuple[Sam, Any]:
    """One run in its folder, resumed if it was stopped. how: seed, steps, teacher."""
    from edge_sdk.export.tinysam.distill import train as training

    shown = shown_in_training(asked)
    views, seed, teacher = views_of(asked, recipe, shown), how["seed"], how.get("teacher")
    identity = training.identity_of(net, recipe, data=data_digest(shown), seed=seed, teacher=teacher)
    done = training.train(
        net, views, recipe, _plan(how["steps"]), identity=identity, folder=asked.runs / name, seed=seed,
        progress=_progress(name), teacher=teacher, apart=asked.apart, fill=False,
    )  # fmt: skip
    return done.net, done.position


def views_of(asked: argparse.Namespace, recipe: DistillRecipe, shown: Sequence[Picture]) -> Views:
    """The frames that a training draws from."""
    from edge_sdk.export.tinysam.distill.frames import Views

    return Views([one.marked() for one in shown], asked.side, recipe.prompts, recipe.views, seed=0)


def _plan(steps: int) -> LoopPlan:
    from edge_sdk.export.training.loop import LoopPlan

    return LoopPlan(steps=steps, checkpoint_every_s=60.0, history_every=25)


def data_digest(shown: Sequence[Picture]) -> str:
    """Of names and contents."""
    total = hashlib.sha256()
    for path in (path for one in shown for path in (one.path, *one.maps)):
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()[:16]


def teacher_net(asked: argparse.Namespace) -> Sam:
    """A new teacher: the trunk of the small size, and a decoder like the student's."""
    import torch

    from edge_sdk.export.tinysam.layout import Lite0Layout, SamLayout, small_decoder
    from edge_sdk.export.tinysam.lite0 import Lite0Encoder
    from edge_sdk.export.tinysam.sam import Sam
    from edge_sdk.export.tinysam.small.model import SHIPPED, SmallModel

    torch.manual_seed(0)
    encoder = Lite0Layout(image_size=asked.side, width=asked.width)
    teacher = Sam(SamLayout(encoder=encoder, decoder=small_decoder(asked.width)))
    assert isinstance(teacher.image_encoder, Lite0Encoder)
    trained = SmallModel.load(asked.trunk or SHIPPED).encoder.blocks
    teacher.image_encoder.blocks[: len(trained)].load_state_dict(trained.state_dict())
    return teacher


def student_net(asked: argparse.Namespace, teacher: Sam, seed: int) -> Sam:
    """A new student: its encoder as `seed` draws it, prompt encoder and decoder as the teacher's, in every stage."""
    import torch

    from edge_sdk.export.tinysam.layout import small
    from edge_sdk.export.tinysam.sam import Sam

    torch.manual_seed(seed)
    student = Sam(small(asked.student, image_size=asked.side, width=asked.width, prior=True))
    taken = {name: value for name, value in teacher.state_dict().items() if not name.startswith("image_encoder.")}
    missing, unexpected = student.load_state_dict(taken, strict=False)
    assert not unexpected
    assert all(name.startswith("image_encoder.") for name in missing)
    return student


def run_of(net: Sam, position: Any, shown: Sequence[Picture], name: str) -> dict[str, Any]:
    """Measures a trained network on `shown`."""
    scores = bsds.evaluate(shown, answers_of(net), progress=_measuring(name))
    history = [[step, {k: round(v, 4) for k, v in row.items()}] for step, row in position.history]
    lengths = [one.steps for one in position.segments]
    return {
        **summed(scores), "steps": position.step, "training_s": round(position.elapsed_s, 1), "history": history,
        "parameters": sum(p.numel() for p in net.parameters()),
        **({"lengthened": lengths} if len(set(lengths)) > 1 else {}),
    }  # fmt: skip


def made_of(asked: argparse.Namespace, shown: Sequence[Picture], *names: str, **more: str) -> dict[str, str]:
    """What a row depends on: the pictures that it is measured on, these options, and what else is stated."""
    options_ = {name: str(getattr(asked, name)) for name in names}
    return {"code": CODE, "pictures": data_digest(shown), **options_, **more}


def taught(asked: argparse.Namespace, arms: Arms, shown: Sequence[Picture]) -> tuple[Teacher, Sam, dict[str, Any]]:
    """The trained teacher and its figures. Of several processes one trains it, and the others wait."""
    from edge_sdk.export.tinysam.distill.teacher import Teacher
    from edge_sdk.export.training.identity import digest_of_weights

    recipe = recipe_of(asked, TEACHER, views=0)
    with arms.working("teacher-training", wait=True):
        net, position = train(teacher_net(asked), recipe, asked, "teacher", seed=0, steps=asked.teacher_steps)
    _as_long(position, asked.teacher_steps, asked.runs / "teacher")
    digest = digest_of_weights(net)
    about = made_of(asked, shown, *LEARNING, "teacher_steps", weights=digest)
    row = arms.row("teacher", about, lambda: run_of(net, position, shown, "teacher"), wait=True)
    assert row is not None  # it was waited for
    return Teacher(net, digest=digest, size=asked.side, folder=asked.runs / "embeddings"), net, row


def _as_long(position: Any, steps: int, folder: Path) -> None:
    """Exits for a run that is longer than asked for: the loop leaves it as it is."""
    if position.step > steps:
        raise SystemExit(
            f"{folder} was trained for {position.step} steps, not {steps}: name another folder with --runs"
        )


def of_arm(asked: argparse.Namespace, shown: Sequence[Picture], teacher: Teacher, stage: str, seed: int) -> Any:
    """What one student's row is made of; the teacher's digest stands for the pictures that both are trained on."""
    return made_of(
        asked, shown, *LEARNING, "steps", "views", "student", stage=stage, seed=str(seed), teacher=teacher.digest
    )


def arm(
    asked: argparse.Namespace, arms: Arms, shown: Sequence[Picture], teacher: Teacher, net: Sam, stage: str, seed: int
) -> dict[str, Any] | None:
    """One student, trained and measured; None while another process works on it."""
    name = f"{stage}-{seed}"

    def measure() -> dict[str, Any]:
        recipe, student = recipe_of(asked, stage, views=asked.views), student_net(asked, net, seed)
        found, position = train(student, recipe, asked, name, seed=seed, steps=asked.steps, teacher=teacher)
        _as_long(position, asked.steps, asked.runs / name)
        return run_of(found, position, shown, name)

    return arms.row(name, of_arm(asked, shown, teacher, stage, seed), measure)


def trivial(asked: argparse.Namespace, arms: Arms, shown: Sequence[Picture]) -> dict[str, Any]:
    """The figures of `controls`."""

    def measure() -> dict[str, Any]:
        found = bsds.evaluate(shown, controls(asked.side), progress=_measuring("controls"))
        return {name: scores.summary() for name, scores in found.items()}

    row = arms.row("controls", made_of(asked, shown, "side", fit_steps=str(bsds.FIT_STEPS)), measure, wait=True)
    assert row is not None  # it was waited for
    return row


def look(asked: argparse.Namespace) -> None:
    """Measures a run in progress on the held-out pictures of `val`."""
    from edge_sdk.export.training import checkpoint
    from edge_sdk.export.training.averaged import Pair

    net = teacher_net(asked)
    if asked.look != "teacher":
        net = student_net(asked, net, 0)
    folder = asked.runs / asked.look
    pair = Pair(net)
    known = restore(pair, folder / checkpoint.NAME)
    step, history = known["step"], known["history"]
    shown = [one for k, one in enumerate(bsds.pictures(asked.data, "val")) if k % EVERY == 0]
    row = summed(bsds.evaluate(shown, answers_of(pair.kept.eval()), progress=lambda done, total: None))
    for at, terms in history[:: max(1, len(history) // 12)]:
        print(at, {name: round(value, 3) for name, value in terms.items()})
    print(f"step {step}:", {name: value for name, value in row.items() if name != "per_picture"})
    floors = bsds.evaluate(shown, controls(asked.side), progress=lambda done, total: None)
    print("on the same pictures:", {name: scores.summary()["miou"] for name, scores in floors.items()})


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("--data", type=Path, required=True, help="folder of BSDS500, with images/ and segmentation/")
    out.add_argument("--runs", type=Path, default=Path("runs/bsds"), help="checkpoints, embeddings and a JSON an arm")
    out.add_argument("--out", type=Path, default=Path("docs/results/distill_bsds.json"))
    out.add_argument("--side", type=int, default=256, help="px of the frame")
    out.add_argument("--width", type=int, default=128, help="of embedding and decoder, teacher's and student's")
    out.add_argument("--student", choices=list("abcd"), default="c", help="size of the student's encoder")
    out.add_argument("--trunk", type=Path, help="weights whose trunk starts the teacher; default: those that ship")
    out.add_argument("--teacher-steps", type=int, default=2000, help="about half an hour on one quiet core")
    out.add_argument("--steps", type=int, default=700, help="of each student; about 12 minutes on one quiet core")
    out.add_argument("--batch", type=int, default=4)
    out.add_argument("--prompts", type=int, default=8, help="a picture")
    out.add_argument("--rounds", type=int, default=1, help="of hard prompts, at most (the paper: 9)")
    out.add_argument("--rate", type=float, default=2e-3)
    out.add_argument("--views", type=int, default=12, help="of each picture that students see, with stored embeddings")
    out.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="that this call works on")
    out.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), help="that this call works on")
    out.add_argument("--partial", action="store_true", help="write the record of --stages and --seeds alone")
    out.add_argument("--every", type=int, default=1, help="measure on one picture of as many of `test`")
    out.add_argument("--threads", type=int, default=1)
    out.add_argument("--apart", action="store_true", help="draw frames in another process, where a core is free")
    out.add_argument("--look", metavar="RUN", help="measure this run's checkpoint on ten pictures of `val`, and stop")
    out.add_argument("--only-teacher", action="store_true", help="stop when the teacher is trained, measured and asked")
    return out


def main() -> None:
    """Runs what is missing, or looks at a run in progress."""
    asked = parser().parse_args()
    import cv2
    import torch

    torch.set_num_threads(asked.threads)
    cv2.setNumThreads(1)
    try:
        look(asked) if asked.look else run(asked)
    except EdgeError as exc:  # a checkpoint of other options, a full disk
        raise SystemExit(str(exc)) from exc


def run(asked: argparse.Namespace) -> None:
    """Teacher, arms and controls; then the record, if all that belongs into it is there."""
    arms = Arms(asked.runs)
    shown = bsds.pictures(asked.data, "test")[:: asked.every]
    teacher, net, teacher_row = taught(asked, arms, shown)
    if asked.only_teacher:
        embedded(asked, teacher)
        return
    for seed in asked.seeds:
        for stage in asked.stages:
            row = arm(asked, arms, shown, teacher, net, stage, seed)
            print(stage, seed, "another process works on it" if row is None else row["miou"], flush=True)
    floors = trivial(asked, arms, shown)
    stages, seeds = (asked.stages, asked.seeds) if asked.partial else (STAGES, SEEDS)
    found = {(s, n): arms.found(f"{s}-{n}", of_arm(asked, shown, teacher, s, n)) for s in stages for n in seeds}
    if missing := [f"{stage}-{seed}" for (stage, seed), row in found.items() if row is None]:
        print(f"no record yet: {', '.join(missing)} still to be measured", flush=True)
        return
    rows = {stage: {seed: row for (of, seed), row in found.items() if of == stage and row} for stage in stages}
    metrics = {"teacher": teacher_row, "students": rows, "controls": floors, **compared(rows, teacher_row, floors)}
    write_record(asked.out, metrics, seeds=list(seeds), samples=teacher_row["segments"])


def embedded(asked: argparse.Namespace, teacher: Teacher) -> None:
    """Stores the embeddings of all views, so that no two processes compute them."""
    views = views_of(asked, recipe_of(asked, "full", views=asked.views), shown_in_training(asked))
    teacher.fill(map(views.pixels, range(views.whole())), views.whole(), progress=_progress("embeddings"))


def _progress(name: str) -> Callable[[int, int, str], None]:
    """A line every two minutes."""
    last = [0.0]

    def progress(done: int, total: int, note: str) -> None:
        if time.monotonic() - last[0] > 120.0:
            last[0] = time.monotonic()
            print(f"{time.strftime('%H:%M')} {name}: {note} ({done} of {total})", flush=True)

    return progress


def _measuring(name: str) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            print(f"{time.strftime('%H:%M')} {name}: measured {done} of {total} pictures", flush=True)

    return progress


if __name__ == "__main__":
    main()
