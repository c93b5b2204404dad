"""What calibration is asked for. Knows no graph and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from edge_sdk.calibration.plan import FirstConv
from edge_sdk.calibration.range_search import RangeSearch
from edge_sdk.calibration.trials import ONE, RANGE_METHODS, Trials, some_of
from edge_sdk.errors import BadUsage
from edge_sdk.runtimes.variants import KINDS, MADE_BY_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeOptions:
    """What to make of a float graph. The defaults of what is tried stand in `trials`, those of a bound in `bound`.

    variants: of "int8", "int8-w7" (weights in [-64, 64] where 16-bit sums could saturate), "fp16", "fp32" (cleaned).
    An int8 variant of a graph in which no operator became int8 is not made, and a note of the report says so.
    keep_fp32: nodes that stay float32 in every variant. exclude: nodes that stay float in the int8 variants.
    output_margin: widening (>= 1) of the ranges that float operators read, so that what goes beyond the samples (a
    defect) is not cut; None = 1.5 where keep_fp32 names such operators, else 1. first_conv: of `plan.plan`. trials: of
    engines and ranges. bias_correction: take what rounded weights add on average off the bias. output_correction: nodes
    kept in fp32 whose output's mean and spread the int8 variants get back by one gain and one shift each. axes: the
    largest size of each free axis that the graph will run with; of one that is not named, its size in the first sample.
    threads: of ONNX Runtime while calibrating, None = its own choice. force: hand out an int8 graph that is far from
    the float graph, with a note, instead of raising CheckFailed. range_search: ranges that come from outside, one more
    candidate; None = there are none.
    """

    variants: tuple[str, ...] = MADE_BY_DEFAULT
    keep_fp32: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    output_margin: float | None = None
    first_conv: FirstConv = "auto"
    trials: Trials = ONE
    bias_correction: bool = True
    output_correction: tuple[str, ...] = ()
    axes: Mapping[str, int] = field(default_factory=dict, hash=False)
    threads: int | None = None
    force: bool = False
    range_search: RangeSearch | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        some_of("variant", self.variants, tuple(KINDS))
        if not (np.isfinite(self.margin) and self.margin >= 1.0):
            raise BadUsage(f"output_margin is a widening, at least 1, not {self.output_margin}")
        if self.range_search is not None and self.range_search.label in (*RANGE_METHODS, ""):
            raise BadUsage(f"a range search has a name of its own, not {self.range_search.label!r}")
        if self.first_conv not in get_args(FirstConv):
            raise BadUsage(f"first_conv is one of {get_args(FirstConv)}, not {self.first_conv!r}")

    @property
    def margin(self) -> float:
        """`output_margin`, decided."""
        return self.output_margin if self.output_margin is not None else (1.5 if self.keep_fp32 else 1.0)

    @property
    def int8_variants(self) -> tuple[str, ...]:
        """The int8 ones of `variants`, each once, in their order."""
        return tuple(dict.fromkeys(name for name in self.variants if KINDS[name].weight_limit))
