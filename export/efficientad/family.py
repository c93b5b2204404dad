"""EfficientAD as a family: each named step is passed on to the size that was asked for. Knows no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Protocol, TypeAlias

import torch

from edge_sdk.errors import BadUsage, Stopped
from edge_sdk.export.anomaly import foreign
from edge_sdk.export.anomaly.feeds import Feeds
from edge_sdk.export.efficientad import saved
from edge_sdk.export.efficientad.pdn import model as pdn_model
from edge_sdk.export.efficientad.pdn import train as pdn_training
from edge_sdk.export.efficientad.xs import model as xs_model
from edge_sdk.export.efficientad.xs import train as xs_training
from edge_sdk.export.family import (
    CalibrationFeeds,
    DemoPictures,
    FloatGraph,
    PictureSet,
    Trained,
    TrainingPlan,
    TrainOptions,
)  # fmt: skip
from edge_sdk.export.training import checkpoint, loop
from edge_sdk.export.training.identity import digest
from edge_sdk.progress import Progress
from edge_sdk.runtimes.probe import default_threads


class Train(Protocol):
    def __call__(self, data: PictureSet, options: TrainOptions, *, folder: Path, progress: Progress) -> Trained:
        """Trains, or goes on from the checkpoint in `folder`."""


MOST_PX = 2048
"""Longest side of a training picture: beyond it, one step needs more memory than machines without a GPU have."""

Outlook: TypeAlias = tuple[loop.Plan, Mapping[str, str]]
"""How long a training lasts, and its identity (see `identify`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """How the models of one size are made: trained, and from a run folder merged into one graph. kind: of its file.

    outlook: how long a training lasts and what it is, raising what it would raise. side: px of a picture's width and
    height, unless the user says otherwise.
    """

    train: Train
    outlook: Callable[[PictureSet, TrainOptions], Outlook]
    graph: Callable[[Trained], FloatGraph]
    kind: str
    side: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EfficientAD:
    """Batzner et al. 2024: student, teacher and autoencoder (s, m), and a form for machines without a GPU (xs)."""

    xs: xs_model.XsConfig = field(default_factory=xs_model.XsConfig)
    pdn: pdn_training.PdnRecipe = pdn_training.PAPER

    @property
    def makers(self) -> Mapping[str, Maker]:
        """By size; a new size is one line more."""
        published = Maker(
            train=partial(pdn_training.train, recipe=self.pdn),
            outlook=partial(pdn_training.outlook, recipe=self.pdn),
            graph=pdn_training.graph,
            kind=pdn_model.FORMAT,
            side=self.pdn.side,
        )
        small = Maker(
            train=partial(xs_training.train, config=self.xs),
            outlook=partial(xs_training.outlook, config=self.xs),
            graph=xs_training.graph,
            kind=xs_model.FORMAT,
            side=self.xs.side,
        )
        return {"xs": small, "s": published, "m": published}

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
            side=256,
            steps=200,
        )

    def completed(self, options: TrainOptions) -> TrainOptions:
        """`options` with the size's own width and height where they were left open."""
        side = self._maker(options).side
        return replace(options, width=options.width or side, height=options.height or side)

    def planned(self, data: PictureSet, options: TrainOptions, *, folder: Path) -> TrainingPlan:
        """What `train` would do with the same arguments; whatever is wrong with them is raised here."""
        maker, options = self._maker(options), self.completed(options)
        if max(options.sides) > MOST_PX:
            raise BadUsage(
                f"pictures can't be scaled to {options.width} x {options.height} px: {MOST_PX} a side is the most",
                do=f"Leave --width and --height out to take {maker.side}",
            )
        foreign.identity_of(options.penalty)  # calibration draws from it too
        length, identity = maker.outlook(data, options)
        stored = checkpoint.read(folder, identity)
        at = None if stored is None else stored.position
        return TrainingPlan(
            run=digest(identity), steps=length.steps, time_budget_s=length.time_budget_s,
            kept_step=None if at is None else at.step, finished=at is not None and length.over(at),
        )  # fmt: skip

    def train(self, data: PictureSet, options: TrainOptions, *, folder: Path, progress: Progress) -> Trained:
        """Trains, or goes on from the checkpoint that `folder` holds for the same data and options."""
        train, options = self._maker(options).train, self.completed(options)
        with _computing(options.threads or default_threads()):
            try:
                return train(data, options, folder=folder, progress=progress)
            except KeyboardInterrupt as exc:  # outside the loop: while pictures are read or maps measured
                raise Stopped(
                    "stopped between steps of the training", where=str(folder), do="Give the same command again"
                ) from exc

    def graph(self, trained: Trained) -> FloatGraph:
        """The merged graph, exact against the training model."""
        return self._maker(trained.options).graph(trained)

    def calibration(self, data: PictureSet, trained: Trained, *, count: int) -> CalibrationFeeds:
        """Good training pictures, foreign pictures and synthetic damage, prepared: never test pictures."""
        record = saved.preprocessing_of(trained, kind=self._maker(trained.options).kind)
        return Feeds.of(data, trained, record, count=count)

    def _maker(self, options: TrainOptions) -> Maker:
        makers = self.makers
        if options.size not in makers:
            raise BadUsage(f"EfficientAD has no size {options.size!r}", do=f"Use one of {', '.join(makers)}")
        return makers[options.size]


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
