"""The run folder that both families of this package share: weights drawn from a seed, kept in a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_sdk import atomic
from edge_sdk.errors import BadUsage
from edge_sdk.export.family import FamilyOptions, Trained, TrainingPlan
from edge_sdk.npz import npz, read_npz

KEPT = "weights.npz"
Draw = Callable[[], Mapping[str, NDArray[np.float32]]]


def plan(what: str, options: FamilyOptions, *, folder: Path) -> TrainingPlan:
    """There is one step, and it is over when its file is there. what: all that decides what the weights will be."""
    if options.device == "cuda":
        raise BadUsage("this family draws its weights, on the CPU", hint="Leave --device out")
    there = (folder / KEPT).exists()
    run = hashlib.sha256(what.encode()).hexdigest()[:16]
    return TrainingPlan(run=run, steps=1, kept_step=1 if there else None, finished=there)


def train(draw: Draw, options: FamilyOptions, run: str, *, folder: Path, samples: int) -> Trained:
    if not (folder / KEPT).exists():
        atomic.write(folder / KEPT, npz(draw()))
    return Trained(folder=folder, options=options, run=run, steps=1, training_s=0.0, samples=samples)


def weights(trained: Trained) -> dict[str, NDArray[np.float32]]:
    return read_npz(trained.folder / KEPT)
