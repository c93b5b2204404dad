"""A generator that was trained before, exported as it is: its weights are read and kept in the run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_sdk.counted import counted
from edge_sdk.errors import BadInput
from edge_sdk.export.family import Trained, TrainingPlan
from edge_sdk.export.onestep import fit, saved
from edge_sdk.export.onestep.options import OneStepOptions
from edge_sdk.export.tasks.generation.data import GenerationData
from edge_sdk.export.training.identity import digest, digest_of_weights
from edge_sdk.shown import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenPlan(TrainingPlan):
    """weights: the file."""

    weights: Path


def plan(data: GenerationData | None, options: OneStepOptions) -> GivenPlan:
    """Raises BadInput for a file that is no generator of this family, BadUsage for pictures of another kind."""
    assert options.weights is not None
    net, said = saved.read(options.weights)
    if saved.START not in said or "names" not in said:
        raise BadInput(
            "this is a teacher, which takes 35 calls for a picture", where=shown(options.weights),
            hint="Name generator.safetensors of a run folder, or distil it: edge-sdk train onestep --teacher",
        )  # fmt: skip
    facts = net.facts
    fit.check_data(data, facts, stated="--weights")
    draws = f"{facts.side} x {facts.side} px, {counted(facts.channels, 'channel')}"
    if facts.classes:
        draws += f", {counted(facts.classes, 'class', 'classes')}"
    run = digest({"weights": digest_of_weights(net), "start": repr(said[saved.START]), "names": repr(said["names"])})
    return GivenPlan(
        weights=options.weights, run=run, steps=None, finished=True, trains=False,
        rows=(("weights", shown(options.weights.name)), ("draws", draws)), facts={"weights": options.weights.name},
    )  # fmt: skip


def train(options: OneStepOptions, *, folder: Path, planned: GivenPlan) -> Trained:
    """Nothing is learned: the weights are kept in the run folder."""
    net, said = saved.read(planned.weights)
    saved.write(net, folder / saved.GENERATOR, facts=said)
    facts = {"weights": planned.weights.name, "start_sigma": said[saved.START]}
    return Trained(folder=folder, options=options, run=planned.run, steps=0, training_s=0.0, samples=0, facts=facts)
