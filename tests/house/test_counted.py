"""A number stands with its noun in singular or plural, wherever one is shown."""

from __future__ import annotations

import pytest

from edge_sdk.counted import counted, listed


@pytest.mark.parametrize(
    ("count", "noun", "plural", "text"),
    [
        (0, "step", "", "0 steps"), (1, "step", "", "1 step"), (2, "step", "", "2 steps"),
        (1, "good part", "", "1 good part"), (3, "copy", "copies", "3 copies"), (1, "copy", "copies", "1 copy"),
    ],
)  # fmt: skip
def test_a_noun_follows_its_number(count: int, noun: str, plural: str, text: str) -> None:
    assert counted(count, noun, plural) == text


@pytest.mark.parametrize(
    ("words", "text"), [((), ""), (("a",), "a"), (("a", "b"), "a or b"), (("a", "b", "c"), "a, b or c")]
)
def test_words_are_listed_with_one_before_the_last(words: tuple[str, ...], text: str) -> None:
    assert listed(iter(words)) == text
    assert listed(words, "and") == text.replace(" or ", " and ")
