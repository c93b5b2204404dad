"""Trains EfficientAD's published sizes "s" and "m" on one product's good parts, and makes their graph and feeds.

Knows the shared loop and the PDN networks; no command line, no bundle, no runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadUsage
from edge_sdk.export.anomaly.augment import Augmentation, view
from edge_sdk.export.anomaly.colour import jitter
from edge_sdk.export.anomaly.data import AnomalyData, Picture, Shares, data_identity
from edge_sdk.export.anomaly.foreign import ForeignPictures, identity_of
from edge_sdk.export.efficientad import saved
from edge_sdk.export.efficientad.options import BORDER_PX, EfficientAdOptions
from edge_sdk.export.efficientad.pdn import losses
from edge_sdk.export.efficientad.pdn.autoencoder import Autoencoder, AutoencoderLayout
from edge_sdk.export.efficientad.pdn.graph import RAW_MAPS, REDUCTION, merged_graph
from edge_sdk.export.efficientad.pdn.model import PdnModel
from edge_sdk.export.efficientad.pdn.network import Pdn, drawn, normalised, started
from edge_sdk.export.efficientad.pdn.published import OURS, load_teacher
from edge_sdk.export.efficientad.saved import EfficientAdTrained
from edge_sdk.export.efficientad.statistics import StatisticsSum, map_quantiles
from edge_sdk.export.family import Exported, FloatGraph
from edge_sdk.export.pictures.store import PictureStore
from edge_sdk.export.training import device, loop
from edge_sdk.export.training.checkpoint import Position
from edge_sdk.export.training.device import CPU, Compute, array
from edge_sdk.export.training.identity import digest, digest_of_weights, identify
from edge_sdk.export.training.loop import Moment
from edge_sdk.progress import Progress
from edge_sdk.tasks.anomaly.detector import AnomalySettings
from edge_sdk.tasks.base import MODEL

CODE = "pdn/1"
"""Bump when older checkpoints can no longer be resumed."""
START_PICTURES = 8
"""That the student's initial weights are scaled on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PdnRecipe:
    """How the published sizes are trained. The defaults are the paper's, apart from what stands here with a reason.

    border: px around each picture, so that its rim has cells of its own (the paper leaves the outer 16 px out).
    short_steps: a run of fewer steps, or one with a time budget, is short,
    whatever it was before it was lengthened. A short run begins with the plain mean for warm_share of it, and learns at
    short_rate, since the hard loss at the paper's rate has learned little by then.
    penalty_grey: probability of a grey foreign picture. jitter: how far light, contrast or saturation change, as a
    share, in what the autoencoder sees. student_jitter: the student's first half learns from the jittered picture too:
    against changing light, and one pass of the student less. bf16: convolutions of a training step in bfloat16, about
    twice as fast on CPUs that have it; statistics, maps and scores stay float32. cache_bytes: of teacher outputs kept.
    """

    steps: int = 70_000
    batch: int = 1
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    decay_at: float = 0.95
    decay: float = 0.1
    short_steps: int = 10_000
    short_rate: float = 3e-4
    warm_share: float = 0.3
    penalty: bool = True
    penalty_grey: float = 0.3
    jitter: float = 0.2
    student_jitter: bool = False
    bf16: bool = False
    border: int = BORDER_PX
    autoencoder_width: int = 64
    cache_bytes: int = 2 * 2**30

    def short(self, options: EfficientAdOptions) -> bool:
        """Whether a run with these options is a short one."""
        return options.time_budget_s is not None or (options.steps or self.steps) < self.short_steps


PAPER = PdnRecipe()


