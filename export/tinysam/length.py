"""How long a training lasts, and what identifies it. Knows no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_sdk.export.tasks.segmentation.annotations import SegmentationData
from edge_sdk.export.tinysam.options import TinySamOptions
from edge_sdk.export.training import loop


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """until: None = nothing is trained, the weights are exported as they are. identity: what checkpoints share."""

    until: loop.LoopPlan | None
    identity: Mapping[str, str]


def wants_training(data: SegmentationData | None, options: TinySamOptions) -> bool:
    """Whether anything is asked for that only a training gives."""
    if options.as_is:
        return False
    return data is not None or options.steps is not None or options.time_budget_s is not None
