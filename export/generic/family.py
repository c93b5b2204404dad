"""Any ONNX file as a family: it trains nothing, its graph is the file, its samples are the user's. Knows no meaning."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edge_sdk.export.family import Demo, Exported, FamilyOptions, FloatGraph, Trained, TrainingPlan
from edge_sdk.export.generic.samples import ArraySamples
from edge_sdk.progress import Progress, silent
from edge_sdk.tasks.base import MODEL
from edge_sdk.tasks.tensor import TensorSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class Generic:
    """One float graph, given. data: `ArraySamples`."""

    name: ClassVar[str] = "generic"
    title: ClassVar[str] = "ONNX file"
    task: ClassVar[str] = "tensor"
    options: ClassVar[type[FamilyOptions]] = FamilyOptions
    demo: ClassVar[Demo | None] = None

    graph: FloatGraph

    def plan(self, data: ArraySamples, options: FamilyOptions, *, folder: Path) -> TrainingPlan:
        total = hashlib.sha256(self.graph.onnx + data.digest.encode())
        return TrainingPlan(run=total.hexdigest()[:16], steps=0, finished=True)

    def train(
        self, data: ArraySamples, options: FamilyOptions, *, planned: TrainingPlan | None = None, folder: Path,
        progress: Progress = silent,
    ) -> Trained:  # fmt: skip
        """Nothing is trained."""
        run = (planned or self.plan(data, options, folder=folder)).run
        return Trained(folder=folder, options=options, run=run, steps=0, training_s=0.0, samples=len(data))

    def graphs(self, trained: Trained) -> Exported:
        return Exported(graphs={MODEL: self.graph}, settings=TensorSettings())

    def samples(self, data: ArraySamples, trained: Trained, role: str, count: int) -> ArraySamples:
        """All that were given: who gives a thousand wants them read."""
        return data