def train(
    data: AnomalyData, options: EfficientAdOptions, *, folder: Path, progress: Progress, recipe: PdnRecipe = PAPER,
    teacher: Pdn | None = None, length: tuple[loop.LoopPlan, Mapping[str, str]] | None = None,
) -> EfficientAdTrained:  # fmt: skip
    """Trains, or resumes from the checkpoint in `folder`; a finished run is measured again, not trained again.

    teacher: as given to `plan`, None = it is loaded here. length: what `plan` answered, None = it is asked here.
    Raises NotThere for a missing teacher, BadUsage for a size that can't run or a checkpoint of something else.
    """
    teacher = teacher or teacher_of(options)
    until, identity = length or plan(data, options, recipe=recipe, teacher=teacher)
    record, parts, store = options.prepared_by(recipe.border), data.shares, data.store
    compute = device.chosen(options.device)
    model = compute.place(_untrained(teacher, options, recipe))
    cache = TeacherCache(
        model.teacher, parts.training, store, record, recipe, any_orientation=options.any_orientation, compute=compute
    )
    model.set_statistics(cache.fill(progress).result())
    started(model.student, cache.first(START_PICTURES), seed=options.seed)
    foreign = foreign_of(options, record, recipe)
    lesson = PdnTraining(model, cache, foreign, recipe, short=recipe.short(options), compute=compute)
    position = loop.run(lesson, until, folder=folder, identity=identity, seed=options.seed, progress=progress)
    model.eval()
    progress(0, 0, "map quantiles and scores of the held-out parts")
    scaling, held_out = (Inputs(p, store, record, compute) for p in (parts.scaling, parts.held_out))
    model.local, model.overall = (map_quantiles(cells) for cells in maps_of(model, scaling))
    scores = scores_of(model, held_out)
    model.save(folder / saved.MODEL, record)
    return EfficientAdTrained(
        folder=folder, options=options, preprocessing=record, held_out=parts.held_out, scores=scores, scored_by="torch",
        run=digest(identity), steps=position.step, training_s=round(position.elapsed_s, 1),
        samples=len(parts.training), history=position.history,
        facts=_facts(model, position, cache, parts, options, recipe) | {"device": compute.name},
    )  # fmt: skip


def plan(
    data: AnomalyData, options: EfficientAdOptions, *, recipe: PdnRecipe = PAPER, teacher: Pdn
) -> tuple[loop.LoopPlan, dict[str, str]]:
    """How long a training lasts, and what a checkpoint must have in common with it to be resumed.

    Raises as `train`.
    """
    steps = options.steps if options.steps is not None or options.time_budget_s is not None else recipe.steps
    record = options.prepared_by(recipe.border)
    teacher.layout.grid(record.height, record.width)
    return loop.LoopPlan(steps=steps, time_budget_s=options.time_budget_s, checkpoint_every_s=60.0), identify(
        options, recipe, code=CODE, **data_identity(data), teacher=digest_of_weights(teacher),
        ood=identity_of(options.ood) if recipe.penalty else "none",
    )  # fmt: skip


def graphs(trained: EfficientAdTrained) -> Exported:
    """The merged graph of the model in the run folder."""
    record, model = trained.preprocessing, PdnModel.load(saved.file_of(trained))
    onnx, tail = merged_graph(model, width=record.width, height=record.height)
    graph = FloatGraph(onnx=onnx, keep_fp32=tail, output_correction=RAW_MAPS)
    settings = AnomalySettings(grid=model.teacher.layout.map_grid(), reduction=REDUCTION)
    return Exported(graphs={MODEL: graph}, settings=settings, preprocessing=record)


