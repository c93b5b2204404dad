"""A family for the task "pairs": two tiny networks whose weights are drawn from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.export.family import Demo, Exported, FamilyOptions, FloatGraph, Samples, SamplesOf, Trained, TrainingPlan
from edge_sdk.export.option import option
from edge_sdk.progress import Progress
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions
from edge_sdk.tensors import Array
from edge_sdk_trial import drawn_weights, networks
from edge_sdk_trial.pairs import DECODER, ENCODER, POINTS, PairsSettings
from edge_sdk_trial.pairs_export import PairsData, PreparedPictures

INPUT = Preprocessing(width=32, height=32)
AXES = {"P": 16, "K": 4}


@dataclass(frozen=True, kw_only=True)
class TinyPairsOptions(FamilyOptions):
    """channels: of the first convolution."""

    channels: int = option(8, kind="int", least=2, most=64, help="Channels of the first convolution.")

    def preprocessing(self) -> Preprocessing:
        return INPUT


class TinyPairs:
    """The family."""

    name = "tiny-pairs"
    title = "Tiny pairs"
    task = "pairs"
    options = TinyPairsOptions
    demo: Demo | None = None

    def plan(self, data: PairsData, options: TinyPairsOptions, *, folder: Path) -> TrainingPlan:
        return drawn_weights.plan(f"pairs {options.seed} {options.channels}", options, folder=folder)

    def train(
        self, data: PairsData, options: TinyPairsOptions, *, planned: TrainingPlan, folder: Path, progress: Progress
    ) -> Trained:
        return drawn_weights.train(
            lambda: networks.pairs_weights(options.seed, channels=options.channels), options,
            planned.run, folder=folder, samples=len(data.files),
        )  # fmt: skip

    def graphs(self, trained: Trained) -> Exported:
        weights = drawn_weights.weights(trained)
        return Exported(
            graphs={
                ENCODER: FloatGraph(onnx=networks.encoder(weights)),
                DECODER: FloatGraph(onnx=networks.decoder(weights), axes=AXES),
            },
            settings=PairsSettings(values=("left", "middle", "right")), preprocessing=INPUT,
        )  # fmt: skip

    def samples(self, data: PairsData, trained: Trained, exported: Exported, count: int) -> SamplesOf:
        pictures = PreparedPictures(data, INPUT, count)
        by_role: dict[str, Samples] = {ENCODER: pictures, DECODER: _Asked(pictures, exported.graphs[ENCODER].onnx)}
        return by_role.__getitem__


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Calibration samples of the decoder: what the float encoder answers, beside the points of each picture."""

    pictures: PreparedPictures
    encoder: bytes

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        session = registry.runtime("onnxruntime").compile(self.encoder, CompileOptions(graph_name=ENCODER))
        try:
            for index, feeds in enumerate(self.pictures):
                yield {**session.run(feeds), POINTS: self.pictures.data.points(index)}
        finally:
            session.close()
