"""Pictures that a generator learns from: folders and ZIP files, classes, sizes, and what is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import KINDS, folder_of, zip_of

from edge_sdk.errors import BadInput
from edge_sdk.export.tasks.generation.data import read


def test_subfolders_are_classes(tmp_path: Path) -> None:
    data = read(folder_of(tmp_path / "data"), size=None)
    assert (data.pictures.shape, data.names) == ((60, 8, 8, 1), KINDS)
    assert data.labels is not None
    assert np.bincount(data.labels).tolist() == [30, 30]
    assert data.shares.tolist() == [0.5, 0.5]
    lying = data.pictures[data.labels == 0].astype(float)
    assert lying.mean(axis=(2, 3)).std() > 3 * lying.mean(axis=(1, 3)).std()  # rows differ, columns don't


def test_a_zip_file_is_the_folder_in_it(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data")
    data = read(folder, size=None)
    for below in ("", "cifar"):
        found = read(zip_of(folder, tmp_path / f"{below or 'x'}.zip", below=below), size=None)
        assert found.digest == data.digest
        assert found.names == data.names


def test_without_subfolders_there_are_no_classes(tmp_path: Path) -> None:
    data = read(folder_of(tmp_path / "data", classes=False), size=None)
    assert (data.labels, data.names, data.shares.shape) == (None, (), (0,))


def test_colour_stays_and_sizes_are_scaled(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data", classes=False)
    cv2.imwrite(str(folder / "colour.png"), np.random.default_rng(0).integers(0, 256, (30, 20, 3)).astype(np.uint8))
    data = read(folder, size=16)
    assert data.pictures.shape == (61, 16, 16, 3)


def test_what_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data")
    (folder / "lying" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    data = read(folder, size=None)
    assert len(data.pictures) == 60
    assert "cut.png" in data.left_out[0]


def equal(folder: Path) -> None:
    for file in folder.rglob("*.png"):
        cv2.imwrite(str(file), np.full((8, 8), 90, np.uint8))


def one(folder: Path) -> None:
    for file in sorted(folder.rglob("*.png"))[1:]:
        file.unlink()


def mixed(folder: Path) -> None:
    cv2.imwrite(str(folder / "stray.png"), np.zeros((8, 8), np.uint8))


def another_size(folder: Path) -> None:
    cv2.imwrite(str(folder / "lying" / "large.png"), np.zeros((9, 9), np.uint8))


def not_square(folder: Path) -> None:
    for file in folder.rglob("*.png"):
        cv2.imwrite(str(file), np.random.default_rng(0).integers(0, 256, (8, 10)).astype(np.uint8))


def flat(folder: Path) -> None:
    for number, file in enumerate(folder.rglob("*.png")):
        picture = np.full((8, 8), 90, np.uint8)
        picture[0, 0] += number == 0
        cv2.imwrite(str(file), picture)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (equal, "pictures are equal"), (one, "1 picture can't teach"), (mixed, "some beside them"),
        (another_size, "is not 8 x 8 px as those before it"), (not_square, "10 x 8 px is not square"),
        (flat, "hardly differ from one colour"),
    ],
)  # fmt: skip
def test_pictures_that_teach_nothing_are_refused(change: object, said: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "data")
    change(folder)  # type: ignore[operator]
    with pytest.raises(BadInput, match=said):
        read(folder, size=None)


def test_files_that_are_no_archive_are_refused(tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(BadInput, match="no ZIP file"):
        read(tmp_path / "no.zip", size=None)
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("note.txt", "hello")
    with pytest.raises(BadInput, match="no pictures in it"):
        read(tmp_path / "empty.zip", size=None)
    with pytest.raises(BadInput, match="does not exist"):
        read(tmp_path / "nowhere.zip", size=None)