class TeacherCache:
    """Training pictures as the network takes them, and what the frozen teacher says of them, each computed once.

    What does not fit into the recipe's memory is computed again whenever it is asked for; `kept` says how many fitted.
    With `any_orientation`, every view is new and only the statistics are computed beforehand.
    """

    def __init__(
        self, teacher: Pdn, pictures: Sequence[Picture], store: PictureStore, record: Preprocessing,
        recipe: PdnRecipe, *, any_orientation: bool, compute: Compute = CPU,
    ) -> None:  # fmt: skip
        self._teacher, self._pictures, self._store, self._record = teacher, tuple(pictures), store, record
        self._any_orientation, self._compute = any_orientation, compute
        rows, columns = teacher.layout.grid(record.height, record.width)
        each = 4 * teacher.layout.channels * rows * columns
        self.kept = 0 if any_orientation else min(len(self._pictures), recipe.cache_bytes // each)
        self._features: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._pictures)

    @torch.no_grad()
    def fill(self, progress: Progress) -> StatisticsSum:
        """Sums up the teacher's statistics over all pictures in float64."""
        total = StatisticsSum(self._teacher.layout.channels)
        for k in range(len(self._pictures)):
            progress(k, len(self._pictures), "teacher's features of the training pictures")
            features = self._teacher(normalised(self._compute.tensor(self._images([k]))))
            total.add(features)
            if k < self.kept:
                self._features.append(features)
        return total

    def first(self, count: int) -> Tensor:
        """The first `count` pictures, normalised."""
        return normalised(self._compute.tensor(self._images(range(min(count, len(self._pictures))))))

    def draw(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[Tensor | None]]:
        """Random pictures, uint8 (count, h, w, 3), and the teacher's raw features (1, C, h, w) where kept."""
        which = [int(k) for k in rng.integers(0, len(self._pictures), count)]
        if not self._any_orientation:
            return self._images(which), [self._features[k] if k < self.kept else None for k in which]
        how = Augmentation(any_orientation=True)
        files = [self._pictures[k].path for k in which]
        views = [view(self._store.source(file, self._record), self._record, how, rng) for file in files]
        return np.stack(views), [None] * count

    def _images(self, which: Sequence[int]) -> NDArray[np.uint8]:
        return np.stack([self._store.tensor(self._pictures[k].path, self._record) for k in which])


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Pictures as the network takes them, one at a time: uint8 (1, h, w, 3)."""

    pictures: Sequence[Picture]
    store: PictureStore
    record: Preprocessing
    compute: Compute = CPU

    def __iter__(self) -> Iterator[Tensor]:
        for picture in self.pictures:
            yield self.compute.tensor(self.store.tensor(picture.path, self.record)[None])


def foreign_of(options: EfficientAdOptions, record: Preprocessing, recipe: PdnRecipe) -> ForeignPictures | None:
    """The penalty's pictures, seen at twice the scale, or None if the recipe has no penalty."""
    if not recipe.penalty:
        return None
    return ForeignPictures.of(options.ood, record, magnified=2, grey=recipe.penalty_grey)


class PdnTraining:
    """What one step does (the protocol `Trainable`): four terms, summed without weights."""

    def __init__(
        self, model: PdnModel, cache: TeacherCache, foreign: ForeignPictures | None, recipe: PdnRecipe, *,
        short: bool, compute: Compute = CPU,
    ) -> None:  # fmt: skip
        self._model, self._cache, self._foreign, self._recipe, self._short = model, cache, foreign, recipe, short
        self._compute = compute
        self._module = nn.ModuleDict({"student": model.student, "autoencoder": model.autoencoder})
        rate = recipe.short_rate if short else recipe.learning_rate
        self._optimizer = torch.optim.Adam(self._module.parameters(), lr=rate, weight_decay=recipe.weight_decay)

    @property
    def module(self) -> nn.Module:
        return self._module

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self._optimizer

    def rate(self, now: Moment) -> float:
        return loop.decay_at(now.done, at=self._recipe.decay_at, factor=self._recipe.decay)

    def losses(self, rng: np.random.Generator, now: Moment) -> Mapping[str, Tensor]:
        with self._compute.autocast(enabled=self._recipe.bf16):
            return self._terms(rng, now)

    def _terms(self, rng: np.random.Generator, now: Moment) -> Mapping[str, Tensor]:
        model, recipe, tensor = self._model, self._recipe, self._compute.tensor
        pictures, features = self._cache.draw(recipe.batch, rng)
        jittered = normalised(tensor(np.stack([jitter(p, recipe.jitter, rng) for p in pictures])))
        # Whatever the convolutions compute in, differences and their sums are float32.
        target, decoded = model.target(jittered).float(), model.decoded(jittered).float()
        local, learned = (half.float() for half in model.halves(jittered))
        local_target = target
        if not recipe.student_jitter:
            clean = normalised(tensor(pictures))
            local_target = self._target(clean, features).float()
            local = model.halves(clean)[0].float()
        warm = self._short and now.done < recipe.warm_share
        terms = {
            "local": losses.local_loss(local_target, local, warm=warm),
            "autoencoder": losses.autoencoder_loss(target, decoded),
            "student_autoencoder": losses.student_autoencoder_loss(decoded, learned),
        }
        if self._foreign is not None:
            foreign = np.stack([self._foreign.draw(rng) for _ in range(recipe.batch)])
            terms["penalty"] = losses.penalty_loss(model.halves(normalised(tensor(foreign)))[0].float())
        return terms

    def _target(self, pictures: Tensor, features: Sequence[Tensor | None]) -> Tensor:
        """T' of clean pictures: from the cache where it is there."""
        each = [
            self._model.target(pictures[k : k + 1]) if found is None else self._model.standardised(found)
            for k, found in enumerate(features)
        ]
        return torch.cat(each)


