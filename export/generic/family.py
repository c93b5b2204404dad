"""Any float graphs as a family: it trains nothing, its graphs and its samples are the user's. Knows no meaning."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import msgspec

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.export.family import Demo, Exported, FamilyOptions, FloatGraph, Trained, TrainingPlan
from edge_sdk.export.generic import golden
from edge_sdk.export.generic.samples import ArraySamples
from edge_sdk.export.tasks.base import Golden
from edge_sdk.progress import Progress, silent
from edge_sdk.tasks.tensor import TensorSettings

_NO_SETTINGS = TensorSettings()


@dataclass(frozen=True, kw_only=True, eq=False)
class RoleSamples:
    """The samples of each graph, by role. digest: of all of them."""

    by_role: Mapping[str, ArraySamples]

    def __len__(self) -> int:
        return sum(len(samples) for samples in self.by_role.values())

    @cached_property
    def digest(self) -> str:
        if len(self.by_role) == 1:
            return next(iter(self.by_role.values())).digest
        words = "".join(f"{role} {samples.digest}\n" for role, samples in self.by_role.items())
        return hashlib.sha256(words.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Generic:
    """Float graphs, given. data: `RoleSamples`.

    float_graphs: by role. task: whose bundle they become, with `settings` of that task's own type. preprocessing: where
    an input of a graph takes pictures.
    """

    name: ClassVar[str] = "generic"
    title: ClassVar[str] = "model of your own"
    options: ClassVar[type[FamilyOptions]] = FamilyOptions
    demo: ClassVar[Demo | None] = None

    float_graphs: Mapping[str, FloatGraph]
    task: str = "tensor"
    settings: msgspec.Struct = _NO_SETTINGS
    preprocessing: Preprocessing | None = None

    def plan(self, data: RoleSamples, options: FamilyOptions, *, folder: Path) -> TrainingPlan:
        total = hashlib.sha256()
        for graph in self.float_graphs.values():
            total.update(graph.onnx)
        total.update(data.digest.encode())
        return TrainingPlan(run=total.hexdigest()[:16], steps=0, finished=True, trains=False)

    def train(
        self, data: RoleSamples, options: FamilyOptions, *, planned: TrainingPlan | None = None, folder: Path,
        progress: Progress = silent,
    ) -> Trained:  # fmt: skip
        """Nothing is trained."""
        run = (planned or self.plan(data, options, folder=folder)).run
        return Trained(folder=folder, options=options, run=run, steps=0, training_s=0.0, samples=len(data))

    def graphs(self, trained: Trained) -> Exported:
        return Exported(graphs=self.float_graphs, settings=self.settings, preprocessing=self.preprocessing)

    def samples(
        self, data: RoleSamples, trained: Trained, exported: Exported, count: int
    ) -> Callable[[str], ArraySamples]:
        """All that were given: who gives a thousand wants them read."""
        return data.by_role.__getitem__

    def golden(self, data: RoleSamples, trained: Trained) -> Sequence[Golden]:
        return golden.golden(data.by_role)
