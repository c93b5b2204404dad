"""An accuracy bound is met with few float operators, or refused with the best that was found."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from calibration_nets import Builder, Feeds, pictures
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto

from edge_sdk.calibration import Quantized, QuantizeOptions, quantize
from edge_sdk.calibration.bound.accuracy import AccuracyBound, Answer, Drop, drop, metric
from edge_sdk.calibration.bound.check import BoundCheck
from edge_sdk.calibration.bound.check import within as within_bound
from edge_sdk.calibration.bound.search import front, search
from edge_sdk.calibration.candidates import best
from edge_sdk.calibration.comparison import fidelity
from edge_sdk.calibration.engines import ENGINES
from edge_sdk.calibration.engines.nncf import Nncf
from edge_sdk.calibration.prepare import prepare
from edge_sdk.calibration.report import Point, Search
from edge_sdk.calibration.trials import Trials
from edge_sdk.errors import BadInput, BadUsage, BoundNotMet, CheckFailed
from edge_sdk.progress import Progress, silent

INT8 = QuantizeOptions(variants=("int8-w7",), first_conv="int8", threads=1, force=False)
SICK = ("widens", "narrows")


def sick(width: int = 8) -> ModelProto:
    """Five convolutions; between two of them one channel is 3000 times as large as the others, and counts no more."""
    b = Builder(np.random.default_rng(0))
    rng = np.random.default_rng(1)
    large = np.ones(width, np.float32)
    large[0] = 3000.0

    def conv(x: str, weight: Any, name: str) -> str:
        return b.op("Conv", x, b.constant(weight.astype(np.float32)), name=name, kernel_shape=[3, 3], pads=[1] * 4)

    def weight(before: int) -> Any:
        return rng.standard_normal((width, before, 3, 3)) * np.sqrt(2 / before / 9)

    x = b.relu(conv(b.op("Mul", b.picture(), b.constant(np.float32(0.01))), weight(3), "first"))
    x = b.relu(conv(x, weight(width), "second"))
    x = b.relu(conv(x, weight(width) * large[:, None, None, None], "widens"))
    x = b.relu(conv(x, weight(width) / large[None, :, None, None], "narrows"))
    return b.model({"out": conv(x, weight(width), "last")}, size=16)


def samples(count: int = 6) -> list[Feeds]:
    return pictures(count, size=16)


def within(bound: AccuracyBound, options: QuantizeOptions = INT8) -> Quantized:
    return quantize(sick().SerializeToString(), samples(), options=options, bound=bound)


def nearness(answer: Answer) -> float:
    """1 less the relative difference from what the float graph answered on pictures of its own."""
    return 1.0 - _distance(answer)


def _distance(answer: Answer) -> float:
    import onnxruntime as ort

    real = ort.InferenceSession(sick().SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = pictures(3, size=16, seed=7)
    wanted, got = ([run(one) for one in feeds] for run in (lambda f: real.run(None, f)[0], lambda f: answer(f)["out"]))
    gap = sum(float(((w - g) ** 2).sum()) for w, g in zip(wanted, got, strict=True))
    return float(np.sqrt(gap / sum(float((w**2).sum()) for w in wanted)))


def test_the_net_of_these_tests_fails_without_a_bound() -> None:
    found = quantize(sick().SerializeToString(), samples(), options=QuantizeOptions(
        variants=("int8-w7",), first_conv="int8", threads=1, force=True)).report  # fmt: skip
    assert found.errors["int8-w7"]["out"] > 0.2
    assert found.searches == ()


def usual(search_s: float, **options: bool) -> Quantized:
    trials = Trials(within=0.1, search_s=search_s)
    asked = QuantizeOptions(variants=("int8-w7",), first_conv="int8", threads=1, trials=trials, **options)
    return quantize(sick().SerializeToString(), samples(), options=asked)


def test_without_a_bound_of_the_users_own_what_is_far_is_brought_near() -> None:
    report = usual(60.0).report
    (found,) = report.searches
    assert found.met
    assert report.errors["int8-w7"]["out"] <= 0.1
    assert [name for revert in found.reverts for name in revert.nodes if name not in SICK] == []


def test_what_the_time_did_not_bring_near_is_refused_unless_forced() -> None:
    with pytest.raises(CheckFailed, match="differs from the float graph"):
        usual(1e-9)
    assert usual(1e-9, force=True).report.searches == ()


def test_only_the_operators_that_break_the_bound_become_float() -> None:
    made = within(AccuracyBound(drop=drop("5%")))
    found = made.report.searches[0]
    assert found.met
    assert sorted(found.best.float_nodes) == sorted(SICK)
    assert made.get("int8-w7").int8_planned == 3
    assert made.report.errors["int8-w7"]["out"] <= 0.05
    assert set(SICK) <= set(made.report.left_float)


@pytest.mark.parametrize("metric", [None, lambda answer: 1.0])
def test_a_search_runs_each_graph_that_it_tries_once(monkeypatch: pytest.MonkeyPatch, metric: Any) -> None:
    prepared = prepare(sick().SerializeToString(), samples(), INT8)
    start = best(prepared, ()).candidates["int8-w7"][0]
    ran: list[bytes] = []

    def counting(model: ModelProto, *rest: Any) -> Any:
        ran.append(model.SerializeToString(deterministic=True))
        return real(model, *rest)

    real = fidelity.outputs
    monkeypatch.setattr(fidelity, "outputs", counting)
    bound = AccuracyBound(drop=drop("1%"), metric=metric, name="one")
    value = BoundCheck(prepared=prepared, bound=bound, real=1.0).of_graphs
    search(prepared, start, bound, real=1.0, value=value, until=time.monotonic() + 60.0, known={("none",): 0.0})
    assert ran
    assert len(ran) == len(set(ran))


def test_what_each_float_operator_bought_is_reported() -> None:
    found = within(AccuracyBound(drop=drop("5%"))).report.searches[0]
    assert sorted(name for row in found.reverts for name in row.nodes) == sorted(SICK)
    assert found.reverts[0].before > 0.2
    assert found.reverts[-1].after == pytest.approx(found.best.error)
    assert all(row.alone is not None for row in found.reverts)


def test_each_runtime_here_keeps_the_bound() -> None:
    found = within(AccuracyBound(drop=drop("5%"))).report.searches[0]
    assert found.values
    assert all(value <= 0.05 for value in found.values.values())


def test_the_points_of_the_table_trade_int8_operators_for_nearness() -> None:
    points = within(AccuracyBound(drop=drop("5%"))).report.searches[0].points
    assert len(points) >= 2
    counts, errors = [one.int8_operators for one in points], [one.value for one in points]
    assert counts == sorted(counts, reverse=True)
    assert errors == sorted(errors, reverse=True)
    assert all(set(one.speed) and all(ratio > 0 for ratio in one.speed.values()) for one in points)


def test_a_metric_of_the_users_own_decides() -> None:
    made = within(AccuracyBound(drop=drop("5pp"), metric=nearness, name="nearness"))
    found = made.report.searches[0]
    assert found.real == pytest.approx(1.0, abs=1e-5)
    assert found.met
    assert all(value >= found.real - 0.05 for value in found.values.values())
    assert 0 < found.best.int8_operators < 5


def test_without_need_no_operator_becomes_float() -> None:
    made = within(AccuracyBound(drop=drop("3"), metric=nearness, name="nearness"))
    assert made.report.searches[0].best.float_nodes == ()
    assert made.get("int8-w7").int8_planned == 5
    assert any("differs from the float graph" in note for note in made.report.notes)  # said, though the metric bears it


def test_a_bound_that_no_int8_graph_meets_is_refused_with_the_best_found() -> None:
    with pytest.raises(BoundNotMet, match=r"no int8 graph within a difference of 0\.0001 %") as raised:
        within(AccuracyBound(drop=drop("0.0001%")))
    assert re.search(r"the nearest has \d operators? in int8 and a difference of \d", str(raised.value))
    assert raised.value.exit_code == 1


def test_forced_the_best_that_was_found_is_handed_out_and_named() -> None:
    options = QuantizeOptions(variants=("int8-w7",), first_conv="int8", threads=1, force=True)
    made = within(AccuracyBound(drop=drop("0.0001%")), options)
    assert not made.report.searches[0].met
    assert any("no int8 graph within" in note for note in made.report.notes)
    assert made.get("int8-w7").int8_planned >= 1


def test_a_search_without_time_says_so() -> None:
    with pytest.raises(BoundNotMet, match="until the time was up"):
        within(AccuracyBound(drop=drop("0.1%"), search_s=0.0))


def batched(answer: Answer) -> float:
    """Three pictures in one call of a graph that takes one."""
    feeds = pictures(3, size=16, seed=7)
    together = answer({"image": np.concatenate([one["image"] for one in feeds])})["out"]
    apart = np.concatenate([answer(one)["out"] for one in feeds])
    assert together.shape == apart.shape
    return 1.0 if np.array_equal(together, apart) else 0.0


def test_a_metric_may_feed_a_batch() -> None:
    assert within(AccuracyBound(drop=drop("3"), metric=batched, name="batched")).report.searches[0].real == 1.0


class Broken:
    """Metrics that are no good."""

    @staticmethod
    def raises(answer: Answer) -> float:
        raise ZeroDivisionError("no samples")

    @staticmethod
    def nan(answer: Answer) -> float:
        return float("nan")

    @staticmethod
    def exits(answer: Answer) -> float:
        sys.stdout.write("on its way")
        raise SystemExit(0)

    @staticmethod
    def huge(answer: Answer) -> float:
        return 10**400

    @staticmethod
    def text(answer: Answer) -> Any:
        return "good"

    @staticmethod
    def feeds_nonsense(answer: Answer) -> float:
        return float(answer({"nowhere": np.zeros(1)})["out"].sum())


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (Broken.raises, "raised ZeroDivisionError: no samples"), (Broken.nan, "not a finite number"),
        (Broken.text, "returned 'good'"),
        (Broken.exits, "raised SystemExit: 0"), (Broken.huge, "not a finite number"),
        (Broken.feeds_nonsense, "no array for input image"),
    ],
)  # fmt: skip
def test_a_metric_that_is_no_good_is_named_before_anything_is_searched(broken: Any, words: str) -> None:
    class Only(list[Feeds]):
        def __iter__(self) -> Iterator[Feeds]:
            yield self[0]
            raise AssertionError("a second sample was read")

    with pytest.raises(BadInput, match=words) as raised:
        quantize(
            sick().SerializeToString(), Only(samples()), options=INT8,
            bound=AccuracyBound(drop=drop("1pp"), metric=broken, name="mine:broken"),
        )  # fmt: skip
    if "raised" in words or "no array" in words:
        assert "test_bound.py, line" in str(raised.value)  # the metric's own line, not one of the model


@pytest.mark.parametrize("text", ["", "x", "1 pct", "-1%", "1e", "%", "nan", "inf%", "1pp2"])
def test_an_amount_is_a_number_with_pp_or_percent(text: str) -> None:
    with pytest.raises(BadUsage):
        drop(text)


@pytest.mark.parametrize("text", ["0", "0pp", "0.0%"])
def test_a_bound_of_nothing_is_refused(text: str) -> None:
    with pytest.raises(BadUsage, match="leaves int8 no room"):
        drop(text)


@given(st.floats(0.001, 99), st.floats(-10, 10))
def test_units(amount: float, real: float) -> None:
    text = f"{amount:.4f}"
    assert drop(f"{text}pp").lowest(real) == pytest.approx(real - float(text) / 100)
    assert drop(f"{text}%").lowest(real) == pytest.approx(real - float(text) / 100 * abs(real))
    assert drop(text).lowest(real) == pytest.approx(real - float(text))
    assert drop(f"{text} %") == drop(f"{text}%")


def test_points_of_nothing_are_refused() -> None:
    with pytest.raises(BadUsage, match="points of a metric, and none is named"):
        AccuracyBound(drop=Drop(amount=1.0, unit="pp"))


def test_an_amount_without_a_unit_is_below_1_where_there_is_no_metric() -> None:
    """--max-drop 5 was a bound of 500 %, which any graph meets."""
    for text in ("1", "5", "5.0"):
        with pytest.raises(BadUsage, match=f"Write --max-drop {float(text):g}%; .* such as 0.02 for 2%"):
            AccuracyBound(drop=drop(text))
        AccuracyBound(drop=drop(text), metric=nearness)
    assert AccuracyBound(drop=drop("0.02")).drop.distance == AccuracyBound(drop=drop("2%")).drop.distance


def test_a_metric_is_found_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_metric_of_mine.py").write_text("def worth(answer):\n    return 0.5\nnumber = 1\n")
    monkeypatch.chdir(tmp_path)
    assert metric("a_metric_of_mine:worth")(lambda feeds: {}) == 0.5
    for name, words in [
        ("a_metric_of_mine:number", "is no function"), ("a_metric_of_mine:none", "is not there"),
        ("no_such_module_at_all:f", "there is no module"), ("a_metric_of_mine", "names no function"),
    ]:  # fmt: skip
        with pytest.raises(BadUsage, match=words):
            metric(name)


points = st.builds(
    Point, int8_operators=st.integers(0, 9), float_nodes=st.just(()), value=st.floats(0, 1), error=st.floats(0, 1),
    met=st.booleans(),
)  # fmt: skip


@given(st.lists(points, max_size=12))
def test_no_point_of_the_front_is_beaten(every: list[Point]) -> None:
    bound = AccuracyBound(drop=drop("1pp"), metric=nearness)
    kept = front(every, bound)
    for one in kept:
        assert not [p for p in every if p.int8_operators > one.int8_operators and p.value >= one.value]
        assert not [p for p in every if p.int8_operators >= one.int8_operators and p.value > one.value]
    assert bool(kept) == bool(every)


def test_samples_are_not_read_again_for_a_search() -> None:
    class Once:
        passes = 0

        def __len__(self) -> int:
            return 6

        def __iter__(self) -> Iterator[Feeds]:
            Once.passes += 1
            return iter(samples())

    quantize(sick().SerializeToString(), Once(), options=INT8, bound=AccuracyBound(drop=drop("5%")))
    first = Once.passes
    Once.passes = 0
    quantize(sick().SerializeToString(), Once(), options=QuantizeOptions(
        variants=("int8-w7",), first_conv="int8", threads=1, force=True))  # fmt: skip
    assert first == Once.passes


def detections() -> bytes:
    """NonZero answers as many rows as there are values: int8 moves some over zero, and no position can be compared."""
    b = Builder(np.random.default_rng(0))
    scores = b.conv(b.relu(b.conv(b.picture(normalised=True), 3, 8)), 8, 4)
    found = b.op("NonZero", b.op("Greater", scores, b.constant(np.float32(0.1))), name="found")
    model = b.model({"scores": scores, "found": found}, size=16)
    model.graph.output[1].type.tensor_type.elem_type = 7  # int64
    return bytes(model.SerializeToString())


def test_a_bound_on_an_output_that_can_not_be_compared_is_refused_and_not_taken_for_met() -> None:
    options = QuantizeOptions(variants=("int8-w7",), first_conv="int8", threads=1)
    bound = AccuracyBound(drop=drop("50%"))
    with pytest.raises(BoundNotMet, match="shape depends on the values"):
        quantize(detections(), samples(), options=options, bound=bound)


def test_nothing_is_searched_unasked_for_an_output_that_can_not_be_compared() -> None:
    trials = Trials(within=0.1, search_s=60.0)
    options = QuantizeOptions(variants=("int8-w7",), first_conv="int8", threads=1, trials=trials)
    found = quantize(detections(), samples(), options=options)
    assert found.report.searches == ()
    assert found.get("int8-w7").int8_planned == 2
    assert any("output found was not compared" in note for note in found.report.notes)


def test_an_engine_that_is_not_installed_is_named_beside_the_one_that_is_kept() -> None:
    class Missing(Nncf):
        def missing(self) -> str:
            return "nncf is not installed: pip install nncf"

    prepared = prepare(
        sick().SerializeToString(), samples(),
        QuantizeOptions(variants=("int8-w7",), threads=1, trials=Trials(engines=("portable", "nncf"))),
    )  # fmt: skip
    kept = best(prepared, (), engines={**ENGINES, "nncf": Missing()})
    assert [(one.engine, one.why, one.kept) for one in kept.attempts] == [
        ("nncf", "nncf is not installed: pip install nncf", False), ("portable", "", True)
    ]  # fmt: skip


class OneSick:
    """`search` over `sick`, in which one operator alone breaks the bound, and measured by a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, sick: str = "widens", stops_after: int = 99) -> None:
        self.sick, self.stops_after, self.measured, self.now = sick, stops_after, 0, 0.0
        monkeypatch.setattr("edge_sdk.calibration.bound.search.time", SimpleNamespace(monotonic=lambda: self.now))

    def value(self, made: Sequence[Any]) -> float:
        self.measured += 1
        self.now = 11.0 if self.measured >= self.stops_after else 0.0
        return 0.0 if any(self.sick in one.planned.plan.operators for one in made) else 1.0

    def stops_at_a_sensitivity(self, done: int, total: int, text: str) -> None:
        self.now = 11.0 if "sensitivity" in text else self.now

    def search(self, order: Sequence[str] = (), progress: Progress = silent) -> tuple[Search, Any]:
        """order: operators, the most sensitive first; () = to be measured."""
        prepared = prepare(sick().SerializeToString(), samples(), INT8)
        start = best(prepared, ()).candidates["int8-w7"][0]
        bound = AccuracyBound(drop=drop("1%"), metric=lambda answer: 1.0, name="one")
        known: dict[tuple[str, ...], float] = {(name,): 1 / place for place, name in enumerate(order, 1)}
        return search(prepared, start, bound, real=1.0, value=self.value, until=10.0, known=known, progress=progress)


