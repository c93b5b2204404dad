"""One-step generators as a family: a diffusion teacher, distilled by score implicit matching. Knows no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edge_sdk.errors import BadInput, Stopped
from edge_sdk.export.family import Demo, Exported, FloatGraph, Samples, Trained, TrainingPlan
from edge_sdk.export.onestep import as_is, fit, given, kinds, saved
from edge_sdk.export.onestep.as_is import AsIsPlan
from edge_sdk.export.onestep.fit import Stages
from edge_sdk.export.onestep.given import GivenPlan
from edge_sdk.export.onestep.options import OneStepOptions, options_of
from edge_sdk.export.tasks.generation.data import GenerationData
from edge_sdk.export.training import checkpoint, launch
from edge_sdk.export.training.device import computing
from edge_sdk.export.training.identity import digest
from edge_sdk.export.training.together import checked, joined
from edge_sdk.progress import Progress
from edge_sdk.runtimes.onnx_file import read_facts
from edge_sdk.runtimes.probe import default_threads
from edge_sdk.tasks.base import MODEL
from edge_sdk.tasks.generation.asked import Asked, GenerationSettings, label_among
from edge_sdk.tasks.generation.generator import BATCH_ROWS, feeds_of, noise_shape
from edge_sdk.tensors import Array

CALIBRATION_SEED = 2**63 + 2**62
"""Of calibration noise: neither that of golden pictures nor that of measures."""
LOOK_SAMPLES = 2000
"""Drawn pictures that a monitor measures each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneStepPlan(TrainingPlan):
    """stages: for the training itself."""

    stages: Stages


@dataclass(frozen=True, kw_only=True)
class OneStepGenerators:
    """Luo et al. 2024 (arXiv 2410.16794) on denoisers of Karras et al. 2022 (arXiv 2206.00364); or a generator that
    is trained already: one of ours (`given`), or one that others made (`as_is`)."""

    name: ClassVar[str] = "onestep"
    title: ClassVar[str] = "One-step generator"
    task: ClassVar[str] = "generation"
    options: ClassVar[type[OneStepOptions]] = OneStepOptions
    demo: ClassVar[Demo | None] = None

    def plan(
        self, data: GenerationData | None, options: OneStepOptions, *, folder: Path
    ) -> OneStepPlan | AsIsPlan | GivenPlan:
        """What `train` would do; whatever is wrong with its arguments is raised here."""
        if options.as_is:
            return given.plan(data, options) if options.weights is not None else as_is.plan(data, options)
        compute = checked(options.device)
        stages = fit.stages(data, options)
        stored = checkpoint.read(folder / fit.GENERATOR_FOLDER, stages.identity)
        before = None
        if stages.teacher is not None:
            before = checkpoint.read(folder / fit.TEACHER_FOLDER, stages.teacher_identity)
        at = stored.position if stored is not None else None
        taught = "given" if stages.teacher is None else "trained first"
        taught += f", holds a checkpoint at step {before.position.step}" if before is not None else ""
        return OneStepPlan(
            stages=stages, run=digest(stages.identity), steps=stages.generator.steps,
            time_budget_s=options.time_budget_s, kept_step=None if at is None else at.step,
            finished=at is not None and stages.generator.over(at), processes=launch.found().size,
            rows=(
                ("network", f"UNet of {stages.parameters} weights, {stages.facts.side} px"),
                ("teacher", taught), ("device", compute.name),
            ),
            facts={"weights": stages.parameters, "teacher": taught, "device": compute.name},
        )  # fmt: skip

    def train(
        self, data: GenerationData | None, options: OneStepOptions, *, planned: TrainingPlan | None = None,
        folder: Path, progress: Progress,
    ) -> Trained:  # fmt: skip
        """Train, or resume from the checkpoints that `folder` holds for the same data and options; or take weights or
        a graph as they are."""
        if not isinstance(planned, (OneStepPlan, AsIsPlan, GivenPlan)):
            planned = self.plan(data, options, folder=folder)
        if isinstance(planned, AsIsPlan):
            return as_is.train(options, folder=folder, planned=planned)
        if isinstance(planned, GivenPlan):
            return given.train(options, folder=folder, planned=planned)
        threads = options.threads or max(1, default_threads() // launch.found().local)
        with computing(threads):
            try:
                return fit.train(
                    data, options, folder=folder, progress=progress, planned=planned.stages, samples=LOOK_SAMPLES,
                    together=joined(options.device),
                )  # fmt: skip
            except KeyboardInterrupt as exc:  # outside the loops: while pictures are drawn and measured
                raise Stopped(
                    "stopped between steps of the training", where=str(folder), hint="Give the same command again"
                ) from exc

    def graphs(self, trained: Trained) -> Exported:
        """The generator in one call, its sigma folded; or the graph that others made."""
        if options_of(trained).onnx is not None:
            return as_is.graphs(trained)
        path = trained.folder / saved.GENERATOR
        if not path.is_file():
            raise BadInput("this folder holds no trained generator", where=str(trained.folder), hint="Train first")
        net, facts = saved.read(path)
        onnx, kept = kinds.kind_of(net).graph(net, float(facts[saved.START]))
        graph = FloatGraph(onnx=onnx, keep_fp32_in_int8=kept, axes={"N": BATCH_ROWS})
        return Exported(graphs={MODEL: graph}, settings=GenerationSettings(labels=tuple(facts["names"])))

    def samples(
        self, data: GenerationData | None, trained: Trained, exported: Exported, count: int
    ) -> Callable[[str], Samples]:
        """Noise as a device makes it, labels in turn: never seeds of golden pictures."""
        settings = exported.settings
        assert isinstance(settings, GenerationSettings)
        shape = noise_shape(read_facts(exported.graphs[MODEL].onnx, where=MODEL).inputs, settings)
        return lambda role: NoiseSamples(shape, settings, count)


@dataclass(frozen=True, slots=True)
class NoiseSamples:
    """Feeds of a generator. shape: of one picture's noise."""

    shape: tuple[int, ...]
    settings: GenerationSettings
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        for index in range(self.count):
            label = label_among(index, self.count, len(self.settings.labels))
            asked = Asked(seed=CALIBRATION_SEED, index=index, label=label)
            yield feeds_of([asked], self.shape, self.settings)
