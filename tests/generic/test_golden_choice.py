"""Which samples become golden ones: none near a decision boundary, where another one is at hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from one_way import ONE_WAY
from onnx import TensorProto, helper, numpy_helper

from edge_sdk.bundle.store import Bundle
from edge_sdk.cli.main import run
from edge_sdk.export.golden_choice import FAR, alike, kept
from edge_sdk.export.tasks.base import Golden
from edge_sdk.export.tasks.tensor import numbers, spares, spread
from edge_sdk.tensors import Array

NEAR, AWAY = 0.01, 0.26


def samples(plain: int, spare: int) -> list[Golden]:
    sources = [{"x": np.array([number], np.float32)} for number in range(plain + spare)]
    return [Golden(source=one, spare=number >= plain) for number, one in enumerate(sources)]


def fed(golden: list[Golden], **roles: list[int]) -> list[dict[str, dict[str, Array]]]:
    """By sample; a role whose values are given is fed those in place of its source."""
    feeds = [{"model": dict(one.source)} for one in golden]
    for role, values in roles.items():
        for one, value in zip(feeds, values, strict=True):
            one[role] = {"x": np.array([value], np.float32)}
    return feeds


@pytest.mark.parametrize(
    ("distances", "wanted"),
    [
        ([NEAR, NEAR, NEAR, NEAR, NEAR], [0, 1, 2]),
        ([NEAR, AWAY, NEAR, 0.012, NEAR], [0, 4, 2]),  # the nearest of the spare ones takes its place
        ([AWAY, NEAR, AWAY, NEAR, NEAR], [3, 1, 4]),
        ([NEAR, AWAY, NEAR, AWAY, NEAR], [0, 4, 2]),
        ([NEAR, AWAY, NEAR, AWAY, AWAY * 2], [0, 1, 2]),  # then what is far is no edge but the rule
        ([NEAR, NEAR * FAR, NEAR, NEAR, NEAR], [0, 1, 2]),
        ([0.0, 0.0, 0.0, 0.0, 0.0], [0, 1, 2]),  # there is no int8 graph
        ([0.0, 0.2, 0.0, 0.0, 0.0], [0, 3, 2]),  # class indices: all the same, but on one sample
        ([NEAR, NEAR * FAR * 1.01, NEAR, NEAR, NEAR], [0, 3, 2]),
    ],
)
def test_a_sample_on_an_edge_gives_its_place_to_the_nearest_spare_one(
    distances: list[float], wanted: list[int]
) -> None:
    golden = samples(3, 2)
    assert kept(golden, fed(golden), distances) == wanted


def test_without_spare_ones_all_stay() -> None:
    golden = samples(3, 0)
    assert kept(golden, fed(golden), [NEAR, NEAR, 1.0]) == [0, 1, 2]


def test_an_answer_that_says_nothing_replaces_none() -> None:
    golden = samples(3, 3)
    assert kept(golden, fed(golden), [NEAR, AWAY, NEAR, None, None, NEAR]) == [0, 5, 2]
    assert kept(golden, fed(golden), [NEAR, AWAY, NEAR, None, None, None]) == [0, 1, 2]
    assert kept(golden, fed(golden), [None] * 6) == [0, 1, 2]


def test_a_difference_that_is_small_for_int8_is_near_no_boundary() -> None:
    golden = samples(3, 3)
    assert kept(golden, fed(golden), [0.009, 1e-7, 0.008, 0.0, 0.0, 0.0]) == [0, 1, 2]


def test_an_answer_of_another_shape_is_the_farthest() -> None:
    golden = samples(3, 2)
    assert kept(golden, fed(golden), [NEAR, math.inf, NEAR, NEAR, math.inf]) == [0, 3, 2]


def test_those_kept_differ_in_every_role() -> None:
    golden = samples(2, 1)
    feeds = fed(golden, decoder=[7, 8, 7])
    assert kept(golden, feeds, [NEAR, AWAY, NEAR]) == [0, 1], "else both would feed the decoder the same"
    assert kept(golden, feeds, [AWAY, NEAR, NEAR]) == [2, 1]


def test_a_spare_one_that_is_like_the_others_does_not_bar_the_next() -> None:
    golden = samples(2, 2)
    assert kept(golden, fed(golden, decoder=[7, 8, 7, 9]), [NEAR, AWAY, 0.001, NEAR]) == [0, 3]


def test_where_the_first_ones_are_alike_a_spare_one_makes_the_difference() -> None:
    golden = samples(3, 2)
    assert kept(golden, fed(golden, decoder=[7, 7, 7, 7, 8]), [NEAR] * 5) == [0, 1, 4]
    assert kept(golden, fed(golden, decoder=[7, 7, 7, 7, 7]), [NEAR] * 5) == [0, 1, 2], "the packer refuses these"


def test_alike_looks_at_every_input_of_every_sample() -> None:
    one = {"a": np.zeros(2), "b": np.ones(2)}
    assert alike([one, dict(one), dict(one)])
    assert not alike([one, one, {**one, "b": np.zeros(2)}])


@pytest.mark.parametrize(
    ("count", "plain", "spare"),
    [(1, [0], []), (2, [0, 1], []), (3, [0, 1, 2], []), (4, [0, 2, 3], [1]), (5, [0, 2, 4], [1, 3]),
     (24, [0, 12, 23], [3, 6, 9, 15, 18, 21])],
)  # fmt: skip
def test_spare_ones_are_at_each_eighth(count: int, plain: list[int], spare: list[int]) -> None:
    assert (numbers(count), spares(count)) == (plain, spare)
    made = spread([{"x": np.array([number], np.float32)} for number in range(count)])
    assert [one.label for one in made if one.spare] == [f"sample {number}" for number in spare]
    for one in made:
        number = float(one.source["x"][0])
        assert one.label in (f"sample {number:.0f}", "sample 0, reversed")


WEIGHT = np.random.default_rng(99).uniform(0.2, 1.0, (32, 24)).astype(np.float32)
STEP = 4.0


def steps() -> onnx.ModelProto:
    """1 where a product is above STEP, 0 below, and half at it."""
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["sums"]), helper.make_node("Sub", ["sums", "step"], ["above"]),
        helper.make_node("Mul", ["above", "slope"], ["steep"]), helper.make_node("Sigmoid", ["steep"], ["answer"]),
    ]  # fmt: skip
    stored = {"W": WEIGHT, "step": np.float32(STEP), "slope": np.float32(1000.0)}
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [info("x", TensorProto.FLOAT, [1, 32])], [info("answer", TensorProto.FLOAT, [1, 24])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_bundle_packs_no_sample_near_a_boundary_and_none_that_answers_zeros(tmp_path: Path) -> None:
    """A step at 0.5 behind a product: int8 flips it for the sample that lies there, on no other one."""
    onnx.save(steps(), tmp_path / "m.onnx")
    (tmp_path / "s").mkdir()
    for number in range(16):
        x = np.random.default_rng(number).uniform(0.5, 1.0, (1, 32)).astype(np.float32)
        x *= {8: STEP / float((x @ WEIGHT)[0, 0]), 2: -1.0, 4: -1.0}.get(number, 1.0)  # 2 and 4 answer zeros
        np.savez(tmp_path / "s" / f"{number:02}.npz", x=x)
    words = ("quantize", str(tmp_path / "m.onnx"), "--data", str(tmp_path / "s"), "--out", str(tmp_path / "m.edge"))
    with pytest.raises(SystemExit) as left:
        run([*words, *ONE_WAY, "--force", "--threads", "1"])
    assert left.value.code == 0
    with Bundle.open(tmp_path / "m.edge") as bundle:
        assert [one.label for one in bundle.manifest.golden] == ["sample 0", "sample 6", "sample 15"]
