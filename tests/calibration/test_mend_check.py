"""A mend that was run: nothing of the corpus is left out but what changes answers, and that is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from broken_graphs import BROKEN as GRAPHS
from broken_graphs import average, conv
from onnx import ModelProto
from rule_claims import feeds_for

from edge_sdk.calibration.lint import mend_check
from edge_sdk.calibration.lint.draft import Mended
from edge_sdk.calibration.lint.mend import mend
from edge_sdk.errors import CheckFailed

FIXED = [(rule, build) for rule, build in GRAPHS if rule != "L70"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("rule", "build"), FIXED, ids=[f"{rule}-{n}" for n, (rule, _) in enumerate(FIXED)])
def test_no_mend_of_the_corpus_is_left_out(rule: str, build: Callable[[], ModelProto]) -> None:
    model = build()
    made, done, notes = mend_check.mended(model)
    plain, plainly = mend(model)
    assert notes == ()
    assert done == plainly
    assert made == plain


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: average(), ""),
        (lambda: average(count_include_pad=1), "differs by"),
        (lambda: average(ceil_mode=1), "has shape"),
        (lambda: conv(), "does not run|has shape"),
    ],
)
def test_another_answer_is_found(other: Callable[[], ModelProto], words: str) -> None:
    model = average()
    feeds = feeds_for(model)
    wanted = mend_check._answers(model, feeds)
    assert wanted is not None
    done = [Mended(rule="L46", node="n", what="x")]
    problem = mend_check._problem(model, other(), done, feeds, wanted)
    assert any(part in problem for part in words.split("|")) if words else problem == ""


def test_a_row_that_stays_is_left_alone() -> None:
    model = average(ceil_mode=1, count_include_pad=1)
    assert mend(model)[1]
    assert mend(model, without=("L46",))[1] == ()


def test_fixes_after_which_nothing_answers_as_before_are_refused() -> None:
    model = average(ceil_mode=1, count_include_pad=1)
    feeds = feeds_for(model)
    wanted = mend_check._answers(average(), feeds)  # what no fix of `model` answers
    assert wanted is not None
    with pytest.raises(CheckFailed, match="the fixes change what the graph answers"):
        mend_check._blamed(model, (), exact=True, without=(), ran=(feeds, wanted))
