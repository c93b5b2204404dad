"""How a model of the family is made: a strategy for each kind of training, with the same steps. Knows no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from edge_sdk.export import tensors_file
from edge_sdk.export.family import Exported, Trained
from edge_sdk.export.tasks.segmentation.annotations import SegmentationData
from edge_sdk.export.tinysam import sam_like
from edge_sdk.export.tinysam.distill import fit as distilled
from edge_sdk.export.tinysam.options import TinySamOptions
from edge_sdk.export.tinysam.run_plan import RunPlan
from edge_sdk.export.tinysam.small import fit as small
from edge_sdk.export.tinysam.small.model import FORMAT as SMALL
from edge_sdk.progress import Progress


class Strategy(Protocol):
    """The steps of one kind of training; a module has them as functions."""

    @property
    def plan(self) -> Callable[[SegmentationData | None, TinySamOptions], RunPlan]:
        """What `train` would do; raises for whatever is wrong with data and options."""

    def train(
        self, data: SegmentationData | None, options: TinySamOptions, *, folder: Path, progress: Progress,
        run_plan: RunPlan,
    ) -> Trained:  # fmt: skip
        """Train or resume, and keep the model in `folder`."""

    def graphs(self, trained: Trained) -> Exported:
        """Encoder, decoder and refiner of the model in the run folder."""


STRATEGIES: Mapping[str, Strategy] = MappingProxyType({"small": small, "distilled": distilled, "as it is": sam_like})
"""small: the small size, trained or as it is. distilled: a SAM-like student of a teacher. as it is: a SAM-like
network that was trained elsewhere."""


def strategy_of(options: TinySamOptions) -> Strategy:
    """The strategy that the options ask for."""
    if options.teacher is not None:
        return STRATEGIES["distilled"]
    is_small = options.weights is None or tensors_file.kind_of(options.weights) == SMALL
    return STRATEGIES["small" if is_small else "as it is"]
