"""A search for ranges starts at the candidate that is nearest to the float graph, whichever was tried first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
from calibration_nets import TAIL, Feeds, mobile, pictures
from onnx import ModelProto

from edge_sdk.calibration import QuantizeOptions
from edge_sdk.calibration.candidates import best
from edge_sdk.calibration.engines.portable import Portable
from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.calibration.prepare import Prepared, prepare
from edge_sdk.calibration.source import Source
from edge_sdk.calibration.trials import Trials
from edge_sdk.errors import CheckFailed
from edge_sdk.progress import Progress


@dataclass(frozen=True)
class Wide(Portable):
    """The portable engine with ranges that are `wider` than asked for: its int8 is as much coarser."""

    name: str
    wider: float = 1.0

    def source(self, prepared: Prepared, mode: str, variant: str, exclude: Sequence[str]) -> Source | None:
        found = super().source(prepared, mode, variant, exclude)
        return None if found is None else replace(found, margin=self.wider * found.margin)


@dataclass(frozen=True, eq=False)
class Seen:
    """Every int8 input keeps what was seen there. fails: raises instead."""

    fails: bool
    label: str = "seen"

    def tops(
        self, model: ModelProto, made: Int8Graph, samples: Iterable[Feeds], progress: Progress
    ) -> Mapping[str, float]:
        if self.fails:
            raise CheckFailed("no gradient")
        return {name: one.top for name, one in made.ranges.items() if one.top > 0.0}


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("nearest", ["portable", "nncf"])
def test_a_search_starts_at_the_nearest_candidate(nearest: str, fails: bool) -> None:
    options = QuantizeOptions(
        variants=("int8",), keep_fp32=TAIL, trials=Trials(engines=("portable", "nncf"), range_methods=("minmax",)),
        threads=1, force=True, range_search=Seen(fails),
    )  # fmt: skip
    engines = {name: Wide(name, 1.0 if name == nearest else 16.0) for name in ("portable", "nncf")}
    attempts = best(prepare(mobile().SerializeToString(), pictures(4), options), (), engines=engines).attempts
    tried = {one.engine: one.errors["map"] for one in attempts if one.ranges == "minmax"}
    assert min(tried, key=lambda name: tried[name]) == nearest
    (searched,) = (one for one in attempts if one.ranges == "seen")
    assert (searched.engine, bool(searched.why)) == (nearest, fails)
