"""TinySAM as a family: promptable segmentation, trained on annotated pictures and drawn scenes. Knows no network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from edge_sdk.errors import Stopped
from edge_sdk.export.family import Demo, Exported, Samples, Trained, TrainingPlan
from edge_sdk.export.tasks.segmentation.annotations import SegmentationData
from edge_sdk.export.tinysam.options import TinySamOptions
from edge_sdk.export.tinysam.scenes.sources import mixture, photographs_in
from edge_sdk.export.tinysam.small import fit
from edge_sdk.export.tinysam.small.calibration import SmallSamples
from edge_sdk.export.training import checkpoint, device
from edge_sdk.export.training.identity import digest
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes.probe import default_threads


@dataclass(frozen=True, slots=True, kw_only=True)
class TinySamPlan(TrainingPlan):
    """length: for the training itself."""

    length: fit.Length


@dataclass(frozen=True, kw_only=True)
class TinySAM:
    """Shu et al. 2023 (arXiv 2312.13789), and a small size of our own for cameras."""

    name: ClassVar[str] = "tinysam"
    title: ClassVar[str] = "TinySAM"
    task: ClassVar[str] = "segmentation"
    options: ClassVar[type[TinySamOptions]] = TinySamOptions

    @property
    def demo(self) -> Demo | None:
        return None

    def plan(self, data: SegmentationData | None, options: TinySamOptions, *, folder: Path) -> TinySamPlan:
        """What `train` would do; whatever is wrong with its arguments is raised here."""
        compute = device.chosen(options.device)
        length = fit.plan(data, options)
        fit.start_of(options)  # a weights file of another network is refused before anything is read
        stored = None if length.until is None else checkpoint.read(folder, length.identity)
        at = None if stored is None else stored.position
        until = length.until
        return TinySamPlan(
            length=length, run=digest(length.identity), steps=None if until is None else until.steps,
            time_budget_s=None if until is None else until.time_budget_s, kept_step=None if at is None else at.step,
            finished=until is None or (at is not None and until.over(at)),
            rows=(("network", f"{self.title} small, frames of {options.side} px"), ("device", compute.name)),
            facts={"size": "small", "side": options.side, "device": compute.name},
        )  # fmt: skip

    def train(
        self, data: SegmentationData | None, options: TinySamOptions, *, planned: TrainingPlan | None = None,
        folder: Path, progress: Progress,
    ) -> Trained:  # fmt: skip
        """Train, or resume from the checkpoint that `folder` holds for the same data and options."""
        if not isinstance(planned, TinySamPlan):
            planned = self.plan(data, options, folder=folder)
        with _computing(options.threads or default_threads()):
            try:
                return fit.train(data, options, folder=folder, progress=progress, length=planned.length)
            except KeyboardInterrupt as exc:  # outside the loop: while pictures are read
                raise Stopped(
                    "stopped between steps of the training", where=str(folder), hint="Give the same command again"
                ) from exc

    def graphs(self, trained: Trained) -> Exported:
        """Encoder, decoder and refiner, exact against the training model."""
        return fit.graphs(trained)

    def samples(self, data: SegmentationData | None, trained: Trained, role: str, count: int) -> Samples:
        """Frames of annotated pictures, drawn scenes and photographs, as in training; of decoder and refiner with the
        features of the trained encoder."""
        options = trained.options
        assert isinstance(options, TinySamOptions)
        made = mixture(data, photographs_in(options.photographs), side=options.side, seed=options.seed, progress=silent)
        return SmallSamples(fit.model_of(trained), made, role, count, options.seed)


@contextmanager
def _computing(threads: int) -> Iterator[None]:
    """torch's process-wide settings for a training, put back after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)
