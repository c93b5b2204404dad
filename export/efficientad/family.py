"""EfficientAD as a family: each named step is passed on to the size that was asked for. Knows no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from edge_sdk.errors import BadUsage, Stopped
from edge_sdk.export.anomaly import foreign
from edge_sdk.export.anomaly.data import AnomalyData, AnomalyTrained
from edge_sdk.export.anomaly.samples import AnomalySamples
from edge_sdk.export.efficientad import INPUT
from edge_sdk.export.efficientad.options import DEMO, EfficientAdOptions
from edge_sdk.export.efficientad.pdn import train as pdn_training
from edge_sdk.export.efficientad.saved import EfficientAdTrained
from edge_sdk.export.efficientad.xs import model as xs_model
from edge_sdk.export.efficientad.xs import train as xs_training
from edge_sdk.export.family import Demo, Exported, TrainingPlan
from edge_sdk.export.tasks.anomaly.options import AnomalyOptions
from edge_sdk.export.training import checkpoint, device, loop
from edge_sdk.export.training.identity import digest
from edge_sdk.progress import Progress
from edge_sdk.runtimes.probe import default_threads

Frozen: TypeAlias = Any
"""The pretrained network that a size learns from: the trunk or the teacher."""
Length: TypeAlias = tuple[loop.LoopPlan, Mapping[str, str]]
"""How long a training lasts, and its identity (see `identify`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EfficientAdPlan(TrainingPlan):
    """length: for the training itself. The identity in it holds digests of all pictures and weights."""

    length: Length


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """How the models of one size are made: trained, and from a run folder merged into one graph.

    frozen: loads the pretrained network, which `plan` and `train` are given. plan: how long a training lasts and what
    it is, raising what it would raise.
    """

    frozen: Callable[[EfficientAdOptions], Frozen]
    plan: Callable[[AnomalyData, EfficientAdOptions, Frozen], Length]
    train: Callable[[AnomalyData, EfficientAdOptions, Path, Progress, Frozen, Length], EfficientAdTrained]
    graphs: Callable[[EfficientAdTrained], Exported]


@dataclass(frozen=True, kw_only=True)
class EfficientAD:
    """Batzner et al. 2024: student, teacher and autoencoder (s, m), and a form for machines without a GPU (xs)."""

    name: ClassVar[str] = "efficientad"
    title: ClassVar[str] = "EfficientAD"
    task: ClassVar[str] = "anomaly"
    options: ClassVar[type[EfficientAdOptions]] = EfficientAdOptions

    xs: xs_model.XsConfig = field(default_factory=xs_model.XsConfig)
    pdn: pdn_training.PdnRecipe = pdn_training.PAPER
    _frozen: dict[tuple[str, Path | None], Frozen] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def makers(self) -> Mapping[str, Maker]:
        """By size; a new size is one line more."""
        published = Maker(
            frozen=pdn_training.teacher_of,
            plan=lambda data, options, frozen: pdn_training.plan(data, options, recipe=self.pdn, teacher=frozen),
            train=lambda data, options, folder, progress, frozen, length: pdn_training.train(
                data, options, folder=folder, progress=progress, recipe=self.pdn, teacher=frozen, length=length
            ),
            graphs=pdn_training.graphs,
        )
        small = Maker(
            frozen=lambda options: xs_training.trunk_of(options, self.xs),
            plan=lambda data, options, frozen: xs_training.plan(data, options, config=self.xs, trunk=frozen),
            train=lambda data, options, folder, progress, frozen, length: xs_training.train(
                data, options, folder=folder, progress=progress, config=self.xs, trunk=frozen, length=length
            ),
            graphs=xs_training.graphs,
        )
        return {"xs": small, "s": published, "m": published}

    @property
    def demo(self) -> Demo:
        return Demo(
            folder=resources.files("edge_sdk.export.efficientad").joinpath("aliens"),
            name="Toy aliens",
            licence=(
                "Pictures: toy aliens from aws-samples/amazon-lookout-for-vision, Copyright Amazon.com, Inc. or its "
                "affiliates, CC BY-SA 4.0."
            ),
            changes=(
                "split into training and test pictures (every third normal picture, by number, is a test picture), "
                "scaled from 550 x 380 to 275 x 190 by area averaging, stored as JPEG of quality 90"
            ),
            about=DEMO,
            options=EfficientAdOptions(width=256, height=256, steps=175),  # enough to show what it can
            task_options=AnomalyOptions(holdout=0.27, rate="10%"),  # which so few pictures support
        )

    def plan(self, data: AnomalyData, options: EfficientAdOptions, *, folder: Path) -> EfficientAdPlan:
        """What `train` would do with the same arguments; whatever is wrong with them is raised here."""
        maker, (width, height) = self._maker(options), options.sides
        compute = device.chosen(options.device)
        foreign.identity_of(options.ood)  # calibration draws from it too
        length, identity = maker.plan(data, options, self._loaded(options))
        stored = checkpoint.read(folder, identity)
        at = None if stored is None else stored.position
        return EfficientAdPlan(
            length=(length, identity), run=digest(identity), steps=length.steps, time_budget_s=length.time_budget_s,
            kept_step=None if at is None else at.step, finished=at is not None and length.over(at),
            rows=(
                ("network", f"{self.title} {options.size}, pictures scaled to {width} x {height} px"),
                ("device", compute.name),
            ),
            facts={"size": options.size, "width": width, "height": height, "device": compute.name},
        )  # fmt: skip

    def train(
        self, data: AnomalyData, options: EfficientAdOptions, *, planned: TrainingPlan | None = None, folder: Path,
        progress: Progress,
    ) -> EfficientAdTrained:  # fmt: skip
        """Train, or resume from the checkpoint that `folder` holds for the same data and options. planned: None = it
        is planned here."""
        maker = self._maker(options)
        if not isinstance(planned, EfficientAdPlan):
            planned = self.plan(data, options, folder=folder)
        with device.computing(options.threads or default_threads()):
            try:
                return maker.train(data, options, folder, progress, self._loaded(options), planned.length)
            except KeyboardInterrupt as exc:  # outside the loop: while pictures are read or maps measured
                raise Stopped(
                    "stopped between steps of the training", where=str(folder), hint="Give the same command again"
                ) from exc

    def graphs(self, trained: AnomalyTrained) -> Exported:
        """The merged graph, exact against the training model."""
        own = _own(trained)
        return self._maker(own.options).graphs(own)

    def samples(
        self, data: AnomalyData, trained: AnomalyTrained, exported: Exported, count: int
    ) -> Callable[[str], AnomalySamples]:
        """Good training pictures, foreign pictures and synthetic damage, prepared: never test pictures."""
        own = _own(trained)
        made = AnomalySamples.of(data, own, own.preprocessing, input=INPUT, count=count, ood=own.options.ood)
        return lambda role: made

    def _maker(self, options: EfficientAdOptions) -> Maker:
        _ = options.own_size  # BadUsage for an unknown size
        return self.makers[options.size]

    def _loaded(self, options: EfficientAdOptions) -> Frozen:
        """The pretrained network: `plan` and `train` read its file once, and learn from what they looked at."""
        key = (options.size, options.teacher)
        if key not in self._frozen:
            self._frozen[key] = self._maker(options).frozen(options)
        return self._frozen[key]


def _own(trained: AnomalyTrained) -> EfficientAdTrained:
    if not isinstance(trained, EfficientAdTrained):
        raise BadUsage(f"this model was not trained by {EfficientAD.title}", where=str(trained.folder))
    return trained
