"""The smallest family, and a folder of its parts: its graph answers to sharp edges, its training is scoring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import tiny

from edge_sdk import preprocess
from edge_sdk.export.anomaly.data import AnomalyData, AnomalyTrained
from edge_sdk.export.family import Demo, Exported, FamilyOptions, TrainingPlan
from edge_sdk.export.option import option
from edge_sdk.export.tasks.anomaly.options import AnomalyOptions
from edge_sdk.export.tasks.anomaly.pictures import read_pictures
from edge_sdk.export.tasks.anomaly.shares import divided
from edge_sdk.progress import Progress


@dataclass(frozen=True, kw_only=True)
class EdgesOptions(FamilyOptions):
    """One size."""

    size: str = option("tiny", help="The only one.")


class Edges:
    """Needs no training: the last 20 good pictures are held out, fewer if there are fewer."""

    name, title, task, options = "edges", "Edges", "anomaly", EdgesOptions
    run: ClassVar[str] = "edges"

    def __init__(self, pictures: Path = Path(), *, history: bool = True) -> None:
        self.demo = Demo(
            folder=pictures, name="Grey <&> plates", licence="Drawn by a test.", options=EdgesOptions(),
            task_options=AnomalyOptions(holdout=0.5, rate="10%"),
        )  # fmt: skip
        self._history = history

    def plan(self, data: AnomalyData, options: FamilyOptions, *, folder: Path) -> TrainingPlan:
        return TrainingPlan(run=self.run, steps=50)

    def train(
        self, data: AnomalyData, options: FamilyOptions, *, planned: TrainingPlan | None = None, folder: Path,
        progress: Progress,
    ) -> AnomalyTrained:  # fmt: skip
        held_out = data.train[-20:]
        pictures = [preprocess.read_rgb8(p.path, bit_depth=None) for p in held_out]
        return AnomalyTrained(
            folder=folder, options=options, held_out=held_out, scores=tuple(tiny.scores(tiny.graph(), pictures)),
            scored_by="onnxruntime", run=self.run, steps=50, training_s=1.0, samples=4,
            history=((0, {"loss": 2.0}), (50, {"loss": 1.0})) if self._history else (),
        )  # fmt: skip

    def graphs(self, trained: AnomalyTrained) -> Exported:
        return tiny.graph()

    def samples(
        self, data: AnomalyData, trained: AnomalyTrained, exported: Exported, count: int
    ) -> Callable[[str], tiny.Feeds]:
        return lambda role: tiny.Feeds(exported)


def read(folder: Path, *, group: str | None = None) -> AnomalyData:
    """The pictures of `folder`, divided as by default."""
    return divided(read_pictures(folder, group=group), holdout=0.2, quantiles=0.1, seed=0)


def folder_of_plates(folder: Path, *, masks: bool = False) -> Path:
    """24 good pictures to train on; 6 good and 6 damaged ones to test on. Two pictures each show one part: "p<n>_"."""
    for kind, count, damaged in (("train/good", 24, False), ("test/good", 6, False), ("test/square <&>", 6, True)):
        (folder / kind).mkdir(parents=True)
        for i in range(count):
            rgb = tiny.picture(300 + i + (100 if "test" in kind else 0), damaged=damaged)
            write(folder / kind / f"p{i // 2}_{i:02d}.png", rgb)
    if masks:
        (folder / "ground_truth/square <&>").mkdir(parents=True)
        mask = np.zeros((90, 120, 3), np.uint8)
        mask[30:46, 60:76] = 255
        for i in range(6):
            write(folder / "ground_truth/square <&>" / f"p{i // 2}_{i:02d}_mask.png", mask)
    return folder


def write(path: Path, rgb: np.ndarray) -> None:
    """A PNG of an RGB picture."""
    path.write_bytes(cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes())
