"""From annotated pictures to a trained small model and its graphs: the steps of the family. Knows no command line."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import msgspec
import torch

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.family import Exported, FloatGraph, Trained
from edge_sdk.export.tasks.segmentation.annotations import SegmentationData
from edge_sdk.export.tasks.segmentation.reading import training_problem
from edge_sdk.export.tinysam import ENCODER_TRIALS
from edge_sdk.export.tinysam.options import EVERYTHING, PROMPTS, SIDE, TOKENS, TinySamOptions, framed, options_of
from edge_sdk.export.tinysam.ranges.guided import guided
from edge_sdk.export.tinysam.run_plan import RunPlan, teacherless_identity, wants_training
from edge_sdk.export.tinysam.scenes.prefetch import Prefetch
from edge_sdk.export.tinysam.scenes.sources import digest_of, mixture, photographs_in
from edge_sdk.export.tinysam.small import graph, thresholds
from edge_sdk.export.tinysam.small.decoder import BOXED, MASKED, ROUNDS
from edge_sdk.export.tinysam.small.model import SHIPPED, SmallModel
from edge_sdk.export.tinysam.small.train import CODE, SmallRecipe, SmallTraining
from edge_sdk.export.tinysam.thresholds import STEPS, stated
from edge_sdk.export.training import loop
from edge_sdk.export.training.checkpoint import Position
from edge_sdk.export.training.device import CPU
from edge_sdk.export.training.identity import digest
from edge_sdk.progress import Progress
from edge_sdk.tasks.segmentation.settings import DECODER, ENCODER, REFINER, SegmentationSettings

MODEL = "model.safetensors"
TUNING_STEPS = 1500
"""Of a training that starts from a trained model, unless the user says otherwise."""
SCRATCH_S = 8 * 3600.0
"""Of a training from the trunk alone, unless the user says otherwise: a night."""


FIRST = ("trunk/stem", "trunk/0/depthwise", "trunk/1/depthwise")
"""Nodes of the encoder that stay float in int8: what they lose, all others read. The stem reads a normalized picture
that is 0 beyond its extent (docs/results/q_tinysam_small.json), and a depthwise sum has 9 products to average over."""
TRIALS = replace(ENCODER_TRIALS, equalise=True, within=0.15, search_s=120.0)
"""Of the encoder: features that are farther off keep further operators in float, before they are refused at 20 %."""


def start_of(options: TinySamOptions) -> SmallModel:
    """The model that a training starts from, or that is exported as it is. Raises BadInput."""
    if options.scratch:
        torch.manual_seed(options.seed)
        return SmallModel(options.side or SIDE)
    return SmallModel.load(options.weights or SHIPPED, side=options.side)


def recipe_of(options: TinySamOptions) -> SmallRecipe:
    """From the trunk alone, or from a model that is trained already; the user's rate, where one is stated."""
    recipe = SmallRecipe() if options.scratch else SmallRecipe.tuning()
    return recipe if options.rate is None else recipe.at(options.rate)


def plan(data: SegmentationData | None, options: TinySamOptions) -> RunPlan:
    """Raises BadUsage for what can't be trained, BadInput for a folder or file that is missing."""
    start = start_of(options)  # a weights file of another network is refused before anything is read
    trains = wants_training(data, options)
    if trains and options.device == "cuda":
        raise BadUsage("the small size is trained on the CPU only", hint="Leave --device cuda out")
    if trains and data is not None and (problem := training_problem(data)) is not None:
        raise problem
    if options.scratch and not trains:
        raise BadUsage(
            "there is nothing to train on and there are no weights to export",
            hint="Name a FOLDER of annotated pictures",
        )
    photographs = photographs_in(options.photographs)
    source = "trunk" if options.scratch else digest_of([options.weights or SHIPPED])
    identity = teacherless_identity(
        options, recipe_of(options), code=CODE, data="none" if data is None else data.digest,
        photographs=digest_of(photographs), start=source,
    )  # fmt: skip
    return RunPlan(
        until=_until(options) if trains else None, identity=identity, network="small", device=CPU.name,
        after=STEPS[:1] if trains or EVERYTHING not in start.facts else (),
    )  # fmt: skip


def _until(options: TinySamOptions) -> loop.LoopPlan:
    steps, budget = options.steps, options.time_budget_s
    if steps is None and budget is None:
        steps, budget = (None, SCRATCH_S) if options.scratch else (TUNING_STEPS, None)
    return loop.LoopPlan(steps=steps, time_budget_s=budget, checkpoint_every_s=120.0)


def train(
    data: SegmentationData | None, options: TinySamOptions, *, folder: Path, progress: Progress, run_plan: RunPlan
) -> Trained:
    """Train, or resume from the checkpoint in `folder`; with nothing to train, the model as it is. The thresholds of
    everything mode are measured for weights that bring none of their own."""
    model = start_of(options)
    position = Position(finished=True)
    made = None
    if run_plan.until is not None or EVERYTHING not in model.facts:
        made = mixture(data, photographs_in(options.photographs), side=model.side, seed=options.seed, progress=progress)
    if run_plan.until is not None:
        assert made is not None
        recipe = recipe_of(options)
        with Prefetch(made, batch=recipe.batch, seed=options.seed) as frames:
            lesson = SmallTraining(CPU.place(model), frames, recipe)
            position = loop.run(
                lesson, run_plan.until, folder=folder, identity=run_plan.identity, seed=options.seed, progress=progress
            )
        model = lesson.kept
    if made is not None:
        found = thresholds.measured(model.eval(), made, seed=options.seed, progress=progress)
        model.facts = {**model.facts, EVERYTHING: msgspec.to_builtins(found)}
    model.save(folder / MODEL)
    return Trained(
        folder=folder, options=options, run=digest(run_plan.identity), steps=position.step,
        training_s=round(position.elapsed_s, 1), samples=0 if data is None else len(data.train),
        history=position.history,
        facts={"size": "small", "side": model.side, "segments": [asdict(one) for one in position.segments]},
    )  # fmt: skip


def model_of(trained: Trained) -> SmallModel:
    """The model in the run folder. Raises BadInput."""
    path = trained.folder / MODEL
    if not path.is_file():
        raise BadInput("there is no trained model in this folder", where=str(trained.folder), hint="Train first")
    return SmallModel.load(path)


def graphs(trained: Trained) -> Exported:
    """Encoder, decoder and refiner of the model in the run folder."""
    model = model_of(trained)
    encoder = graph.encoder_graph(model.encoder, model.side)
    after = {role: graph.decoder_graph(model.decoder, refiner=role == REFINER) for role in (DECODER, REFINER)}
    search = guided(options_of(trained), after[DECODER][0])
    made = {
        ENCODER: FloatGraph(onnx=encoder, keep_fp32_in_int8=FIRST, trials=TRIALS, range_search=search),
        **{
            role: FloatGraph(onnx=onnx, keep_fp32=prompts, axes={"N": PROMPTS, "T": TOKENS})
            for role, (onnx, prompts) in after.items()
        },
    }  # fmt: skip
    settings = SegmentationSettings(
        multimask=(0, 1, 2),
        boxed=BOXED,
        masked=MASKED,
        boxed_masks=True,
        rounds=ROUNDS,
        box_map=thresholds.BOX_MAP,
        everything=stated(model.facts),
    )
    return Exported(graphs=made, settings=settings, preprocessing=framed(model.side))
