"""EfficientAD as a family: each named step is passed on to the size that was asked for. Knows no network."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import ModuleType

import torch

from edge_sdk.errors import BadUsage, Stopped
from edge_sdk.export.anomaly.feeds import Feeds
from edge_sdk.export.efficientad import xs_train
from edge_sdk.export.efficientad.xs import XsConfig
from edge_sdk.export.family import CalibrationFeeds, DemoPictures, FloatGraph, PictureSet, Trained, TrainOptions
from edge_sdk.progress import Progress
from edge_sdk.runtimes.probe import default_threads

SIZES = ("xs", "s", "m")


@dataclass(frozen=True, slots=True, kw_only=True)
class EfficientAD:
    """Batzner et al. 2024: student, teacher and autoencoder (s, m), and a form for machines without a GPU (xs)."""

    xs: XsConfig = field(default_factory=XsConfig)

    @property
    def name(self) -> str:
        return "efficientad"

    @property
    def title(self) -> str:
        return "EfficientAD"

    @property
    def task(self) -> str:
        return "anomaly"

    @property
    def demo_pictures(self) -> DemoPictures:
        return DemoPictures(
            folder=resources.files("edge_sdk.export.efficientad").joinpath("aliens"),
            name="Toy aliens",
            licence=(
                "Pictures: toy aliens from aws-samples/amazon-lookout-for-vision, Copyright Amazon.com, Inc. or its "
                "affiliates, CC BY-SA 4.0; scaled and re-encoded."
            ),
            holdout=0.27,
            rate="10%",
        )

    def train(self, data: PictureSet, options: TrainOptions, *, folder: Path, progress: Progress) -> Trained:
        """Trains, or goes on from the checkpoint that `folder` holds for the same data and options."""
        _check(options)
        with _computing(options.threads or default_threads()):
            return self._train(data, options, folder, progress)

    def _train(self, data: PictureSet, options: TrainOptions, folder: Path, progress: Progress) -> Trained:
        try:
            if options.size == "xs":
                return xs_train.train(data, options, self.xs, folder=folder, progress=progress)
            trained: Trained = _pdn().train(data, options, folder=folder, progress=progress)
            return trained
        except KeyboardInterrupt as exc:  # outside the loop: while pictures are read or maps measured
            raise Stopped(
                "stopped between steps of the training", where=str(folder), do="Give the same command again"
            ) from exc

    def graph(self, trained: Trained) -> FloatGraph:
        """The merged graph, exact against the training model."""
        if trained.options.size == "xs":
            return xs_train.graph(trained)
        merged: FloatGraph = _pdn().graph(trained)
        return merged

    def calibration(self, data: PictureSet, trained: Trained, *, count: int) -> CalibrationFeeds:
        """Good training pictures, foreign pictures and synthetic damage, prepared: never test pictures."""
        if trained.options.size == "xs":
            return Feeds.of(data, trained, xs_train.preprocessing(trained.options), count=count)
        feeds: CalibrationFeeds = _pdn().calibration(data, trained, count=count)
        return feeds


@contextmanager
def _computing(threads: int) -> Iterator[None]:
    """torch's process-wide settings for a training, put back after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # activations of dead channels would otherwise cost as much as ten live ones
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)


def _check(options: TrainOptions) -> None:
    if options.size not in SIZES:
        raise BadUsage(f"EfficientAD has no size {options.size!r}", do=f"Use one of {', '.join(SIZES)}")


def _pdn() -> ModuleType:
    """The module with the published networks, imported where it is needed."""
    return importlib.import_module("edge_sdk.export.efficientad.pdn_family")
