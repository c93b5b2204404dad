"""Arms of an experiment on disk: what was measured with other options is refused, one process works on one arm."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import distill_scores  # noqa: E402
from arms import Arms  # noqa: E402


def never() -> dict[str, Any]:
    raise AssertionError("measured again")


def test_an_arm_is_measured_once(tmp_path: Path) -> None:
    arms = Arms(tmp_path)
    assert arms.found("full-0", {"steps": "3"}) is None
    assert arms.row("full-0", {"steps": "3"}, lambda: {"miou": 60.0}) == {"miou": 60.0}
    assert Arms(tmp_path).row("full-0", {"steps": "3"}, never) == {"miou": 60.0}


@pytest.mark.parametrize(
    ("made_of", "changes"),
    [
        ({"steps": "4", "teacher": "aa"}, "steps was 3, is 4 now"),
        ({"steps": "3", "teacher": "bb"}, "teacher was aa, is bb now"),
        ({"steps": "3"}, "teacher was aa, is not there now"),
        ({"steps": "3", "teacher": "aa", "views": "2"}, "views was not there, is 2 now"),
    ],
)
def test_a_row_of_other_options_is_refused(tmp_path: Path, made_of: dict[str, str], changes: str) -> None:
    Arms(tmp_path).row("full-0", {"steps": "3", "teacher": "aa"}, lambda: {"miou": 60.0})
    with pytest.raises(SystemExit, match=rf"full-0\.json was measured with other options \({changes}\).*--runs"):
        Arms(tmp_path).row("full-0", made_of, never)


def test_a_row_that_says_nothing_of_its_options_is_refused(tmp_path: Path) -> None:
    (tmp_path / "full-0.json").write_text(json.dumps({"miou": 60.0}))
    with pytest.raises(SystemExit, match="does not say what it was made of"):
        Arms(tmp_path).found("full-0", {"steps": "3"})


def test_an_arm_that_another_works_on_is_left_to_it(tmp_path: Path) -> None:
    with Arms(tmp_path).working("full-0", wait=False) as mine:
        assert mine
        assert Arms(tmp_path).row("full-0", {}, never) is None
        assert Arms(tmp_path).row("full-1", {}, lambda: {"miou": 61.0}) == {"miou": 61.0}
    assert Arms(tmp_path).row("full-0", {}, lambda: {"miou": 60.0}) == {"miou": 60.0}


def row(miou: float) -> dict[str, Any]:
    return {"miou": miou, "per_picture": [[miou / 50, miou / 100], [2, 1]]}


def test_what_a_student_keeps_is_stated_above_the_best_trivial_mask_too() -> None:
    floors = {"box": {"miou": 55.0}, "ellipse": {"miou": 60.0}, "grid fitted": {"miou": 97.0}}
    rows = {"none": {0: row(61.0)}, "full": {0: row(64.0), 1: row(66.0)}}
    found = distill_scores.compared(rows, row(70.0), floors)
    assert found["best_trivial"] == 60.0
    assert found["miou"]["full"]["share_of_teacher"] == pytest.approx(65 / 70, abs=1e-4)
    assert found["miou"]["full"]["share_of_teachers_gain"] == 0.5
    assert found["miou"]["none"]["share_of_teachers_gain"] == 0.1
    assert distill_scores.compared(rows, row(59.0), floors)["miou"]["full"]["share_of_teachers_gain"] is None
