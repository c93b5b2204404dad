"""A family for the task "seeds": a tiny network that draws, its weights drawn from a seed themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_sdk.export.family import Demo, Exported, FamilyOptions, FloatGraph, SamplesOf, Trained, TrainingPlan
from edge_sdk.export.option import option
from edge_sdk.export.tasks.base import Golden
from edge_sdk.progress import Progress
from edge_sdk.tasks.base import MODEL
from edge_sdk.tensors import Array
from edge_sdk_trial import drawn_weights, networks
from edge_sdk_trial.seeds import SeedsSettings, noise_of

NOISE = (8, 4, 4)


@dataclass(frozen=True, kw_only=True)
class TinySeedsOptions(FamilyOptions):
    """channels: of the feature maps."""

    channels: int = option(8, kind="int", least=2, most=64, help="Channels of the feature maps.")


class TinySeeds:
    """The family. Its data are None: it learns from nothing."""

    name = "tiny-seeds"
    title = "Tiny seeds"
    task = "seeds"
    options = TinySeedsOptions
    demo: Demo | None = None

    def plan(self, data: None, options: TinySeedsOptions, *, folder: Path) -> TrainingPlan:
        return drawn_weights.plan(f"seeds {options.seed} {options.channels}", options, folder=folder)

    def train(
        self, data: None, options: TinySeedsOptions, *, planned: TrainingPlan, folder: Path, progress: Progress
    ) -> Trained:
        return drawn_weights.train(
            lambda: networks.seeds_weights(options.seed, channels=options.channels), options,
            planned.run, folder=folder, samples=0,
        )  # fmt: skip

    def graphs(self, trained: Trained) -> Exported:
        graph = FloatGraph(onnx=networks.generator(drawn_weights.weights(trained)), variants=("int8", "int8-w7"))
        return Exported(graphs={MODEL: graph}, settings=SeedsSettings(noise=NOISE))

    def samples(self, data: None, trained: Trained, exported: Exported, count: int) -> SamplesOf:
        return lambda role: _Noise(count)

    def golden(self, data: None, trained: Trained) -> Sequence[Golden]:
        return [Golden(source={"seed": np.array(seed, np.int64)}, label=f"seed {seed}") for seed in (0, 1, 7)]


@dataclass(frozen=True, slots=True)
class _Noise:
    """Calibration samples: seeds far from those that are drawn."""

    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        for seed in range(self.count):
            yield {"noise": noise_of([10_000_000 + seed], NOISE)}
