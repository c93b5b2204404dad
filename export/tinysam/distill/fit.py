"""From a teacher's file and annotated pictures to a student: the steps of the family. Knows no command line."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from edge_sdk.counted import counted, percent
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.family import Exported, Trained
from edge_sdk.export.tasks.segmentation.annotations import SegmentationData
from edge_sdk.export.tasks.segmentation.reading import training_problem
from edge_sdk.export.tinysam import sam_like
from edge_sdk.export.tinysam.distill import thresholds
from edge_sdk.export.tinysam.distill import train as training
from edge_sdk.export.tinysam.distill.frames import Views
from edge_sdk.export.tinysam.distill.marked import MarkedPicture
from edge_sdk.export.tinysam.distill.recipe import DistillRecipe, ViewRecipe
from edge_sdk.export.tinysam.distill.teacher import MOST_BYTES, Teacher
from edge_sdk.export.tinysam.graph.encoder import check_size
from edge_sdk.export.tinysam.layout import STUDENTS, SamLayout, student
from edge_sdk.export.tinysam.options import TinySamOptions
from edge_sdk.export.tinysam.run_plan import RunPlan, training_identity
from edge_sdk.export.tinysam.sam import Sam
from edge_sdk.export.tinysam.sam_like import SamLike
from edge_sdk.export.tinysam.scenes.sources import digest_of, mixture
from edge_sdk.export.tinysam.thresholds import STEPS
from edge_sdk.export.training import launch, loop
from edge_sdk.export.training.identity import digest
from edge_sdk.export.training.together import checked, joined
from edge_sdk.progress import Progress, silent

CODE = "tinysam-distilled/1"
"""Bump when older checkpoints can no longer be resumed."""
STORE = "teacher"
"""Folder of the teacher's embeddings, in the run folder."""
VIEWS = 8
"""Of each picture, unless the user says otherwise: half a gigabyte at 1024 px for 30 pictures."""
TUNING_RATE = 5e-4
"""Of a student that is trained already, as for the small size."""
MOST_CPU_SIDE = 512
"""px. Attention over a larger frame leaves a CPU few steps in a night."""
SLOW = f"a frame of more than {MOST_CPU_SIDE} px on a CPU: few steps fit into a night; use a GPU, or --side 256"
TAUGHT_S = 8 * 3600.0
"""Of a training, unless the user says otherwise: a night."""


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """Teacher and student, before any step. name: of the student, for people."""

    teacher: SamLike
    student: Sam
    name: str


def plan(data: SegmentationData | None, options: TinySamOptions) -> RunPlan:
    """Raises BadUsage where there is nothing to distil on, BadInput for a file that is no teacher or student, and for a
    student that could not be exported; NotThere for a device or package."""
    assert options.teacher is not None
    compute, here = checked(options.device), launch.found()
    if data is None:
        raise BadUsage(
            "--teacher needs pictures that show the student what to learn", hint="Name a FOLDER of annotated pictures"
        )
    if (problem := training_problem(data)) is not None:
        raise problem
    teacher = sam_like.read(options.teacher, side=options.side)
    layout, name = _student_of(options, teacher)
    recipe = recipe_of(options)
    files = [file for file in (options.teacher, options.weights) if file is not None]
    identity = training_identity(
        options, recipe, code=f"{CODE}, {training.CODE}", data=data.digest, processes=str(here.size),
        student_layout=repr(layout), files=digest_of(files),
    )  # fmt: skip
    network = f"{name}, distilled from {options.teacher.name} ({teacher.what})"
    rows = (
        ("frame", f"{layout.image_size} px, {layout.encoder.grid} x {layout.encoder.grid} cells"),
        ("a step", _step(recipe, here.size)),
        ("teacher's answers", _stored(recipe, layout, len(data.train))),
        *((("processes", str(here.size)),) if here.size > 1 else ()),
        *((("slow", SLOW),) if compute.device.type == "cpu" and layout.image_size > MOST_CPU_SIDE else ()),
    )
    return RunPlan(
        until=_until(options), identity=identity, network=network, device=compute.name, processes=here.size,
        rows=rows, after=STEPS,
        facts={"teacher": teacher.what, "student": name, "side": layout.image_size, "processes": here.size},
    )  # fmt: skip


