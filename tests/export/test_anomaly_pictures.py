"""Pictures that every family of anomaly detectors shares: foreign ones as calibration sees them, grey."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadInput
from edge_sdk.export.anomaly.colour import grey, luma
from edge_sdk.export.anomaly.foreign import ForeignPictures

RECORD = Preprocessing(width=40, height=32, border=4)


def test_a_foreign_picture_that_is_not_magnified_is_seen_whole_as_the_device_would_see_it(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    file = tmp_path / "below" / "a.png"
    cv2.imwrite(str(file), np.random.default_rng(1).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    drawn = ForeignPictures.of(tmp_path, RECORD).draw(np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, preprocess.apply(preprocess.decode(file), RECORD).tensor[0])


def test_without_a_folder_textures_are_drawn_and_the_seed_alone_decides_which() -> None:
    one, other = (ForeignPictures.of(None, RECORD, magnified=m) for m in (1, 2))
    for pictures in (one, other):
        drawn = [pictures.draw(np.random.default_rng(seed)) for seed in (3, 3, 4)]
        assert [d.shape for d in drawn] == [(32, 40, 3)] * 3
        np.testing.assert_array_equal(drawn[0], drawn[1])
        assert (drawn[0] != drawn[2]).any()


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(BadInput, match="there are no pictures in it"):
        ForeignPictures.of(tmp_path, RECORD)


def test_grey_is_the_rounded_luma_in_all_three_channels() -> None:
    picture = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [7, 7, 7]]], np.uint8)
    assert grey(picture)[0, :, 0].tolist() == [76, 150, 29, 7]
    assert (grey(picture) == grey(picture)[..., :1]).all()
    np.testing.assert_allclose(luma(picture), [[76.245, 149.685, 29.07, 7.0]], rtol=1e-6)


def test_a_foreign_picture_is_read_by_the_bundles_bit_depth(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((32, 32), 2000, np.uint16))
    twelve = ForeignPictures.of(tmp_path, Preprocessing(width=16, height=16, bit_depth=12))
    assert abs(int(twelve.draw(np.random.default_rng(0)).mean()) - 2000 * 255 // 4095) <= 2