def maps_of(model: PdnModel, inputs: Iterable[Tensor]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both maps before scaling, float32 (pictures, h, w): real cells, never resized."""
    both = [model.maps(image) for image in inputs]
    return (
        np.concatenate([array(local) for local, _ in both]).astype(np.float32),
        np.concatenate([array(overall) for _, overall in both]).astype(np.float32),
    )


def scores_of(model: PdnModel, inputs: Iterable[Tensor]) -> tuple[float, ...]:
    """The raw score of each picture."""
    with torch.inference_mode():
        return tuple(float(model(image)[1]) for image in inputs)


def teacher_of(options: EfficientAdOptions) -> Pdn:
    """The frozen teacher, of the size asked for. Raises NotThere, BadInput, BadUsage."""
    if options.size not in ("s", "m"):
        raise BadUsage(f"the published networks have sizes s and m, not {options.size!r}")
    teacher = load_teacher(options.teacher)
    if teacher.layout.size != options.size:
        raise BadUsage(
            f"the teacher is a PDN-{teacher.layout.size.upper()}, the size asked for is {options.size}",
            where=str(options.teacher or OURS), hint=f"Use size {teacher.layout.size}, or another teacher",
        )  # fmt: skip
    return teacher


def _untrained(teacher: Pdn, options: EfficientAdOptions, recipe: PdnRecipe) -> PdnModel:
    layout = AutoencoderLayout(channels=teacher.layout.channels, width=recipe.autoencoder_width)
    model = PdnModel(teacher, Pdn(teacher.layout.student()), Autoencoder(layout))
    drawn(model.autoencoder, seed=options.seed + 1)
    return model


def _facts(
    model: PdnModel, position: Position, cache: TeacherCache, parts: Shares, options: EfficientAdOptions,
    recipe: PdnRecipe,
) -> dict[str, Any]:  # fmt: skip
    words = [
        f"the good parts' {name} map hardly varies: its scale was bounded from below"
        for name, quantiles in (("local", model.local), ("overall", model.overall))
        if quantiles.clamped
    ]
    return {
        "bad_steps": position.bad_steps,
        "segments": [asdict(segment) for segment in position.segments],
        "short_run": recipe.short(options),
        **parts.facts(),
        "teacher_outputs_kept": cache.kept,
        "teacher_channels": model.teacher.layout.channels,
        "autoencoder_view": "whole picture at 256 x 256" if model.autoencoder.layout.whole_picture else "network input",
        "clamped_channels": model.clamped_channels,
        "quantiles": {"local": asdict(model.local), "overall": asdict(model.overall)},
        "words": words,
    }