def test_a_harmless_operator_before_the_one_that_breaks_the_bound_is_int8_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, _ = OneSick(monkeypatch).search(order=("first", "widens"))
    assert found.best.float_nodes == ("widens",)
    assert found.best.int8_operators == 4


def test_when_the_time_is_up_no_operator_more_is_tried_in_int8_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = OneSick(monkeypatch, stops_after=3).search(order=("first", "widens"))
    assert (found.met, found.out_of_time, found.tries) == (True, True, 3)
    assert found.best.float_nodes == ("first", "widens")


def test_when_the_time_is_up_no_further_sensitivity_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    one = OneSick(monkeypatch)
    found, alone = one.search(progress=one.stops_at_a_sensitivity)
    assert list(alone) == [("first",)]
    assert found.out_of_time


def test_the_time_is_shared_between_the_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    now, stops = [0.0], []

    def spends_all(*_: Any, until: float, **__: Any) -> tuple[Any, dict[Any, float]]:
        stops.append(until)
        now[0] = until
        return SimpleNamespace(best=None), {}

    monkeypatch.setattr("edge_sdk.calibration.bound.check.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("edge_sdk.calibration.bound.check.search", spends_all)
    monkeypatch.setattr("edge_sdk.calibration.bound.check._start", lambda checking, candidates: candidates[0])
    monkeypatch.setattr("edge_sdk.calibration.bound.check._written", lambda start, point: [start])
    monkeypatch.setattr("edge_sdk.calibration.bound.check._with_speed", lambda prepared, found, start: found)
    kept: Any = SimpleNamespace(candidates={"int8": ["a candidate"], "int8-w7": ["another"]})
    nothing: Any = None
    checking = BoundCheck(prepared=nothing, bound=AccuracyBound(drop=drop("5%"), search_s=60.0), real=0.0)
    within_bound(checking, kept)
    assert stops == [30.0, 60.0]


def test_a_runtime_that_answers_beyond_the_bound_is_named_though_the_search_met_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(BoundCheck, "of_variant", lambda self, variant, runtime: 0.9)
    with pytest.raises(BoundNotMet, match=r"90\S* % on onnxruntime"):
        within(AccuracyBound(drop=drop("5%")))
