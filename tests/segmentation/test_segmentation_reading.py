"""Annotated pictures: layouts, what is left out aloud, what is refused, and the masks that come of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import annotated_folders
import cv2
import numpy as np
import pytest

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.tasks.segmentation.annotations import SegmentationData, filled
from edge_sdk.export.tasks.segmentation.options import SegmentationOptions
from edge_sdk.export.tasks.segmentation.reading import read_data
from edge_sdk.tasks.segmentation import rle


def read(folder: Path, **options: Any) -> SegmentationData:
    return read_data(folder, SegmentationOptions(**options))


@pytest.mark.parametrize("home", ["labels", "segmentation"])
def test_label_maps_are_found_by_name_and_give_a_mask_for_each_value(tmp_path: Path, home: str) -> None:
    data = read(annotated_folders.label_maps(tmp_path, home=home), kind="([a-z]+)_")
    assert (len(data.train), len(data.test), data.notes) == (3, 2, ())
    assert [one.kind for one in data.test] == ["flat", "round"]
    rgb, labels = annotated_folders.scene(101)
    np.testing.assert_array_equal(data.test[0].pixels(), rgb)
    masks = list(data.test[0].masks(60, 80))
    for value, mask in enumerate(masks, start=1):
        np.testing.assert_array_equal(mask, labels == value)
    assert len(masks) == 3


def test_several_annotators_of_one_picture_are_several_maps(tmp_path: Path) -> None:
    annotated_folders.label_maps(tmp_path)
    first = tmp_path / "labels" / "test" / "flat_1.png"
    for number in (1, 2, 3):
        shutil.copy(first, first.with_name(f"flat_1_{number}.png"))
    first.unlink()
    picture = read(tmp_path).test[0]
    assert len(picture.annotators) == 3
    assert len(list(picture.masks(60, 80))) == 9


def test_a_label_map_of_16_bits_holds_more_than_255_segments(tmp_path: Path) -> None:
    annotated_folders.label_maps(tmp_path)
    labels = np.arange(60 * 80, dtype=np.uint16).reshape(60, 80) % 300
    annotated_folders.write(tmp_path / "labels" / "train" / "round_0.png", labels)
    assert len(list(read(tmp_path).train[1].masks(60, 80))) == 299


def test_a_label_map_of_another_size_is_refused_and_both_are_named(tmp_path: Path) -> None:
    annotated_folders.label_maps(tmp_path)
    annotated_folders.write(tmp_path / "labels" / "train" / "round_2.png", np.zeros((30, 40), np.uint8))
    with pytest.raises(BadInput) as caught:
        read(tmp_path)
    words = str(caught.value)
    assert "labels/train/round_2.png: the annotations are of 40 x 30 px" in words
    assert "images/train/round_2.png has 80 x 60 px" in words


def test_a_picture_that_is_turned_by_its_exif_fits_the_map_of_what_is_seen(tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    annotated_folders.label_maps(tmp_path)
    (tmp_path / "images" / "train" / "round_0.png").unlink()
    exif = pil.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    rgb, _ = annotated_folders.scene(0)
    pil.fromarray(np.rot90(rgb).copy()).save(tmp_path / "images" / "train" / "round_0.jpg", exif=exif)
    one = next(one for one in read(tmp_path).train if one.path.suffix == ".jpg")
    assert one.pixels().shape == (60, 80, 3)
    assert len(list(one.masks(60, 80))) == 3


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("RGB", "PNG", "a PNG in colour"), ("P", "PNG", "a PNG with a palette"), ("LA", "PNG", "a PNG with alpha"),
        ("RGBA", "PNG", "a PNG in colour with alpha"), ("L", "JPEG", "a JPEG, which changes the numbers"),
        ("L", "WEBP", "a WebP, which changes the numbers"), ("RGB", "BMP", "a picture uint8"),
        ("RGB", "TIFF", "a picture uint8"), ("F", "TIFF", "a picture float32"),
    ],
)  # fmt: skip
def test_a_label_map_that_is_none_is_refused_when_the_folder_is_read(
    tmp_path: Path, mode: str, kind: str, words: str
) -> None:
    """Whatever its name says: else a training would end at the step that first looks at it."""
    pil = pytest.importorskip("PIL.Image")
    annotated_folders.label_maps(tmp_path)
    pil.new("L", (80, 60), 1).convert(mode).save(tmp_path / "labels" / "train" / "round_0.png", kind)
    with pytest.raises(BadInput, match=f"a label map is a grey PNG of 8 or 16 bits, this is {words}"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "TIFF"), ("I;16", "TIFF"), ("I;16", "PNG"), ("L", "BMP"), ("1", "PNG")]
)
def test_a_grey_label_map_of_another_kind_is_read(tmp_path: Path, mode: str, kind: str) -> None:
    pil = pytest.importorskip("PIL.Image")
    annotated_folders.label_maps(tmp_path)
    pil.new(mode, (80, 60), 1).save(tmp_path / "labels" / "train" / "round_0.png", kind)
    one = next(one for one in read(tmp_path).train if one.path.stem == "round_0")
    assert [mask.all() for mask in one.masks(60, 80)] == [True]


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    annotated_folders.label_maps(tmp_path)
    (tmp_path / "labels" / "train" / "round_0.png").rename(tmp_path / "labels" / "train" / "other.png")
    (tmp_path / "images" / "train" / "flat_1.png").write_bytes(b"no picture")
    data = read(tmp_path)
    assert [one.path.name for one in data.train] == ["round_2.png"]
    said = "; ".join(data.notes)
    assert "train: 1 picture without a label map (round_0.png)" in said
    assert "train: 1 label map without a picture (other.png)" in said
    assert "left out: images/train/flat_1.png" in said


def test_copies_of_training_pictures_are_no_test_pictures(tmp_path: Path) -> None:
    annotated_folders.label_maps(tmp_path)
    for home in ("images", "labels"):
        shutil.copy(tmp_path / home / "train" / "round_0.png", tmp_path / home / "test" / "copy_0.png")
    data = read(tmp_path)
    assert len(data.test) == 2
    assert "1 test picture that the training has, too" in data.notes[0]
    by_part = read(tmp_path, group=r"([a-z]+)_\d")
    assert [one.part for one in by_part.test] == []


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("part,file\np1,images/train/round_0.png\np1\n", "line 3 of the table of parts has too few values"),
        ("file,part\na.png\n", "line 2 of the table of parts has too few values"),
        ("file,kind\na.png,b\n", "the table of parts has no column 'part'"),
        ("", "the table of parts has no column 'file'"),
    ],
)
def test_a_table_of_parts_that_is_not_whole_is_refused(tmp_path: Path, table: str, words: str) -> None:
    annotated_folders.label_maps(tmp_path)
    (tmp_path / "parts.csv").write_text(table, "utf-8")
    with pytest.raises(BadInput, match=words):
        read(tmp_path, group="parts.csv:part")


def test_val_is_trained_on_only_where_there_is_a_test(tmp_path: Path) -> None:
    annotated_folders.label_maps(tmp_path)
    for home in ("images", "labels"):
        (tmp_path / home / "val").mkdir()
        annotated_folders.write(tmp_path / home / "val" / "v.png", annotated_folders.scene(50)[home == "labels"])
    assert (len(read(tmp_path).train), len(read(tmp_path).test)) == (4, 2)
    for home in ("images", "labels"):
        shutil.rmtree(tmp_path / home / "test")
    assert (len(read(tmp_path).train), len(read(tmp_path).test)) == (3, 1)


def test_the_digest_is_of_pictures_and_marks_not_of_the_folder(tmp_path: Path) -> None:
    one = read(annotated_folders.label_maps(tmp_path / "a"))
    assert read(annotated_folders.label_maps(tmp_path / "b")).digest == one.digest
    annotated_folders.write(tmp_path / "b" / "labels" / "train" / "round_0.png", np.ones((60, 80), np.uint8))
    assert read(tmp_path / "b").digest != one.digest


SQUARE = [[10.0, 10.0, 30.0, 10.0, 30.0, 20.0, 10.0, 20.0]]


def test_coco_instances_are_polygons_or_runs(tmp_path: Path) -> None:
    truth = np.zeros((60, 80), bool)
    truth[10:20, 10:30] = True
    runs = rle.encode(truth)
    segments = [{"segmentation": one} for one in (SQUARE, runs.to_json(), runs.to_coco())]
    crowd = {"segmentation": runs.to_json(), "iscrowd": 1}
    data = read(annotated_folders.coco(tmp_path, [*segments, crowd]))
    masks = list(data.train[0].masks(60, 80))
    assert len(masks) == 3
    for mask in masks:
        np.testing.assert_array_equal(mask, truth)
    assert data.notes == ("left out: instances_train.json: 1 crowd (iscrowd): not single objects",)


def test_coco_instances_of_another_size_are_refused_and_both_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"instances_train.json: a.png: the annotations are of 90 x 60 px, .*a.png has 80"
    ):
        read(annotated_folders.coco(tmp_path, [{"segmentation": SQUARE}], width=90))


@pytest.mark.parametrize(
    ("prepare", "options", "kind", "words"),
    [
        (lambda folder: folder / "nowhere", {}, BadInput, "Understood: images/train"),
        (lambda folder: folder, {}, BadInput, "there are no annotated pictures in it"),
        (lambda folder: annotated_folders.label_maps(folder, train=0, test=0), {}, BadInput, "there are no annotated"),
        (annotated_folders.label_maps, {"kind": "(("}, BadUsage, r"the pattern of kinds, \(\(, is not a regular"),
        (
            annotated_folders.label_maps,
            {"kind": "square"},
            BadUsage,
            "the pattern of kinds, square, does not fit images/train/flat_1.png",
        ),
    ],
)
def test_folders_that_are_none_are_refused(
    tmp_path: Path, prepare: Callable[[Path], Path], options: dict[str, str], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        read(prepare(tmp_path), **options)


def test_a_polygon_holds_the_pixels_whose_centres_are_inside_it() -> None:
    triangle = filled([[0.0, 0.0, 8.0, 0.0, 0.0, 8.0]], 8, 8)
    ys, xs = np.mgrid[0:8, 0:8]
    np.testing.assert_array_equal(triangle, xs + ys + 1 < 8)
    rng = np.random.default_rng(0)
    angles = np.sort(rng.random(40)) * 2 * np.pi
    points = np.stack([32 + 25 * np.cos(angles), 32 + 20 * np.sin(angles)], axis=1)
    fine = np.zeros((640, 640), np.uint8)
    cv2.fillPoly(fine, [np.rint(points * 10).astype(np.int32)], 1)
    mine = filled([points.ravel().tolist()], 64, 64)
    assert abs(int(mine.sum()) - fine.sum() / 100) < 12
    assert (mine == (fine[5::10, 5::10] == 1)).mean() > 0.995
    with pytest.raises(BadInput, match="a polygon of 4 numbers"):
        filled([[1.0, 2.0, 3.0, 4.0]], 8, 8)
