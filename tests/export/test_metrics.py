"""Scores become rows: by picture, by part, against a reference, and never an exception for a figure that can't be."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.calibration import CalibrationReport
from edge_sdk.export import calibrated
from edge_sdk.export.anomaly.data import Picture
from edge_sdk.export.tasks.anomaly.evaluate import VariantScores
from edge_sdk.export.tasks.anomaly.metrics import reference, rows
from edge_sdk.export.tasks.anomaly.table import notes, quality, unit_words

GOOD, DEFECT = "good", "scratch"


def scored(*scores: float, variant: str = "fp32", runtime: str = "onnxruntime", problem: str = "") -> VariantScores:
    return VariantScores(variant=variant, layout="plain", runtime=runtime, scores=np.array(scores), problem=problem)


def pictures(*seen: tuple[str, str]) -> list[Picture]:
    """(label, part) each."""
    return [Picture(path=Path(f"{i}.png"), part=part, label=label) for i, (label, part) in enumerate(seen)]


FOUR = pictures((GOOD, "a"), (GOOD, "b"), (DEFECT, "c"), (DEFECT, "d"))


def test_a_defect_that_the_model_does_not_see_costs_a_note_and_not_the_row() -> None:
    row = rows([scored(1, 2, 9, 0.5), scored(1, 2, 8, 0.5, variant="int8")], FOUR, 3.0)[1]
    assert (row.kept_least, row.kept_of) == (pytest.approx((8 - 1.5) / (9 - 1.5)), 1)
    assert "1 of the 2 strongest defects score no more than the median good picture" in row.notes[0]
    assert row.by_picture is not None
    assert row.by_picture.misses == 1


def test_no_defect_seen_at_all_leaves_the_kept_score_empty() -> None:
    table = rows([scored(1, 2, 0, 0.5), scored(1, 2, 0, 0.5, variant="int8")], FOUR, 3.0)
    assert (table[1].kept_least, table[1].kept_of) == (None, 0)
    assert "kept" not in quality(table, "picture").header
    assert notes(table) == [f"int8 on onnxruntime: {table[1].notes[0]}"]


def test_a_first_row_that_did_not_run_is_not_the_reference() -> None:
    nan = math.nan
    table = rows(
        [scored(nan, nan, nan, nan, problem="no such kernel"), scored(1, 2, 8, 9, runtime="openvino"),
         scored(1, 2, 8, 9, variant="int8")],
        FOUR, 3.0,
    )  # fmt: skip
    assert [row.reference for row in table] == [False, True, False]
    assert (table[0].problem, table[0].by_picture) == ("no such kernel", None)
    assert table[2].by_picture is not None
    assert (table[2].by_picture.flips, table[2].spearman) == (0, 1.0)


def test_without_any_reference_a_row_still_has_its_own_metrics() -> None:
    only = scored(1, 2, 8, 9, variant="int8")
    row = rows([only], FOUR, 3.0)[0]
    assert reference([only]) is None
    assert row.by_picture is not None
    assert (row.by_picture.auroc, row.by_picture.flips, row.by_picture.auroc_change) == (1.0, None, None)
    assert "no fp32 graph ran" in row.notes[0]


def test_scores_of_nan_are_a_problem_of_their_row_alone() -> None:
    table = rows([scored(1, 2, 8, 9), scored(1, math.nan, 8, 9, variant="fp16")], FOUR, 3.0)
    assert "score 1 is NaN" in table[1].problem
    assert table[1].by_picture is None
    assert table[0].problem == ""


def test_good_pictures_alone_have_rejects_and_no_auroc() -> None:
    table = rows([scored(1, 4)], pictures((GOOD, "a"), (GOOD, "b")), 3.0)
    found = table[0].by_picture
    assert found is not None
    assert (found.auroc, found.false_rejects, found.good, found.misses_interval) == (None, 1, 2, None)
    assert quality(table, "picture").header == ("variant", "runtime", "false rejects", "ran")


def test_a_figure_that_one_row_alone_has_keeps_its_column() -> None:
    table = quality(rows([scored(1, 2, 8, 9), scored(1, 2, 8, 9, variant="int8")], FOUR, 3.0), "picture")
    kept = table.header.index("kept")
    assert [row[kept] for row in table.rows] == ["-", "1.00"]


def test_the_layout_is_reported_where_two_rows_differ_by_it_alone() -> None:
    first, second = (
        replace(scored(1, 2, 8, 9, variant="int8"), layout=layout) for layout in ("conv-relu-q", "conv-q-relu-q")
    )
    found = quality(rows([scored(1, 2, 8, 9), first, second], FOUR, 3.0), "picture")
    at = found.header.index("layout")
    assert [row[at] for row in found.rows] == ["-", "conv-relu-q", "conv-q-relu-q"]
    assert "layout" not in quality(rows([scored(1, 2, 8, 9)], FOUR, 3.0), "picture").header


def test_what_ran_is_reported_by_the_types_of_the_convolutions() -> None:
    row = rows([replace(scored(1, 2, 8, 9), device="CPU", precision="f32", convolutions="59 f32, 12 i8")], FOUR, 3.0)[0]
    assert row.ran() == "CPU, operators: 59 f32, 12 i8"
    assert replace(row, convolutions="").ran() == "CPU, f32"


def test_parts_are_counted_where_they_were_named_and_are_the_unit_of_every_interval() -> None:
    """Two good parts with three pictures each, two defective ones; one picture of a part is enough to reject it."""
    seen = pictures(
        (GOOD, "a"), (GOOD, "a"), (GOOD, "a"), (GOOD, "b"), (GOOD, "b"), (GOOD, "b"),
        (DEFECT, "c"), (DEFECT, "c"), (DEFECT, "d"), (DEFECT, "d"),
    )  # fmt: skip
    fp32 = scored(1, 1, 4, 1, 1, 1, 2, 9, 1, 2)
    int8 = scored(1, 4, 1, 1, 1, 1, 9, 9, 1, 9, variant="int8")
    row, other = rows([fp32, int8], seen, 3.0, group="x")
    assert row.by_picture is not None
    assert row.by_part is not None
    assert (row.by_picture.false_rejects, row.by_picture.good) == (1, 6)
    assert (row.by_picture.misses, row.by_picture.defects) == (3, 4)
    assert (row.by_part.false_rejects, row.by_part.good) == (1, 2)
    assert (row.by_part.misses, row.by_part.defects) == (1, 2)
    assert row.by_picture.misses_interval is None
    assert row.by_part.misses_interval is not None
    assert "over 2 good and 2 bad units" in row.by_picture.auroc_method
    assert other.by_picture is not None
    assert other.by_part is not None
    assert (other.by_picture.flips, other.by_picture.flips_to_defect, other.by_picture.flips_upper) == (4, 3, None)
    assert (other.by_part.flips, other.by_part.flips_to_defect) == (1, 1)  # part a is rejected by both
    assert unit_words([row, other], "part") == "2 good and 2 defective parts"


def test_without_a_group_each_picture_is_a_part_and_nothing_is_said_by_part() -> None:
    row = rows([scored(1, 2, 8, 9)], FOUR, 3.0)[0]
    assert row.by_part is None
    assert row.by_picture is not None
    assert row.by_picture.misses_interval is not None
    assert row.by_picture.auroc_method == "no inversion"


def test_a_change_of_auroc_comes_with_its_interval() -> None:
    rng = np.random.default_rng(3)
    seen = pictures(*[(GOOD, str(i)) for i in range(30)], *[(DEFECT, str(i)) for i in range(30)])
    scores = np.concatenate([rng.normal(size=30), rng.normal(1, size=30)])
    table = rows([scored(*scores), scored(*(scores + 0.3 * rng.normal(size=60)), variant="int8")], seen, 3.0)
    found = table[1].by_picture
    assert found is not None
    assert found.auroc_change is not None
    assert found.auroc_change_interval is not None
    low, high = found.auroc_change_interval
    assert low < found.auroc_change < high
    assert quality(table, "picture").rows[1][3].endswith("] pp")
    assert quality(table, "picture").rows[0][3] == "-"


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ({"trunk/0": "small", "head": "small"}, "trunk/0, head (small)"),  # few are named as --exclude takes them
        ({**{f"trunk/{number}": "odd" for number in range(9)}, "head": "small"}, "head (small); trunk (9) (odd)"),
        ({**{f"/trunk/{n}/Conv": "odd" for n in range(9)}, "/head/Gemm": "odd"}, "trunk (9), head (odd)"),  # PyTorch's
        ({"/": "odd", **{f"/Conv/{number}": "odd" for number in range(9)}}, "/, Conv (9) (odd)"),
    ],
)
def test_operators_left_in_float_are_named_or_counted_by_place_with_the_reason(
    nodes: dict[str, str], said: str
) -> None:
    report = CalibrationReport(
        samples=1, compared=1, tensors=(), layers=(), left_float=nodes, output_corrections={}, errors={}, notes=()
    )
    assert any(one.endswith(f"left in float: {said}.") for one in calibrated.sentences(report))


def test_a_change_of_auroc_is_a_share_in_the_row_and_points_in_the_table() -> None:
    found = rows([scored(1, 2, 8, 9), scored(1, 8.5, 8, 9, variant="int8")], FOUR, 3.0)
    change = found[1].by_picture
    assert change is not None
    assert change.auroc == pytest.approx(0.75)
    assert change.auroc_change == pytest.approx(-0.25)
    table = quality(found, "picture")
    assert table.rows[1][table.header.index("change [95 %]")].startswith("-25.00 [")
