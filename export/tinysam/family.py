"""TinySAM as a family: promptable segmentation, trained on annotated pictures and drawn scenes. Knows no network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import ClassVar

from edge_sdk import tasks
from edge_sdk.errors import Stopped
from edge_sdk.export.family import Demo, Exported, Samples, Trained, TrainingPlan
from edge_sdk.export.pack import setup_of
from edge_sdk.export.tasks.segmentation.annotations import SegmentationData
from edge_sdk.export.tasks.segmentation.options import SegmentationOptions
from edge_sdk.export.tasks.segmentation.samples import PromptSamples
from edge_sdk.export.tinysam.calibration import FramePictures
from edge_sdk.export.tinysam.options import DEMO, TinySamOptions, options_of
from edge_sdk.export.tinysam.run_plan import RunPlan
from edge_sdk.export.tinysam.scenes.regions import LIBRARY
from edge_sdk.export.tinysam.scenes.sources import mixture, photographs_in
from edge_sdk.export.tinysam.strategies import strategy_of
from edge_sdk.export.training import checkpoint, launch
from edge_sdk.export.training.device import computing
from edge_sdk.export.training.identity import digest
from edge_sdk.extras import need
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes.probe import default_threads


@dataclass(frozen=True, slots=True, kw_only=True)
class TinySamPlan(TrainingPlan):
    """run_plan: for the training itself."""

    run_plan: RunPlan


@dataclass(frozen=True, kw_only=True)
class TinySAM:
    """Shu et al. 2023 (arXiv 2312.13789), and a small size of our own for cameras."""

    name: ClassVar[str] = "tinysam"
    title: ClassVar[str] = "TinySAM"
    task: ClassVar[str] = "segmentation"
    options: ClassVar[type[TinySamOptions]] = TinySamOptions

    @property
    def demo(self) -> Demo:
        return Demo(
            folder=resources.files("edge_sdk.export.tinysam").joinpath("demo"),
            name="Objects",
            licence=(
                'Pictures: tools from "Tools segmentation 2" by reshetnev-university-7yeg6, CC BY 4.0; grains from '
                "segmenteverygrain by Z. Sylvester and others, Apache-2.0; nuclei from the Data Science Bowl 2018 with "
                "the fixes of K. Lopuhin and others, CC0 1.0."
            ),
            changes=(
                "scaled or cut to at most 512 px, stored as JPEG, contrast of the nuclei stretched; masks stored as "
                "label maps; pebbles cut into tiles of 400 px, without the grains that the rim cuts"
            ),
            about=DEMO,
            options=TinySamOptions(as_is=True),
            task_options=SegmentationOptions(kind=r"test/([a-z]+)_"),
            trains=False,
            calibration_samples=24,
        )

    def plan(self, data: SegmentationData | None, options: TinySamOptions, *, folder: Path) -> TinySamPlan:
        """What `train` would do; whatever is wrong with its arguments is raised here."""
        if options.photographs is not None or (data is not None and data.train):
            need(LIBRARY, extra="export")  # frames are drawn in a process of their own: found out now, not there
        run_plan = strategy_of(options).plan(data, options)
        until = run_plan.until
        stored = None if until is None else checkpoint.read(folder, run_plan.identity)
        at = None if stored is None else stored.position
        return TinySamPlan(
            run_plan=run_plan, run=digest(run_plan.identity), steps=None if until is None else until.steps,
            time_budget_s=None if until is None else until.time_budget_s, kept_step=None if at is None else at.step,
            finished=until is None or (at is not None and until.over(at)), trains=until is not None,
            processes=run_plan.processes, after=run_plan.after,
            rows=(("network", f"{self.title} {run_plan.network}"), *run_plan.rows, ("device", run_plan.device)),
            facts={"network": run_plan.network, "side": options.side, "device": run_plan.device, **run_plan.facts},
        )  # fmt: skip

    def train(
        self, data: SegmentationData | None, options: TinySamOptions, *, planned: TrainingPlan | None = None,
        folder: Path, progress: Progress,
    ) -> Trained:  # fmt: skip
        """Train, or resume from the checkpoint that `folder` holds for the same data and options; or take the weights
        as they are."""
        if not isinstance(planned, TinySamPlan):
            planned = self.plan(data, options, folder=folder)
        threads = options.threads or max(1, default_threads() // launch.found().local)
        with computing(threads):
            try:
                return strategy_of(options).train(
                    data, options, folder=folder, progress=progress, run_plan=planned.run_plan
                )
            except KeyboardInterrupt as exc:  # outside the loop: while pictures are read
                raise Stopped(
                    "stopped between steps of the training", where=str(folder), hint="Give the same command again"
                ) from exc

    def graphs(self, trained: Trained) -> Exported:
        """Encoder, decoder and refiner, exact against the network."""
        return strategy_of(options_of(trained)).graphs(trained)

    def samples(
        self, data: SegmentationData | None, trained: Trained, exported: Exported, count: int
    ) -> Callable[[str], Samples]:
        """Frames of annotated pictures, drawn scenes and photographs, as in training: never test pictures. Decoder and
        refiner get what the float graphs before them answer."""
        assert exported.preprocessing is not None
        options, side = options_of(trained), exported.preprocessing.width
        made = mixture(data, photographs_in(options.photographs), side=side, seed=options.seed, progress=silent)
        return PromptSamples(
            pictures=FramePictures(made, count, options.seed), exported=exported, count=count,
            setup=setup_of(exported, tasks.task(self.task), family=self.name, where=self.name),
        ).of  # fmt: skip
