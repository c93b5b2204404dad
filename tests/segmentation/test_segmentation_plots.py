"""Both results are drawn on whatever `predict` takes as a picture, and on no picture of another size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import disk_graphs
import numpy as np
import pytest
from PIL import Image

from edge_sdk.errors import BadInput
from edge_sdk.tasks.segmentation.everything.result import Everything
from edge_sdk.tasks.segmentation.result import Segmentation
from edge_sdk.tasks.segmentation.segmenter import PromptSegmenter

PICTURE = disk_graphs.picture(5)
"""48 x 64 px."""
LOOSE = {"points_per_side": 4, "predicted_iou": 0.85, "stability": 0.5}


@pytest.fixture(params=["predict", "everything"])
def result(segmenter: PromptSegmenter, request: pytest.FixtureRequest) -> Segmentation | Everything:
    if request.param == "predict":
        return segmenter.predict(PICTURE, boxes=[[10, 10, 40, 30], [20, 20, 60, 40]])
    return segmenter.everything(PICTURE, options=segmenter.everything_options.changed(**LOOSE))


def as_forms(folder: Path) -> dict[str, Any]:
    """One picture as everything that a picture may be."""
    file = folder / "part.png"
    file.write_bytes(disk_graphs.png(PICTURE))
    alpha = np.dstack([PICTURE, np.full(PICTURE.shape[:2], 9, np.uint8)])
    return {
        "with alpha": alpha, "one channel of a view": np.asfortranarray(PICTURE), "path": file, "name": str(file),
        "bytes": file.read_bytes(), "PIL": Image.open(file), "PIL with alpha": Image.fromarray(alpha),
    }  # fmt: skip


def test_every_form_of_a_picture_is_drawn_on_as_its_pixels_are(
    result: Segmentation | Everything, tmp_path: Path
) -> None:
    before, wanted = PICTURE.copy(), result.plot(PICTURE)
    for name, form in as_forms(tmp_path).items():
        np.testing.assert_array_equal(result.plot(form), wanted, err_msg=name)
    np.testing.assert_array_equal(PICTURE, before)
    result.save(tmp_path / "drawn.png", tmp_path / "part.png")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "drawn.png"))[:, :, ::-1], wanted)


def test_grey_and_16_bits_are_drawn_on_in_8_bits_of_colour(result: Segmentation | Everything) -> None:
    grey = PICTURE[:, :, 0]
    wanted = result.plot(np.dstack([grey] * 3))
    np.testing.assert_array_equal(result.plot(grey), wanted)
    np.testing.assert_array_equal(result.plot(grey[:, :, None]), wanted)
    np.testing.assert_array_equal(result.plot(grey.astype(np.uint16) * 257), wanted)
    eight = replace(result, bit_depth=None)
    with pytest.raises(BadInput, match="the picture has 16 bits, the bundle takes 8"):
        eight.plot(grey.astype(np.uint16))


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (PICTURE[:, :50], "the picture is 50 x 48 px, the result is of one of 64 x 48 px. Pass the picture that was"),
        (PICTURE.transpose(1, 0, 2), "the picture is 48 x 64 px, the result is of one of 64 x 48 px"),
        (PICTURE / 255.0, "the picture is float64: the range of a float picture is unknown"),
        (PICTURE[:, :, :2], r"a picture has shape \(H, W\), \(H, W, 3\) or \(H, W, 4\), not \(48, 64, 2\)"),
        (3, "an object of type int is not a picture"),
        ("nowhere.png", "nowhere.png"),
        (None, "this picture came as pixels, which are not kept"),
    ],
)
def test_what_is_no_picture_of_the_result_is_refused(
    result: Segmentation | Everything, picture: Any, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        result.plot(picture)