def train(
    data: SegmentationData | None, options: TinySamOptions, *, folder: Path, progress: Progress, run_plan: RunPlan
) -> Trained:
    """Train, or resume from the checkpoint in `folder`. Of several processes the first measures the thresholds of
    everything mode and writes the model."""
    assert data is not None
    assert options.teacher is not None
    assert run_plan.until is not None
    together = joined(options.device)
    pair, recipe = _pair(options), recipe_of(options)
    side = pair.student.layout.image_size
    teacher = Teacher(
        pair.teacher.net, digest=digest_of([options.teacher]), size=side, compute=together.compute,
        folder=folder / STORE if recipe.views.views else None,
    )  # fmt: skip
    views = Views([MarkedPicture(one) for one in data.train], side, recipe.prompts, recipe.views, seed=options.seed)
    done = training.train(
        pair.student, views, recipe, run_plan.until, identity=run_plan.identity, folder=folder, seed=options.seed,
        progress=progress, teacher=teacher, together=together, fill=False,
    )  # fmt: skip
    if together.rank == 0:
        net = done.net.cpu()
        made = mixture(data, [], side=side, seed=options.seed, progress=silent)
        measured = thresholds.measured(net, made, seed=options.seed, progress=progress)
        sam_like.keep(SamLike(net=net, what=pair.name, everything=measured), folder)
    position = done.position
    return Trained(
        folder=folder, options=options, run=digest(run_plan.identity), steps=position.step,
        training_s=round(position.elapsed_s, 1), samples=len(data.train), history=position.history,
        facts={
            **run_plan.facts, "network": run_plan.network, "notes": list(pair.teacher.notes),
            "segments": [asdict(one) for one in position.segments],
        },
    )  # fmt: skip


def graphs(trained: Trained) -> Exported:
    """Encoder, decoder and refiner of the student in the run folder."""
    return sam_like.graphs(trained)


def recipe_of(options: TinySamOptions) -> DistillRecipe:
    """The recipe with what the user states of it; for a student that is trained already at a quarter of the rates."""
    recipe = DistillRecipe(views=ViewRecipe(views=VIEWS if options.views is None else options.views))
    rate = options.rate or (recipe.rate if options.weights is None else TUNING_RATE)
    return replace(
        recipe, rate=rate, trunk_rate=recipe.trunk_rate * rate / recipe.rate, batch=options.batch or recipe.batch
    )


def _until(options: TinySamOptions) -> loop.LoopPlan:
    steps, budget = options.steps, options.time_budget_s
    if steps is None and budget is None:
        budget = TAUGHT_S
    return loop.LoopPlan(steps=steps, time_budget_s=budget, checkpoint_every_s=120.0)


def _student_of(options: TinySamOptions, teacher: SamLike) -> tuple[SamLayout, str]:
    """The layout of the student, and its name."""
    wanted = teacher.net.layout
    if options.weights is None:
        name = options.student or next(iter(STUDENTS))
        return student(name, wanted), name
    start = sam_like.read(options.weights, side=wanted.image_size)
    check_size(start.net.image_encoder)  # a new student is one of STUDENTS, which all fit
    layout = start.net.layout
    for what, theirs, ours in (
        ("embedding has a width of", wanted.width, layout.width),
        ("embedding has a side of", wanted.encoder.grid, layout.encoder.grid),
        ("number of masks is", wanted.decoder.masks, layout.decoder.masks),
    ):
        if theirs != ours:
            raise BadInput(
                f"the teacher's {what} {theirs}, that of --weights {ours}", where=str(options.weights),
                hint="Name weights of a network like the teacher's, or leave --weights out for a new student",
            )  # fmt: skip
    return layout, start.what


def _pair(options: TinySamOptions) -> _Pair:
    """A new student has its encoder as the seed draws it, and the teacher's prompt encoder and decoder: its tokens then
    mean what the teacher's do."""
    assert options.teacher is not None
    teacher = sam_like.read(options.teacher, side=options.side)
    layout, name = _student_of(options, teacher)
    if options.weights is not None:
        return _Pair(teacher, sam_like.read(options.weights, side=layout.image_size).net.requires_grad_(True), name)
    torch.manual_seed(options.seed)
    net = Sam(layout)
    own = {key: value for key, value in net.state_dict().items() if key.startswith("image_encoder.")}
    net.load_state_dict({**teacher.net.state_dict(), **own}, strict=False)
    return _Pair(teacher, net, name)


def _step(recipe: DistillRecipe, processes: int) -> str:
    prompts = recipe.prompts
    each = f" in each of {counted(processes, 'process')}" if processes > 1 else ""
    return (
        f"{counted(recipe.batch, 'picture')}{each}, {counted(prompts.each, 'prompt')} each, up to "
        f"{counted(prompts.most_rounds, 'round')} of hard prompts"
    )


def _stored(recipe: DistillRecipe, layout: SamLayout, pictures: int) -> str:
    """What of the teacher is kept on disk, and how large it can get."""
    if not recipe.views.views:
        return "computed at every step: each view is a new one"
    total = pictures * recipe.views.views
    size = total * 2 * layout.width * layout.encoder.grid**2
    where = f"are kept in {STORE}/ of the run folder"
    if size <= MOST_BYTES:
        return f"embeddings of {counted(total, 'view')} {where}, {size / 1e6:.1f} MB"
    share = percent(MOST_BYTES / size, 0)
    return (
        f"{share} of the embeddings of {counted(total, 'view')} {where}, {MOST_BYTES / 1e9:.1f} GB; the others are "
        "computed anew each time"
    )
