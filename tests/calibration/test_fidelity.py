"""What counts as another graph: every kind of output is compared, and one loud sample hides no other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge_sdk.calibration import QuantizeOptions, quantize
from edge_sdk.calibration.bound.accuracy import LARGEST_ERROR
from edge_sdk.calibration.comparison import fidelity
from edge_sdk.calibration.comparison.fidelity import error
from edge_sdk.errors import CheckFailed

INT8 = QuantizeOptions(variants=("int8",), threads=1)
FORCED = QuantizeOptions(variants=("int8",), threads=1, force=True)


def net(*end: Any, kind: int = TensorProto.FLOAT, shape: list[int | str | None] | None = None) -> ModelProto:
    """Conv, Relu, Conv to "c", and `end` which makes "y" of it."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((4, 3, 1, 1)), "v": rng.standard_normal((5, 4, 1, 1)), "zero": np.zeros(())}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "first"), helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "v"], ["c"], "second"), *end,
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", kind, shape or [1, 5, 8, 8])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made


def samples(*, loud: int | None = None) -> list[dict[str, np.ndarray]]:
    """Four of size 1; the one at `loud` is a million times larger, so that the others round to zero."""
    rng = np.random.default_rng(1)
    made = [rng.standard_normal((1, 3, 8, 8)).astype(np.float32) for _ in range(4)]
    return [{"x": one * np.float32(1e6 if k == loud else 1)} for k, one in enumerate(made)]


OUTPUTS = {
    "floats": (net(helper.make_node("Identity", ["c"], ["y"])), r"differs from the float graph by 100% in output y"),
    "classes": (
        net(helper.make_node("ArgMax", ["c"], ["y"], axis=1, keepdims=0), kind=TensorProto.INT64, shape=[1, 8, 8]),
        r"differs from the float graph in \d\d% of the values of output y",
    ),
    "a mask": (
        net(helper.make_node("Greater", ["c", "zero"], ["y"]), kind=TensorProto.BOOL),
        r"differs from the float graph in \d\d% of the values of output y",
    ),
}  # fmt: skip


@pytest.mark.parametrize("output", OUTPUTS)
def test_one_loud_sample_that_costs_all_others_is_refused_whatever_the_output_holds(output: str) -> None:
    model, said = OUTPUTS[output]
    with pytest.raises(CheckFailed, match=said):
        quantize(model.SerializeToString(), samples(loud=2), options=INT8)
    report = quantize(model.SerializeToString(), samples(loud=2), options=FORCED).report
    assert report.errors["int8"]["y"] > LARGEST_ERROR


@pytest.mark.parametrize("output", OUTPUTS)
def test_samples_of_one_size_pass_and_a_share_is_called_one(output: str) -> None:
    report = quantize(OUTPUTS[output][0].SerializeToString(), samples(), options=INT8).report
    assert 0.0 < report.errors["int8"]["y"] < LARGEST_ERROR
    shares = [note for note in report.notes if "the share of its values that differ" in note]
    assert len(shares) == (output != "floats")


def test_an_output_whose_shape_depends_on_its_values_is_reported_as_not_compared() -> None:
    model = net(
        helper.make_node("Greater", ["c", "zero"], ["m"]), helper.make_node("NonZero", ["m"], ["y"]),
        kind=TensorProto.INT64, shape=[4, "found"],
    )  # fmt: skip
    report = quantize(model.SerializeToString(), samples(), options=INT8).report
    assert report.errors["int8"] == {}
    assert [note for note in report.notes if "int8: output y was not compared: its shape depends on" in note]


def test_an_output_that_is_zero_is_reported_as_not_compared() -> None:
    model = net(helper.make_node("Mul", ["c", "zero"], ["y"]))
    report = quantize(model.SerializeToString(), samples(), options=INT8).report
    assert report.errors["int8"] == {}
    assert [note for note in report.notes if "y was not compared: the float graph's is zero on every" in note]


ONES, ZEROS, EMPTY = np.ones(4, np.float32), np.zeros(4, np.float32), np.zeros(0, np.float32)


