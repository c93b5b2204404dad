"""One file that a training run resumes from: weights, optimiser, random states, step, time. Knows no loss.

It is written beside the old one and renamed over it, so a kill at any moment leaves the old file or the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_sdk import atomic
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export import tensors_file
from edge_sdk.export.tensors_file import TensorsFile
from edge_sdk.export.training.identity import differences

FORMAT = "edge-sdk.checkpoint/3"
NAME = "checkpoint.safetensors"
SHOWN_DIFFERENCES = 3
"""Differences at most, in the message of a checkpoint of another run."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The part of a run under one plan: the step that it began at, and what was to end it."""

    began: int
    steps: int | None
    time_budget_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a run is. elapsed_s: training time so far, resumes included. bad_steps: steps dropped for NaN gradients.

    history: (step, {name: value}) of losses and of what a watch measured. finished: its steps or its time are used up.
    ended_early: whoever watches it saw enough. segments: more than one where the run was lengthened or shortened on the
    way, and then it can't be made again by one command.
    """

    step: int = 0
    elapsed_s: float = 0.0
    bad_steps: int = 0
    finished: bool = False
    ended_early: bool = False
    history: tuple[tuple[int, Mapping[str, float]], ...] = ()
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """What `write` stores. identity: text by name (see `identify`); a resume must have the same."""

    position: Position
    identity: Mapping[str, str]
    tensors: Mapping[str, Tensor]
    optimizer_groups: list[dict[str, Any]] = field(default_factory=list)
    rng: Mapping[str, Any] = field(default_factory=dict)


def capture(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    rng: np.random.Generator,
    position: Position,
    identity: Mapping[str, str],
) -> Checkpoint:
    """The state of a run between two steps. The tensors are not copied: write it before the next step."""
    state = optimizer.state_dict()
    tensors = {f"module/{name}": tensor for name, tensor in module.state_dict().items()}
    for index, entries in state["state"].items():
        tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in entries.items()}
    tensors["rng/torch"] = torch.get_rng_state()
    if (gpu := _gpu_of(module)) is not None:
        tensors["rng/cuda"] = torch.cuda.get_rng_state(gpu)
    return Checkpoint(
        position=position, identity=identity, tensors=tensors, optimizer_groups=state["param_groups"],
        rng=dict(rng.bit_generator.state),
    )  # fmt: skip


def restore(
    checkpoint: Checkpoint, module: nn.Module, optimizer: torch.optim.Optimizer, rng: np.random.Generator
) -> None:
    """Puts the state back: the next step is the one that would have followed. The network may be on another device than
    the one before. Raises BadInput if it does not fit."""
    try:
        module.load_state_dict({n[7:]: t for n, t in checkpoint.tensors.items() if n.startswith("module/")})
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in checkpoint.tensors.items():
            if name.startswith("optimizer/"):
                _, index, entry = name.split("/")
                state.setdefault(int(index), {})[entry] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": checkpoint.optimizer_groups})
        rng.bit_generator.state = dict(checkpoint.rng)
        torch.set_rng_state(checkpoint.tensors["rng/torch"])
        gpu, state_there = _gpu_of(module), checkpoint.tensors.get("rng/cuda")
        if gpu is not None and state_there is not None:  # one that was written on the CPU goes on with the seed's own
            torch.cuda.set_rng_state(state_there, gpu)
    except (RuntimeError, ValueError, KeyError, TypeError) as exc:
        raise BadInput(
            f"the checkpoint is of another network: {str(exc).splitlines()[0]}", hint="Train into another folder"
        ) from exc


def _gpu_of(module: nn.Module) -> torch.device | None:
    """The GPU that a network is on."""
    at = next((weight.device for weight in module.parameters()), None)
    return at if at is not None and at.type == "cuda" else None


def write(checkpoint: Checkpoint, folder: Path) -> None:
    """Replaces the checkpoint of `folder`, atomically. Raises CantWrite, and the one before it is kept."""
    position = checkpoint.position
    described = {
        "identity": dict(checkpoint.identity),
        "step": position.step,
        "elapsed_s": position.elapsed_s,
        "bad_steps": position.bad_steps,
        "finished": position.finished,
        "ended_early": position.ended_early,
        "history": [[step, dict(values)] for step, values in position.history],
        "segments": [[one.began, one.steps, one.time_budget_s] for one in position.segments],
        "optimizer_groups": checkpoint.optimizer_groups,
        "rng": dict(checkpoint.rng),
    }
    tensors_file.write(atomic.folder(folder) / NAME, checkpoint.tensors, kind=FORMAT, described=described)


def read(folder: Path, identity: Mapping[str, str]) -> Checkpoint | None:
    """The checkpoint of `folder`, or None if there is none. Raises BadUsage if it is of other data or options, BadInput
    if the file is damaged."""
    path = folder / NAME
    if not path.is_file():
        return None
    with tensors_file.opened(
        path, kind=FORMAT, what="the checkpoint is damaged", hint="Delete it to start anew"
    ) as file:
        stored = _stored(file)
    changed = differences(stored.identity, identity)
    if changed:
        raise BadUsage(
            f"this folder holds another run: {'; '.join(changed[:SHOWN_DIFFERENCES])}",
            where=str(folder),
            hint="To start anew, name another folder (--run NEW_FOLDER, or another --out); to resume, give the same "
            "options and data as before",
        )  # fmt: skip
    return stored


def _stored(file: TensorsFile) -> Checkpoint:
    described = file.described
    position = Position(
        step=int(described["step"]), elapsed_s=float(described["elapsed_s"]), bad_steps=int(described["bad_steps"]),
        finished=bool(described["finished"]), ended_early=bool(described.get("ended_early", False)),
        history=tuple((int(s), dict(v)) for s, v in described["history"]),
        segments=tuple(Segment(*one) for one in described["segments"]),
    )  # fmt: skip
    return Checkpoint(
        position=position, identity=described["identity"], tensors=file.tensors,
        optimizer_groups=described["optimizer_groups"], rng=described["rng"],
    )  # fmt: skip
