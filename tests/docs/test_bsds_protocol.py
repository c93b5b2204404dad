"""The protocol of mask figures on BSDS500: what is asked for, what counts as right, and the counts of the real set."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import bsds  # noqa: E402
from bsds import Mask, Picture, Scores  # noqa: E402

from edge_sdk import preprocess  # noqa: E402
from edge_sdk.bundle.manifest import Preprocessing  # noqa: E402
from edge_sdk.export.tasks.segmentation.prompting import ellipse, iou  # noqa: E402
from edge_sdk.tasks.segmentation.frame import Frame  # noqa: E402

RECORD = Preprocessing(width=256, height=256, mode="longest-side")


def tiny(root: Path) -> list[Picture]:
    """Two pictures of 40 x 50 px, the first with two maps; segments of 600, 400 and the rest."""
    for name, maps in (("7", 2), ("12", 1)):
        labels = np.ones((40, 50), np.uint8)
        labels[5:25, 10:40] = 2  # 600 px
        labels[30:40, 0:40] = 3  # 400 px: not more than 400
        for folder, file, values in (
            ("images", f"{name}.png", np.zeros((40, 50, 3), np.uint8)),
            *(("segmentation", f"{name}_{who}.png", labels) for who in range(maps)),
        ):
            (root / folder / "test").mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / folder / "test" / file), values)
        (root / "images" / "test" / f"{name}.png").rename(root / "images" / "test" / f"{name}.jpg")
    return bsds.pictures(root, "test")


def boxes_of(one: Picture, segments: NDArray[np.bool_], boxes: NDArray[np.float32]) -> Iterator[dict[str, Mask]]:
    for x0, y0, x1, y1 in boxes.astype(int):
        masks = {name: np.zeros((40, 50), bool) for name in ("box", "ellipse")}
        masks["box"][y0:y1, x0:x1] = True
        masks["ellipse"][y0:y1, x0:x1] = ellipse(y1 - y0, x1 - x0)
        yield masks


def test_segments_of_more_than_400_px_are_asked_for_with_boxes_that_end_behind_the_last_pixel(tmp_path: Path) -> None:
    first, second = tiny(tmp_path)
    assert (first.path.name, len(first.maps), len(second.maps)) == ("7.jpg", 2, 1)  # by number, not by letters
    masks, boxes = first.segments()
    assert masks.shape == (4, 40, 50)
    assert boxes[1].tolist() == [10, 5, 40, 25]


def test_the_mean_is_over_segments_and_a_rectangle_is_its_box(tmp_path: Path) -> None:
    shown = tiny(tmp_path)
    scores = bsds.evaluate(shown, boxes_of, progress=lambda done, total: None)
    assert scores["box"].iou[[1, 3, 5]].tolist() == [1.0, 1.0, 1.0]
    assert scores["ellipse"].iou[1] == pytest.approx(np.pi / 4, abs=0.01)
    assert scores["box"].picture.tolist() == [0, 0, 0, 0, 1, 1]
    summary = scores["box"].summary()
    assert (summary["segments"], summary["pictures"]) == (6, 2)
    assert summary["miou"] == pytest.approx(100 * scores["box"].iou.mean(), abs=0.01)
    assert summary["by_share_of_picture"]["10 % and more"]["segments"] == 6


def test_the_spread_is_of_pictures() -> None:
    """Segments of one picture that are all alike add nothing: 2 pictures spread as 2 values do."""
    few = Scores(np.array([0.2, 0.8]), np.array([0.5, 0.5]), np.array([0, 1]))
    many = Scores(np.repeat(few.iou, 50), np.repeat(few.share, 50), np.repeat(few.picture, 50))
    assert few.summary()["standard_error"] == many.summary()["standard_error"] > 15


@pytest.mark.parametrize(("height", "width"), [(321, 481), (481, 321), (50, 200)])
def test_a_fitted_grid_says_more_of_a_segment_than_its_average(height: int, width: int) -> None:
    frame = Frame.of(preprocess.apply(np.zeros((height, width, 3), np.uint8), RECORD).geometry, 256)
    grid, ys, xs = bsds.GridFit(frame, 64), *np.mgrid[:height, :width]
    thin = (np.abs(ys - height // 2 - (xs - 20) // 8) < 2) & (xs > 20) & (xs < width - 20)
    ragged = (ys - height / 2) ** 2 + (xs - width / 2) ** 2 < (height / 4 + 4 * np.sin(xs / 3)) ** 2
    for segment in (thin, ragged):
        averaged, fitted = (iou(frame.place(one(segment)), segment) for one in (grid.averaged, grid.fitted))
        assert averaged + 0.01 < fitted
        assert iou(frame.place(grid.fitted(segment, steps=0)), segment) == averaged


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"holds no images/test/\*\.jpg"):
        bsds.pictures(tmp_path, "test")


def test_the_real_set_has_the_segments_and_controls_that_are_stated(shared_data: Path) -> None:
    """Of a tenth of the pictures: all 13,290 segments take half a minute (specs/tinysam.md, section 9)."""
    shown = bsds.pictures(shared_data / "bsds500", "test")
    assert (len(shown), sum(len(one.maps) for one in shown)) == (200, 1063)
    tenth = shown[::10]

    def trivial(one: Picture, segments: NDArray[np.bool_], boxes: NDArray[np.float32]) -> Iterator[dict[str, Mask]]:
        for x0, y0, x1, y1 in boxes.astype(int):
            mask = np.zeros(segments.shape[1:], bool)
            mask[y0:y1, x0:x1] = True
            yield {"box": mask}

    found = bsds.evaluate(tenth, trivial, progress=lambda done, total: None)["box"].summary()
    assert 1200 < found["segments"] < 1500
    assert abs(found["miou"] - 56.7) < 3 * found["standard_error"]
