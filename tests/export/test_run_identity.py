"""What a run must have in common with its checkpoint: what lasts may change, what differs is named."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from torch import nn

from edge_sdk.export.efficientad.options import EfficientAdOptions
from edge_sdk.export.efficientad.xs.model import XsConfig
from edge_sdk.export.family import FamilyOptions
from edge_sdk.export.option import option
from edge_sdk.export.training.identity import differences, digest, digest_of_weights, identify

OPTIONS = EfficientAdOptions(steps=8, seed=3)


@dataclass(frozen=True)
class Inner:
    layers: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Recipe:
    inner: Inner = field(default_factory=Inner)
    rate: float = 0.1
    many: tuple[Inner, ...] = (Inner(),)
    checkpoint_every_s: float = 20.0


def identity(options: EfficientAdOptions = OPTIONS, recipe: object = None, **made_of: str) -> dict[str, str]:
    return identify(options, recipe or Recipe(), code="t/1", **{"data": "d1", **made_of})


@pytest.mark.parametrize("change", [{"steps": 9}, {"time_budget_s": 60.0}, {"threads": 2}, {"device": "cpu"}])
def test_how_long_a_run_lasts_and_where_it_is_computed_is_not_what_it_is(change: dict[str, float]) -> None:
    assert identity(replace(OPTIONS, **change)) == identity()


def test_how_often_it_is_kept_is_not_either() -> None:
    assert identity(recipe=Recipe(checkpoint_every_s=1.0)) == identity()


def test_where_a_file_lies_does_not_count_but_what_is_in_it(tmp_path: Path) -> None:
    assert identity(replace(OPTIONS, teacher=tmp_path / "t.pth", ood=tmp_path)) == identity()
    assert differences(identity(teacher="a"), identity(teacher="b")) == ["teacher was a, is b now"]


def test_a_path_of_any_family_is_no_part_of_the_identity(tmp_path: Path) -> None:
    """By the kind of the option, whatever its name."""

    @dataclass(frozen=True, kw_only=True)
    class Others(FamilyOptions):
        palette: Path | None = option(None, kind="path", help="Colours.")
        depth: int = option(2, kind="int", help="Layers.")

    plain, named = Others(), Others(palette=tmp_path)
    assert identify(plain, code="o/1") == identify(named, code="o/1")
    assert identify(plain, code="o/1") != identify(Others(depth=3), code="o/1")


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (identity(replace(OPTIONS, seed=4)), "seed was 3, is 4 now"),
        (identity(replace(OPTIONS, size="s")), "size was xs, is s now"),
        (identity(replace(OPTIONS, any_orientation=True)), "any_orientation was false, is true now"),
        (identity(data="d2"), "data was d1, is d2 now"),
        (identity(data="d2", pictures="a\nb"), "data was d1, is d2 now"),  # a checkpoint of before names were kept
        (identity(recipe=Recipe(rate=0.2)), "recipe.rate was 0.1, is 0.2 now"),
        (identity(recipe=Recipe(inner=Inner((1, 3)))), "recipe.inner.layers was [1, 2], is [1, 3] now"),
        (identity(recipe=Recipe(many=())), 'recipe.many was [{"layers": "[1, 2]"}], is [] now'),
        (identity(ood="photos"), "ood was not there, is photos now"),
    ],
)
def test_what_differs_is_named_as_text(now: dict[str, str], words: str) -> None:
    assert differences(identity(), now) == [words]
    assert digest(now) != digest(identity())


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("a b c d", "1 added, 0 removed"),
        ("b c e f", "2 added, 1 removed"),
        ("a b c", "the pictures have the names that they had when it began, but other contents or parts"),
    ],
)
def test_how_the_pictures_changed_is_reported_by_their_names(names: str, words: str) -> None:
    before, now = identity(pictures="a\nb\nc"), identity(data="d2", pictures=names.replace(" ", "\n"))
    assert [words in difference for difference in differences(before, now)] == [True]


def test_every_option_but_those_that_last_counts() -> None:
    names = set(identity())
    assert {"seed", "width", "height", "any_orientation", "size", "bit_depth"} <= names
    assert not {"steps", "time_budget_s", "threads", "device"} & names
    xs = identify(OPTIONS, XsConfig(), code="xs/1")
    assert {"recipe.layout.taps", "recipe.fixed.scale", "recipe.views"} <= set(xs)
    assert "recipe.time_budget_s" not in xs


def test_weights_are_distinguished_by_value_and_by_name() -> None:
    one, same = nn.Linear(2, 2), nn.Linear(2, 2)
    same.load_state_dict(one.state_dict())
    assert digest_of_weights(one) == digest_of_weights(same)
    assert digest_of_weights(one) != digest_of_weights(nn.Linear(2, 2))
    assert digest_of_weights(nn.Sequential(one)) != digest_of_weights(one)
