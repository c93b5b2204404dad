"""A generator that others made, as the family's steps take it: read, proven, kept in the run folder. Trains nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_sdk import atomic
from edge_sdk.calibration.trials import Trials
from edge_sdk.counted import counted
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.family import Exported, FloatGraph, Trained, TrainingPlan
from edge_sdk.export.models.model import read_model
from edge_sdk.export.onestep.options import OneStepOptions
from edge_sdk.export.onestep.wrapped import Wrapped
from edge_sdk.export.onestep.wrapped_answers import Proven, proven
from edge_sdk.export.onestep.wrapping import Wrapping, wrapping_of
from edge_sdk.export.tasks.generation.data import GenerationData
from edge_sdk.export.training.identity import digest
from edge_sdk.shown import shown
from edge_sdk.tasks.base import MODEL
from edge_sdk.tasks.generation.asked import GenerationSettings
from edge_sdk.tensors import BATCH

TRIALS = Trials(range_methods=("minmax", "percentile-99.99", "mse"))
"""Of int8: nobody has looked at these graphs, and no method is best for all."""
GRAPH, FACTS = "wrapped.onnx", "wrapped.json"
"""In the run folder: the graph, and what a bundle says of it."""
CODE = "wrapped/1"
"""Bump when the same file and options become another graph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AsIsPlan(TrainingPlan):
    """found: the graph, proven."""

    found: Proven


class Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What FACTS holds: `Wrapped` without the graph. sha256: of that."""

    settings: GenerationSettings
    kept: tuple[str, ...]
    noise_shape: tuple[int, ...]
    rows: int | None
    sha256: str


def plan(data: GenerationData | None, options: OneStepOptions) -> AsIsPlan:
    """The graph of the file, proven. Raises as `wrapped_answers.proven`, and BadUsage for pictures that are not like
    those it draws."""
    stated = wrapping_of(options)
    found = proven(read_model(stated.path), stated, threads=options.threads)
    _check_data(data, found.wrapped)
    made = kept_of(found.wrapped)
    identity = {"code": CODE, "graph": made.sha256, "kept": msgspec.json.encode(made).decode()}
    height, width, channels = found.wrapped.shape
    lowest, highest = found.spread
    draws = f"{height} x {width} px, {channels} {'channel' if channels == 1 else 'channels'}"
    if stated.names:
        draws += f", {counted(len(stated.names), 'class', 'classes')}"
    rows = [
        ("graph", shown(stated.path.name)), ("draws", draws),
        ("first answers", f"{lowest:.4g}..{highest:.4g}, --range {_range(stated)}"), ("input", _input(stated)),
        *(("warning", note) for note in found.notes),
    ]  # fmt: skip
    facts = {
        "graph": stated.path.name, "height": height, "width": width, "picture_channels": channels,
        "lowest": lowest, "highest": highest, "warnings": list(found.notes),
    }  # fmt: skip
    return AsIsPlan(
        found=found, run=digest(identity), steps=None, finished=True, trains=False, rows=tuple(rows), facts=facts
    )


def train(options: OneStepOptions, *, folder: Path, planned: AsIsPlan) -> Trained:
    """Nothing is learned: the graph is kept in the run folder."""
    stated, made = wrapping_of(options), planned.found.wrapped
    atomic.write(folder / GRAPH, made.onnx)
    atomic.write(folder / FACTS, msgspec.json.encode(kept_of(made)))
    facts = {
        "graph": stated.path.name, "noise_scale": stated.scale, "fixed": dict(stated.fixed), "range": _range(stated),
        "notes": list(planned.found.notes),
    }  # fmt: skip
    return Trained(folder=folder, options=options, run=planned.run, steps=0, training_s=0.0, samples=0, facts=facts)


def graphs(trained: Trained) -> Exported:
    """The graph in the run folder."""
    onnx, kept = read(trained.folder)
    axes = {} if kept.rows is None else {BATCH: kept.rows}
    graph = FloatGraph(onnx=onnx, keep_fp32_in_int8=kept.kept, axes=axes, trials=TRIALS, measured=True)
    return Exported(graphs={MODEL: graph}, settings=kept.settings)


def read(folder: Path) -> tuple[bytes, Kept]:
    """What `train` kept. Raises BadInput where it is not there, or not whole."""
    hint = "Give the command again"
    try:
        onnx, facts = (folder / GRAPH).read_bytes(), (folder / FACTS).read_bytes()
        kept = msgspec.json.decode(facts, type=Kept)
    except (OSError, msgspec.MsgspecError) as exc:
        raise BadInput("there is no wrapped graph in this folder", where=shown(folder), hint=hint) from exc
    if hashlib.sha256(onnx).hexdigest() != kept.sha256:
        raise BadInput("its graph is not the one that was kept here", where=shown(folder / GRAPH), hint=hint)
    return onnx, kept


def kept_of(made: Wrapped) -> Kept:
    """For FACTS."""
    return Kept(
        settings=made.settings, kept=made.kept, noise_shape=made.noise_shape, rows=made.rows,
        sha256=hashlib.sha256(made.onnx).hexdigest(),
    )  # fmt: skip


def _check_data(data: GenerationData | None, made: Wrapped) -> None:
    """Raises BadUsage for pictures that can't be measured against."""
    if data is None:
        return
    height, width, channels = made.shape
    found, drawn = (data.side, data.side, data.channels), (height, width, channels)
    if found != drawn or len(data.names) != len(made.settings.labels):
        what = [f"{one[0]} x {one[1]} px, {one[2]} channels" for one in (found, drawn)]
        counts = f"{counted(len(data.names), 'class', 'classes')} and {len(made.settings.labels)}"
        raise BadUsage(
            f"DATA are not like what is drawn: {what[0]} and {what[1]}, {counts}",
            hint="Name pictures of the same kind, or none; --size scales them",
        )


def _input(stated: Wrapping) -> str:
    parts = [f"noise times {stated.scale:g}" if stated.scale != 1.0 else "noise"]
    parts += [f"{shown(name)} = {shown(text)[:40]}" for name, text in stated.fixed.items()]
    parts += [f"class in {shown(stated.label)}"] if stated.label else []
    return ", ".join(parts)


def _range(stated: Wrapping) -> str:
    return "0..255" if stated.low is None or stated.high is None else f"{stated.low:g}..{stated.high:g}"
