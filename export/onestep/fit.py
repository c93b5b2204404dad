"""From pictures to a one-step generator: the teacher's training, then its distillation. Knows no command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_sdk import atomic
from edge_sdk.errors import BadUsage
from edge_sdk.export.family import Trained
from edge_sdk.export.onestep import distillation, kinds, saved, teacher_training, teachers, unet
from edge_sdk.export.onestep.distillation import Distillation, OneStep
from edge_sdk.export.onestep.edm import STEPS as SAMPLER_STEPS
from edge_sdk.export.onestep.edm import sample
from edge_sdk.export.onestep.kinds import Generating
from edge_sdk.export.onestep.monitor import Monitor, drawn_by
from edge_sdk.export.onestep.options import (
    STEPS,
    TEACHER_SHARE,
    TEACHER_STEPS,
    OneStepOptions,
    numbers_in,
    recipe_of,
)
from edge_sdk.export.onestep.recipe import DistillRecipe, TeacherRecipe
from edge_sdk.export.onestep.teacher import NetworkTeacher, TeacherFacts, check
from edge_sdk.export.tasks.generation.data import GenerationData
from edge_sdk.export.tasks.generation.real import Real, real_of
from edge_sdk.export.training import loop
from edge_sdk.export.training.checkpoint import Position
from edge_sdk.export.training.identity import digest, identify
from edge_sdk.export.training.loop import LoopPlan, Seen
from edge_sdk.export.training.together import Together
from edge_sdk.progress import Progress, silent
from edge_sdk.tasks.generation.result import grid, png

TEACHER_FOLDER, GENERATOR_FOLDER, SAMPLES = "teacher", "generator", "samples"
"""Below a run folder: checkpoints of the two trainings, and pictures drawn along the way."""
LOOKS = 20
"""At a distillation, over its whole length; never more often than every LEAST_STEPS steps."""
LEAST_STEPS = 100
SHOWN = 36
"""Pictures that are drawn along the way."""
CHECKPOINT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """The two trainings of a run. teacher, layout: None = a teacher is given; layout: of the one that is trained.
    teacher_identity, identity: what checkpoints share; the second names the first. parameters: of the network. facts:
    of teacher and generator."""

    teacher: LoopPlan | None
    generator: LoopPlan
    teacher_identity: Mapping[str, str] = field(default_factory=dict)
    identity: Mapping[str, str] = field(default_factory=dict)
    facts: TeacherFacts
    layout: unet.UNetLayout | None
    parameters: int
    names: tuple[str, ...] = ()


def layout_of(data: GenerationData, options: OneStepOptions) -> unet.UNetLayout:
    """Of the network that is trained on these pictures. Raises BadUsage for sizes that can't be."""
    large = data.side >= 32
    multiples = numbers_in(options.multiples, "--multiples") or ((1, 2, 2) if large else (1, 2))
    attention = numbers_in(options.attention, "--attention")
    base = options.base or (16 if data.side <= 8 else 32 if large else 24)
    return unet.layout(
        channels=data.channels, side=data.side, base=base, multiples=multiples,
        attention=attention if attention is not None else ((8,) if large else ()), classes=len(data.names),
    )  # fmt: skip


