"""Pictures that every family of anomaly detectors shares: foreign ones as calibration sees them, grey."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.anomaly.augment import Augmentation, view
from edge_sdk.export.anomaly.colour import grey, luma
from edge_sdk.export.anomaly.data import Picture
from edge_sdk.export.anomaly.foreign import ForeignPictures
from edge_sdk.export.anomaly.samples import AnomalySamples
from edge_sdk.export.pictures.store import PictureStore

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


TILES = Preprocessing(width=16, height=16, mode="tiles")


@pytest.mark.parametrize(
    "use",
    [
        lambda path, record: PictureStore().tensor(path, record),
        lambda path, record: ForeignPictures.of(None, record),
        lambda path, record: view(preprocess.decode(path), record, Augmentation(), np.random.default_rng(0)),
        lambda path, record: samples(path, record),
    ],
    ids=["store", "foreign", "view", "samples"],
)
def test_where_one_network_input_a_picture_is_taken_tiles_are_refused(
    use: Callable[[Path, Preprocessing], object], tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    with pytest.raises(BadUsage, match="with the mode tiles a picture becomes several network inputs"):
        use(path, TILES)
    use(path, RECORD)
    assert len(PictureStore().prepared(path, TILES).tensor) == 9  # as the hint says: all of them


def samples(path: Path, record: Preprocessing, *, input: str = "image") -> AnomalySamples:
    """Calibration samples of one good picture, damaged too, and one foreign."""
    one = (Picture(path=path, part="a"),)
    return AnomalySamples(
        input=input, good=one, damaged=one, foreign=1, folder=None, record=record, seed=0, store=PictureStore()
    )


def test_calibration_samples_are_fed_under_the_name_of_the_graphs_input(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((40, 40, 3), np.uint8))
    feeds = list(samples(path, RECORD, input="pixels"))
    assert [[*one] for one in feeds] == [["pixels"]] * 3
    assert {one["pixels"].shape for one in feeds} == {(1, 32, 40, 3)}


def test_a_url_in_the_place_of_a_foreign_picture_is_called_one() -> None:
    with pytest.raises(BadInput, match="this is a URL"):
        PictureStore().prepared(Path("https://example.com/a.png"), RECORD)
