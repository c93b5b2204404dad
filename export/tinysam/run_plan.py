"""How long a training lasts, what identifies it, and what a plan shows of it. Knows no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_sdk.export.tasks.segmentation.annotations import SegmentationData
from edge_sdk.export.tinysam.options import OF_CALIBRATION, OF_DISTILLATION, TinySamOptions
from edge_sdk.export.training import loop
from edge_sdk.export.training.identity import identify


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """until: None = nothing is trained, the weights are exported as they are. identity: what checkpoints share.

    network, device: in words. processes: that train it. after: steps between training and quantization, in words. rows,
    facts: what else a plan shows to people, and in JSON.
    """

    until: loop.LoopPlan | None
    identity: Mapping[str, str]
    network: str
    device: str = "cpu"
    processes: int = 1
    after: tuple[str, ...] = ()
    rows: tuple[tuple[str, str], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def wants_training(data: SegmentationData | None, options: TinySamOptions) -> bool:
    """Whether anything is asked for that only a training gives."""
    if options.as_is:
        return False
    return data is not None or options.steps is not None or options.time_budget_s is not None


def training_identity(options: TinySamOptions, recipe: object = None, *, code: str, **made_of: str) -> dict[str, str]:
    """`identify` without the options of the calibration."""
    found = identify(options, recipe, code=code, **made_of)
    return {name: text for name, text in found.items() if name not in OF_CALIBRATION}


def teacherless_identity(
    options: TinySamOptions, recipe: object = None, *, code: str, **made_of: str
) -> dict[str, str]:
    """`training_identity` of a training without a teacher: the options of a distillation are no part of it."""
    found = training_identity(options, recipe, code=code, **made_of)
    return {name: text for name, text in found.items() if name not in OF_DISTILLATION}
