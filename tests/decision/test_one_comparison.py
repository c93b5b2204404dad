"""A score is held against a threshold in one place, on the device and in the evaluation. Reads the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from edge_sdk.decision.threshold import fixed, rejected, verdict
from edge_sdk.export.tasks.anomaly.detection import at_threshold

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("edge_sdk", "runtimes", "calibration", "export")
ALLOWED = {
    ("edge_sdk/decision/threshold.py", "rejected"): "the one place",
    ("edge_sdk/tasks/anomaly/result.py", "regions_above"): "cells of a map against the edge of a region, no verdict",
    ("edge_sdk/tasks/segmentation/frame.py", "place"): "logits of a mask, pixel by pixel, no verdict",
}
"""File and function that may compare, and why."""


def comparisons(source: str) -> list[str]:
    """Functions that compare anything but a number or another threshold with a threshold, once for each comparison."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Gt, ast.GtE, ast.Lt, ast.LtE)):
                sides = [node.left, node.comparators[0]]
                others = [side for side in sides if not _threshold(side) and not isinstance(side, ast.Constant)]
                if len(others) == 1 and any(map(_threshold, sides)):
                    found.append(function.name)
    return found


def _threshold(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name == "threshold" or name.endswith("_threshold")


def test_nothing_else_compares_scores_with_a_threshold() -> None:
    # rglob follows no links: edge_sdk holds links to the other folders
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    found = {
        (path.relative_to(ROOT).as_posix(), name) for path in files for name in comparisons(path.read_text("utf-8"))
    }
    assert found == set(ALLOWED)


@pytest.mark.parametrize("line", ["s > threshold", "t.threshold <= np.asarray(s)", "scores >= self.variant_threshold"])
def test_a_comparison_is_found_on_either_side(line: str) -> None:
    assert comparisons(f"def here():\n    return {line}\n") == ["here"]


@pytest.mark.parametrize("line", ["threshold > 0", "old.threshold < new.threshold", "s > limit"])
def test_a_sign_and_two_thresholds_are_no_verdict(line: str) -> None:
    assert comparisons(f"def here():\n    return {line}\n") == []


def test_a_score_at_the_threshold_is_good_on_the_device_and_in_the_evaluation() -> None:
    record = fixed(0.1 + 0.2)
    assert verdict(0.1 + 0.2, record).label == "good"
    found = at_threshold([0.1 + 0.2], [0.1 + 0.2], record.threshold)
    assert (found.false_rejects, found.misses) == (0, 1)
    assert not rejected(0.1 + 0.2, record.threshold)
