"""Which samples become golden ones: none whose answer hangs on an edge, where another one is at hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge_sdk.export.golden_choice import EDGE, alike, kept
from edge_sdk.export.tasks.base import Golden
from edge_sdk.export.tasks.tensor import numbers, spares, spread
from edge_sdk.tensors import Array

NEAR, EDGY = 0.01, 0.26


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
        ([NEAR, EDGY, NEAR, 0.012, NEAR], [0, 4, 2]),  # the nearest of the spare ones takes its place
        ([EDGY, NEAR, EDGY, NEAR, NEAR], [3, 1, 4]),
        ([NEAR, EDGY, NEAR, EDGY, NEAR], [0, 4, 2]),
        ([NEAR, EDGY, NEAR, EDGY, EDGY * 2], [0, 1, 2]),  # then what is far is no edge but the rule
        ([NEAR, NEAR * EDGE, NEAR, NEAR, NEAR], [0, 1, 2]),
        ([0.0, 0.0, 0.0, 0.0, 0.0], [0, 1, 2]),  # there is no int8 graph
        ([0.0, 0.2, 0.0, 0.0, 0.0], [0, 3, 2]),  # class indices: all the same, but on one sample
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


def test_those_kept_differ_in_every_role() -> None:
    golden = samples(2, 1)
    feeds = fed(golden, decoder=[7, 8, 7])
    assert kept(golden, feeds, [NEAR, EDGY, NEAR]) == [0, 1], "else both would feed the decoder the same"
    assert kept(golden, feeds, [EDGY, NEAR, NEAR]) == [2, 1]


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