@pytest.mark.parametrize(
    ("wanted", "got", "found"),
    [
        ([ONES, ONES * 2], [ONES, ONES * 2], 0.0),
        ([ONES * 1e6, ONES, ONES], [ONES * 1e6, ZEROS, ZEROS], 1.0),
        ([ONES, ONES, ONES * 1e6], [ONES, ONES, ZEROS], 1.0),
        ([ONES * 1e6, ONES * 1e6, ONES], [ONES * 1e6, ONES * 1e6, ZEROS], 1e-6 / np.sqrt(2)),
        ([ONES, ZEROS, ZEROS], [ONES, ONES * 1e-3, ONES * 1e-3], 1e-3 * np.sqrt(2)),
        ([ZEROS], [ONES], None),
        ([EMPTY, ONES], [EMPTY, ONES], 0.0),
        ([ONES, ONES, ONES], [ONES[:2], ONES, ONES], None),
        ([ONES], [ONES[:2]], None),
        ([ONES], [ONES * np.float32(np.inf)], np.inf),
        ([np.array([np.nan, 1.0])], [np.array([0.0, 1.0])], np.inf),
        ([np.array([np.inf, 1.0])], [np.array([-np.inf, 1.0])], np.inf),
        ([np.array([np.nan, np.inf, 1.0])], [np.array([np.nan, np.inf, 1.0])], 0.0),
        ([np.arange(4)], [np.array([0, 1, 2, 9])], 0.25),
        ([np.arange(4), np.arange(4)], [np.arange(4), np.arange(3)], None),
        ([np.arange(4)], [np.arange(3)], None),
        ([np.array([], np.int64)], [np.array([], np.int64)], None),
        ([np.array([True, False])], [np.array([True, True])], 0.5),
        ([np.array(3)], [np.array(3)], 0.0),
    ],
)  # fmt: skip
def test_the_difference_of_an_output(wanted: list[np.ndarray], got: list[np.ndarray], found: float | None) -> None:
    assert error(wanted, got) == (None if found is None else pytest.approx(found))


@pytest.mark.parametrize("first", [0, 200, 60_000])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_labels_that_differ_are_no_picture_however_large_they_are(
    kind: type[np.unsignedinteger[Any]], first: int
) -> None:
    rng = np.random.default_rng(2)
    if first > np.iinfo(kind).max:
        first = 255 - 4
    wanted, got = ((first + rng.integers(0, 4, (1, 32, 32))).astype(kind) for _ in range(2))
    assert (error([wanted], [got]) or 0.0) == pytest.approx(0.75, abs=0.1)
    flat = np.full((1, 8, 8), first, kind)
    assert error([flat], [flat + kind(1)]) == 1.0


def test_what_was_measured_of_an_output_that_may_be_a_picture_is_said() -> None:
    end = [helper.make_node("Cast", ["s"], ["y"], to=TensorProto.UINT8), helper.make_node("Abs", ["c"], ["s"])]
    report = quantize(
        net(*reversed(end), kind=TensorProto.UINT8).SerializeToString(), samples(), options=INT8
    ).report  # fmt: skip
    assert "the share of its values that differ, or how far they are off if that is less" in " ".join(report.notes)


SHAPES = [
    (np.zeros(3, np.int64), np.zeros((5, 2), np.int64)), (np.zeros(0, np.float32), np.ones(5, np.float32)),
    (np.ones((1, 3), np.float32), np.ones(3, np.float32)),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SHAPES)
def test_answers_of_other_shapes_are_not_the_same(
    one: np.ndarray, other: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([[{"y": one}], [{"y": other}], [{"y": one}], [{"y": one}]])
    monkeypatch.setattr(fidelity, "outputs", lambda *_: next(answers))
    assert not fidelity.same_answers(ModelProto(), ModelProto(), {}, None)
    assert fidelity.same_answers(ModelProto(), ModelProto(), {}, None)


def test_a_graph_in_half_precision_says_why_nothing_became_int8_and_how_many_samples_were_read() -> None:
    made = net(helper.make_node("Identity", ["c"], ["y"]), kind=TensorProto.FLOAT16)
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    for tensor in made.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    halves = [{"x": one["x"].astype(np.float16)} for one in samples()]
    report = quantize(made.SerializeToString(), halves, options=QuantizeOptions(threads=1)).report
    assert (report.samples, report.compared) == (4, 4)
    assert report.left_float == {}, "there was no plan to leave anything out of"
    assert "2 operators in float16, such as first, can't become int8: export the model in float32" in report.notes


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_picture_that_is_off_by_one_everywhere_is_the_same_picture(kind: type[np.unsignedinteger[Any]]) -> None:
    picture = np.random.default_rng(0).integers(10, 200, (1, 8, 8, 3)).astype(kind)
    assert (error([picture], [picture + kind(1)]) or 1.0) < 0.02
    other = np.random.default_rng(1).permuted(picture)
    assert (error([picture], [other]) or 0.0) > LARGEST_ERROR
    labels = np.zeros((1, 8, 8), kind)
    labels[0, :4] = 3
    assert (error([labels], [np.zeros_like(labels)]) or 0.0) == pytest.approx(0.5)
    indices = picture.astype(np.int64)
    assert error([indices], [indices + 1]) == 1.0