def stages(data: GenerationData | None, options: OneStepOptions) -> Stages:
    """What will be trained. Raises BadUsage where there is nothing to learn from, BadInput for a teacher that can't be
    read."""
    until = _until(options)
    if options.teacher is not None:
        given = teachers.read(options.teacher, sigma_data=options.sigma_data)
        check_data(data, given.facts, stated="--teacher")
        facts, layout, made_of = given.facts, None, kinds.digest_of(given)
        parameters = sum(one.numel() for one in given.network.parameters())
        teacher, teacher_identity = None, {}
    elif data is None:
        raise BadUsage(
            "there is nothing to learn from: neither pictures nor a teacher", hint="Name DATA, or give --teacher"
        )
    else:
        layout = layout_of(data, options)
        facts = TeacherFacts(channels=data.channels, side=data.side, classes=len(data.names), sigma_data=data.spread)
        steps = options.teacher_steps or (None if options.time_budget_s is not None else TEACHER_STEPS)
        budget = None if options.time_budget_s is None else TEACHER_SHARE * options.time_budget_s
        teacher = LoopPlan(steps=steps, time_budget_s=budget, checkpoint_every_s=CHECKPOINT_S)
        teacher_identity = identify(
            teacher_recipe(), code=teacher_training.CODE, data=data.digest, seed=str(options.seed), network=repr(layout)
        )
        made_of = digest({**teacher_identity, "steps": str(steps)})
        parameters = unet.parameters_of(layout)
    identity = identify(
        recipe_of(options, parameters=parameters), code=distillation.CODE, teacher=made_of, seed=str(options.seed),
        data="none" if data is None else data.digest,
    )  # fmt: skip
    names = data.names if data is not None else tuple(str(number) for number in range(facts.classes))
    return Stages(
        teacher=teacher, generator=until, teacher_identity=teacher_identity, identity=identity, facts=facts,
        layout=layout, parameters=parameters, names=names,
    )  # fmt: skip


def teacher_recipe() -> TeacherRecipe:
    return TeacherRecipe()


def check_data(data: GenerationData | None, facts: TeacherFacts, *, stated: str) -> None:
    """Raises BadUsage for pictures that are not like those of the network that the option `stated` names."""
    if data is None:
        return
    found, wanted = (data.channels, data.side, len(data.names)), (facts.channels, facts.side, facts.classes)
    if found != wanted:
        names = ("channels", "px", "classes")
        apart = [f"{a} {name} and not {b}" for a, b, name in zip(found, wanted, names, strict=True) if a != b]
        raise BadUsage(
            f"the pictures are not like those of {stated}: they have {', '.join(apart)}",
            where=stated,
            hint="Name pictures of the same kind, or none; --size scales them",
        )  # fmt: skip


def _until(options: OneStepOptions) -> LoopPlan:
    steps, budget = options.steps, options.time_budget_s
    if steps is None and budget is None:
        steps = STEPS
    if budget is not None and options.teacher is None:
        budget *= 1.0 - TEACHER_SHARE
    return LoopPlan(steps=steps, time_budget_s=budget, checkpoint_every_s=CHECKPOINT_S)


def train(
    data: GenerationData | None, options: OneStepOptions, *, folder: Path, progress: Progress, planned: Stages,
    samples: int, together: Together,
) -> Trained:  # fmt: skip
    """Train, or resume what `folder` holds. samples: drawn pictures that each look measures."""
    shown = progress if together.rank == 0 else silent
    teacher, taught = _teacher(data, options, folder=folder, progress=shown, planned=planned, together=together)
    check(teacher, where="the teacher")
    recipe = recipe_of(options, parameters=planned.parameters)
    shares = data.shares if data is not None else np.full(planned.facts.classes, 1.0 / max(planned.facts.classes, 1))
    lesson = Distillation(
        teacher, recipe, shares=shares, seed=options.seed, rank=together.rank, compute=together.compute
    )
    real = None if data is None or together.rank else real_of(data, seed=options.seed, folder=folder, write=True)
    watch = _watch(lesson, real, planned.generator, folder / SAMPLES, samples)
    position = loop.run(
        lesson, planned.generator, folder=folder / GENERATOR_FOLDER, identity=planned.identity, seed=options.seed,
        progress=_part(shown, 0.0 if planned.teacher is None else TEACHER_SHARE, 1.0, "distilling"), together=together,
        watch=watch,
    )  # fmt: skip
    best = lesson.best if np.isfinite(float(lesson.best.value)) else None
    kept = (lesson.kept if best is None else best.generator).eval()
    if together.rank == 0:
        _keep(kept, planned, folder)
    return _trained(data, options, folder, planned, position, taught, lesson, recipe)


