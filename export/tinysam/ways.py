"""How a model of the family is made: one way for each kind of training, all with the same steps. Knows no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from edge_sdk.export import tensors_file
from edge_sdk.export.family import Exported, Trained
from edge_sdk.export.tasks.segmentation.annotations import SegmentationData
from edge_sdk.export.tinysam import whole
from edge_sdk.export.tinysam.distill import fit as distilled
from edge_sdk.export.tinysam.length import Length
from edge_sdk.export.tinysam.options import TinySamOptions
from edge_sdk.export.tinysam.small import fit as small
from edge_sdk.export.tinysam.small.model import FORMAT as SMALL
from edge_sdk.progress import Progress


class Way(Protocol):
    """The steps of one kind of training; a module has them as functions."""

    @property
    def plan(self) -> Callable[[SegmentationData | None, TinySamOptions], Length]:
        """What `train` would do; raises for whatever is wrong with data and options."""

    def train(
        self, data: SegmentationData | None, options: TinySamOptions, *, folder: Path, progress: Progress,
        length: Length,
    ) -> Trained:  # fmt: skip
        """Train or resume, and keep the model in `folder`."""

    def graphs(self, trained: Trained) -> Exported:
        """Encoder, decoder and refiner of the model in the run folder."""


WAYS: Mapping[str, Way] = MappingProxyType({"small": small, "distilled": distilled, "whole": whole})
"""small: the small size, trained or as it is. distilled: a SAM-like student of a teacher. whole: a SAM-like network as
it is."""


def way_of(options: TinySamOptions) -> Way:
    """The way that the options ask for."""
    if options.teacher is not None:
        return WAYS["distilled"]
    is_small = options.weights is None or tensors_file.kind_of(options.weights) == SMALL
    return WAYS["small" if is_small else "whole"]
