"""The benchmark of everything mode: its eager reference does what segment-anything does, its figures are as stated."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import everything  # noqa: E402
import tinysam_bundle  # noqa: E402
import tinysam_eager as eager  # noqa: E402

from edge_sdk.tasks.segmentation import rle  # noqa: E402
from edge_sdk.tasks.segmentation.everything.boxes import box_of, suppress  # noqa: E402

SIDE, SIZE = 64, (48, 60)


@pytest.fixture(scope="module")
def masks() -> NDArray[np.bool_]:
    """An empty mask, a full one, and speckled ones that begin with either value."""
    found = np.random.default_rng(0).random((6, 5, 7)) < 0.5
    found[0], found[1] = False, True
    found[2, 0, 0], found[3, 0, 0] = False, True
    return found


def test_the_references_runs_and_boxes_are_ours(masks: NDArray[np.bool_]) -> None:
    runs = eager.rles(torch.from_numpy(masks))
    assert runs == [rle.encode(mask).to_json() for mask in masks]
    for got, mask in zip(eager.boxes_of(torch.from_numpy(masks)).tolist(), masks, strict=True):
        x0, y0, x1, y1 = box_of(mask)
        assert got == ([x0, y0, x1 - 1, y1 - 1] if mask.any() else [0, 0, 0, 0])


def test_the_references_suppression_is_ours_but_for_the_last_pixel() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 40, (50, 2))
    boxes, scores = np.concatenate([low, low + rng.uniform(10, 40, (50, 2))], axis=1), rng.random(50)
    assert eager.nms(boxes, scores, 0.5) == suppress(boxes, scores, 0.5).tolist()


@pytest.fixture(scope="module")
def reference() -> eager.Eager:
    one = eager.Eager(tinysam_bundle.network(side=SIDE, seed=0))
    one.set_image(tinysam_bundle.picture(height=SIZE[0], width=SIZE[1], seed=0))
    return one


def test_the_reference_answers_masks_of_the_pictures_size(reference: eager.Eager) -> None:
    assert reference.box(np.array([5.0, 5.0, 40.0, 30.0])).shape == SIZE
    points = np.array([[3.0, 3.0], [30.0, 20.0], [50.0, 40.0]])
    together = reference.points(points)
    assert together.shape == (3, *SIZE)
    every = reference.points(points, every=True)
    assert every.shape == (3, 3, *SIZE)
    assert all(any((mask == one).all() for one in alternatives) for mask, alternatives in zip(together, every))
    for point, mask in zip(points, together, strict=True):
        assert (reference.points(point[None])[0] == mask).mean() > 0.999


def test_the_reference_keeps_what_passes_its_thresholds(reference: eager.Eager) -> None:
    every = eager.Thresholds(pred_iou_thresh=-99.0, stability_score_thresh=0.0, box_nms_thresh=1.0)
    found, before = reference.everything(4, batch=5, thresholds=every)
    assert len(found) == before <= 48  # those that are empty at both levels pass nowhere
    middle = float(np.median([one["predicted_iou"] for one in found]))
    stable = eager.Thresholds(pred_iou_thresh=middle, stability_score_thresh=0.5, box_nms_thresh=1.0)
    passed, _ = reference.everything(4, thresholds=stable)
    wanted = [one for one in found if one["predicted_iou"] > middle and one["stability_score"] >= 0.5]
    assert [one["point"] for one in passed] == [one["point"] for one in wanted]


def test_the_embedding_repeated_or_not_answers_the_same(reference: eager.Eager) -> None:
    lean = eager.Eager(tinysam_bundle.network(side=SIDE, seed=0), repeated=False)
    lean.set_image(tinysam_bundle.picture(height=SIZE[0], width=SIZE[1], seed=0))
    points = np.array([[3.0, 3.0], [30.0, 20.0]])
    assert (lean.points(points) == reference.points(points)).mean() > 0.999


@dataclass
class Found:
    array: NDArray[np.bool_]


def test_a_segment_counts_with_the_mask_that_fits_it_best(masks: NDArray[np.bool_]) -> None:
    half = np.zeros((5, 7), bool)
    half[:, :3] = True
    assert everything.best_ious([Found(half), Found(masks[1])], np.array([half, ~half, masks[1]])) == pytest.approx(
        [1.0, 20 / 35, 1.0]
    )
    assert everything.best_ious([], masks[1:2]) == [0.0]


def test_what_is_lost_and_how_much_faster_are_of_sums_over_pictures() -> None:
    def row(flat: list[float], fine: list[float], seconds: tuple[float, float]) -> dict[str, object]:
        ways = {}
        for way, ious, taken in zip(everything.WAYS, (flat, fine), seconds, strict=True):
            counts = {"asked": 10, "points": 16, "masks": 3, "candidates": 5, "left_out": 3}
            ways[way] = {"iou": ious, "seconds": {"wall": taken, "cpu": 2 * taken}, **counts}
        coarse = {"points": 4, "masks": 12, "passed": 6, "stable": 2, "fine": 12}
        return {"segments": len(flat), "coarse": coarse, "by": "grid", **ways}

    found = everything.compared([row([0.8, 0.6], [0.8, 0.5], (2.0, 1.0)), row([0.7], [0.7], (4.0, 1.0))])
    assert found["miou"] == {"flat": pytest.approx(70.0), "hierarchical": pytest.approx(200 / 3)}
    assert found["points_lost"] == pytest.approx(10 / 3)
    assert found["speedup_wall"] == found["speedup_cpu"] == pytest.approx(3.0)
    assert found["points_lost_95"] == [pytest.approx(0.0), pytest.approx(5.0)]
    assert found["segments"] == 3
    assert found["shares"] == {"pass_iou": 0.5, "pass_stability": pytest.approx(1 / 3), "covered": 0.25}


def test_the_reference_takes_the_shares_of_a_record_of_modes(tmp_path: Path) -> None:
    record, stated = tmp_path / "modes.json", {"pass_iou": 0.5, "pass_stability": 0.9, "covered": 0.28}
    record.write_text(json.dumps({"figures": {"all": {"shares": stated, "pictures": 3}}}))
    words = ["reference", "a.edge", "--out", "b.json"]
    parse = everything.parser().parse_args
    assert everything.wanted_shares(parse([*words, "--shares", str(record)])) == stated
    assert everything.wanted_shares(parse([*words, "--covered", "0.1"]))["covered"] == 0.1
    del stated["covered"]  # of a search by boxes, which covers nothing
    record.write_text(json.dumps({"figures": {"all": {"shares": stated}}}), "utf-8")
    assert everything.wanted_shares(parse([*words, "--shares", str(record), "--covered", "0.2"]))["covered"] == 0.2
    record.write_text(json.dumps({"figures": {"all": {"pictures": 3}}}))
    with pytest.raises(SystemExit, match=r"modes\.json states no shares"):
        everything.wanted_shares(parse([*words, "--shares", str(record)]))
