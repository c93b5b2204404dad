"""A search for ranges from outside is one more candidate: measured, kept where nearest, passed over where it fails."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pytest
from calibration_nets import TAIL, Feeds, mobile, pictures
from onnx import ModelProto

from edge_sdk.calibration import Quantized, QuantizeOptions, quantize
from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.calibration.range_search import RangeSearch
from edge_sdk.calibration.statistics.observe import TensorStatistics
from edge_sdk.calibration.statistics.ranges import stated
from edge_sdk.calibration.trials import Trials
from edge_sdk.errors import BadInput, BadUsage, CheckFailed, EdgeError
from edge_sdk.progress import Progress


@dataclass(frozen=True, eq=False)
class Shares:
    """Every int8 input keeps `share` of what was seen there. error: what it fails with."""

    share: float
    label: str = "shares"
    error: EdgeError | None = None
    calls: list[str] = field(default_factory=list)

    def tops(
        self, model: ModelProto, made: Int8Graph, samples: Iterable[Feeds], progress: Progress
    ) -> Mapping[str, float]:
        self.calls.append(made.variant)
        assert {one.name for one in model.graph.input} == set(next(iter(samples)))
        if self.error is not None:
            raise self.error
        points = made.planned.plan.points
        return {name: self.share * made.ranges[name].top for name, one in points.items() if one.role == "inner"}


@dataclass(frozen=True, eq=False)
class Given:
    """Ranges that are known."""

    known: Mapping[str, float]
    label: str = "given"

    def tops(
        self, model: ModelProto, made: Int8Graph, samples: Iterable[Feeds], progress: Progress
    ) -> Mapping[str, float]:
        return self.known


def made(search: RangeSearch | None, method: str = "minmax", *variants: str) -> Quantized:
    options = QuantizeOptions(
        variants=variants or ("int8",), keep_fp32=TAIL, trials=Trials(range_methods=(method,)), threads=1, force=True,
        range_search=search,
    )  # fmt: skip
    return quantize(mobile().SerializeToString(), pictures(4), options=options)


def test_ranges_from_outside_make_the_graph_that_a_range_method_makes_of_them() -> None:
    """mse is nearer to this float graph than minmax; its ranges come back as if another had found them."""
    wanted = made(None, "mse")
    rows = {row.tensor: row for row in wanted.report.tensors}
    found = made(Given({name: row.top for name, row in rows.items() if row.role != "exact-picture" and row.top > 0.0}))
    assert [(one.ranges, one.kept) for one in found.report.attempts] == [("minmax", False), ("given", True)]
    assert found.get("int8").graph == wanted.get("int8").graph
    assert {row.tensor: row for row in found.report.tensors} == rows
    assert any(row.cut > 0.0 for row in found.report.tensors)


@pytest.mark.parametrize("share", [1.0, 0.02])
def test_the_nearest_to_the_float_graph_is_kept_whoever_chose_it(share: float) -> None:
    """1 makes the same graph as minmax, which comes first; 0.02 cuts nearly all."""
    search = Shares(share)
    report = made(search, "minmax", "int8", "int8-w7").report
    for variant in ("int8", "int8-w7"):
        first, second = (one for one in report.attempts if one.variant == variant)
        assert (first.ranges, first.kept, second.ranges, second.kept) == ("minmax", True, "shares", False)
        assert (second.errors["map"] - first.errors["map"] > 0.1) == (share < 1.0)
        assert report.errors[variant]["map"] == pytest.approx(first.errors["map"])
    assert search.calls == ["int8"]  # the other variant takes its ranges over


def test_a_search_that_fails_is_passed_over_aloud(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = made(Shares(1.0, error=CheckFailed("no gradient", where="layer 3")))
    said = {one.ranges: (one.why, one.kept) for one in found.report.attempts}
    assert said == {"shares": ("layer 3: no gradient", False), "minmax": ("", True)}
    assert "int8: the range search shares failed and is passed over: layer 3: no gradient" in caplog.text


def test_what_is_no_range_is_no_candidate() -> None:
    (failed,) = (one for one in made(Shares(float("nan"))).report.attempts if one.ranges == "shares")
    assert "a range keeps magnitudes up to a number above 0, not nan" in failed.why
    assert not failed.kept


@pytest.mark.parametrize("top", [0.0, -1.0, float("inf")])
def test_a_range_keeps_something(top: float) -> None:
    with pytest.raises(BadInput, match="x: a range keeps magnitudes up to a number above 0"):
        stated(TensorStatistics(tensor="x", low=-1.0, high=1.0, count=4, samples=1), top)


@pytest.mark.parametrize("label", ["mse", ""])
def test_a_search_has_a_name_of_its_own(label: str) -> None:
    with pytest.raises(BadUsage, match="a range search has a name of its own"):
        QuantizeOptions(range_search=Shares(1.0, label))