def _trained(
    data: GenerationData | None, options: OneStepOptions, folder: Path, planned: Stages, position: Position,
    taught: Position | None, lesson: Distillation, recipe: DistillRecipe,
) -> Trained:  # fmt: skip
    elapsed = position.elapsed_s + (taught.elapsed_s if taught is not None else 0.0)
    best = float(lesson.best.value)
    facts: dict[str, Any] = {
        "network": f"{planned.parameters} weights", "loss": recipe.matching.kind, "start_sigma": lesson.start,
        "teacher_steps": 0 if taught is None else taught.step, "best_frechet": best if np.isfinite(best) else None,
        "segments": [asdict(one) for one in position.segments],
    }  # fmt: skip
    return Trained(
        folder=folder, options=options, run=digest(planned.identity), steps=position.step,
        training_s=round(elapsed, 1), samples=0 if data is None else len(data.pictures), history=position.history,
        facts=facts,
    )  # fmt: skip


def _teacher(
    data: GenerationData | None, options: OneStepOptions, *, folder: Path, progress: Progress, planned: Stages,
    together: Together,
) -> tuple[Generating, Position | None]:  # fmt: skip
    if planned.teacher is None:
        assert options.teacher is not None
        return teachers.read(options.teacher, sigma_data=options.sigma_data), None
    assert data is not None
    assert planned.layout is not None
    torch.manual_seed(options.seed)
    lesson = teacher_training.TeacherTraining(
        NetworkTeacher(unet.UNet(planned.layout), planned.facts), data.pictures, data.labels, teacher_recipe(),
        seed=options.seed, rank=together.rank, compute=together.compute,
    )  # fmt: skip
    position = loop.run(
        lesson, planned.teacher, folder=folder / TEACHER_FOLDER, identity=planned.teacher_identity, seed=options.seed,
        progress=_part(progress, 0.0, TEACHER_SHARE, "teacher"), together=together,
    )  # fmt: skip
    teacher = lesson.kept.eval()
    if together.rank == 0:
        saved.write(teacher, folder / saved.TEACHER)
        place = folder / SAMPLES / "teacher.png"
        if not place.is_file():
            _draw(sampled_by(teacher), planned.facts, place)
    return teacher, position


def sampled_by(teacher: NetworkTeacher) -> Any:
    """Draws by the sampler's calls: noise and labels to pictures in [-1, 1]."""

    facts = teacher.facts

    def draw(noise: Tensor, labels: Tensor | None) -> Tensor:
        return sample(
            lambda noisy, sigma: teacher(noisy, sigma, labels), noise, steps=SAMPLER_STEPS, least=facts.least_sigma,
            most=facts.most_sigma,
        )  # fmt: skip

    return draw


def _draw(draw: Any, facts: TeacherFacts, place: Path) -> None:
    """A sheet of pictures of the same noise each time."""
    shape = (facts.channels, facts.side, facts.side)
    columns = facts.classes if 0 < facts.classes <= 16 else round(SHOWN**0.5)
    atomic.folder(place.parent)
    atomic.write(place, png(grid(drawn_by(draw, columns * 6, shape, facts.classes), columns)))


@dataclass(frozen=True, slots=True, eq=False)
class _Watch:
    """Measures, and draws a sheet. monitor: None = there are no pictures to measure against."""

    lesson: Distillation
    monitor: Monitor | None
    every: int
    folder: Path

    def look(self, position: Position) -> Seen:
        kept = self.lesson.kept.eval()
        _draw(kept, self.lesson.facts, self.folder / f"step-{position.step:07d}.png")
        return Seen() if self.monitor is None else self.monitor.look(position)


def _watch(lesson: Distillation, real: Real | None, plan: LoopPlan, folder: Path, count: int) -> _Watch:
    every = LEAST_STEPS if plan.steps is None else max(plan.steps // LOOKS, LEAST_STEPS)
    monitor = None if real is None else Monitor(lesson=lesson, real=real, every=every, count=count)
    return _Watch(lesson, monitor, every, folder)


def _keep(generator: OneStep, planned: Stages, folder: Path) -> None:
    facts = {saved.START: generator.sigma, "names": list(planned.names)}
    saved.write(kinds.generating(generator.denoiser), folder / saved.GENERATOR, facts=facts)


def _part(progress: Progress, first: float, last: float, words: str) -> Progress:
    """A part of a longer progress."""

    def show(done: int, total: int, note: str) -> None:
        share = first + (last - first) * done / max(total, 1)
        progress(round(1000 * share), 1000, f"{words}: {note}")

    return show
