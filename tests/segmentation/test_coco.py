"""COCO instances that can't be trained on: each is refused before a training, with file, annotation and what to do."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import annotated_folders
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.errors import BadInput
from edge_sdk.export.tasks.segmentation.annotations import CocoSegments, SegmentationData
from edge_sdk.export.tasks.segmentation.options import SegmentationOptions
from edge_sdk.export.tasks.segmentation.reading import read_data
from edge_sdk.tasks.segmentation import rle

TRUTH = np.zeros((60, 80), bool)
TRUTH[10:20, 10:30] = True
RUNS = rle.encode(TRUTH)
POLYGON = [10.0, 10.0, 30.0, 10.0, 30.0, 20.0, 10.0, 20.0]
NAN = float("nan")


def read(folder: Path, **options: Any) -> SegmentationData:
    return read_data(folder, SegmentationOptions(**options))


def written(folder: Path, change: Callable[[Any], Any]) -> Path:
    """One picture a.png of 80 x 60 px with a square, id 3; change: of what the file holds, in place or returned."""
    annotated_folders.coco(folder, [{"id": 3, "segmentation": [POLYGON]}])
    file = folder / "annotations" / "instances_train.json"
    value = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(change(value) or value), "utf-8")
    return folder


def marked(segmentation: Any) -> Callable[[Any], None]:
    """The square's segmentation becomes this one."""
    return lambda coco: coco["annotations"][0].update(segmentation=segmentation)


def stated(**values: Any) -> Callable[[Any], None]:
    """The image states these values."""
    return lambda coco: coco["images"][0].update(values)


def without(which: str, key: str) -> Callable[[Any], None]:
    def change(coco: Any) -> None:
        del coco[which][0][key]

    return change


def twice(which: str, **values: Any) -> Callable[[Any], None]:
    return lambda coco: coco[which].append({**copy.deepcopy(coco[which][0]), **values})


def runs(**values: Any) -> dict[str, Any]:
    return {**RUNS.to_json(), **values}


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        (rle.encode(TRUTH.T).to_json(), "the annotations are of 60 x 80 px, the picture has 80 x 60 px"),
        (rle.encode(TRUTH.T).to_coco(), "the annotations are of 60 x 80 px, the picture has 80 x 60 px"),
        (rle.encode(TRUTH[:40, :50]).to_json(), "the annotations are of 50 x 40 px, the picture has 80 x 60 px"),
        (None, "it has no segmentation"),
        ([], "its segmentation is an empty list"),
        ("abc", 'its segmentation is "abc"'),
        (True, "its segmentation is true"),
        (5, "its segmentation is 5"),
        (POLYGON, "polygon 0 of its segmentation is 10.0, not a list of numbers"),
        ([POLYGON, "abc"], 'polygon 1 of its segmentation is "abc", not a list'),
        ([[]], "polygon 0 of its segmentation has 0 numbers"),
        ([[1, 2, 3, 4]], "polygon 0 of its segmentation has 4 numbers"),
        ([POLYGON[:7]], "polygon 0 of its segmentation has 7 numbers"),
        ([["a", "b", "c", "d", "e", "f"]], 'holds "a", which is not a number'),
        ([[1, 2, 3, 4, 5, True]], "holds true, which is not a number"),
        ([[[1, 2], [3, 4], [5, 6]]], "holds a list, which is not a number"),
        ([[1, 2, 3, 4, 5, None]], "holds null, which is not a number"),
        ([[1, 2, 3, 4, 5, NAN]], "holds the coordinate NaN"),
        ([[1, 2, 3, 4, 5, float("inf")]], "holds the coordinate Infinity"),
        ([[1, 2, 3, 4, 5, 1e300]], "holds the coordinate 1e"),
        ([[1, 2, 3, 4, 5, 10**400]], "holds the coordinate 1000"),
        ([[100, 1, 120, 1, 120, 30]], "lies outside the picture of 80 x 60 px: x from 100 to 120, y from 1 to 30"),
        ({}, 'the run-length encoding has no "size"'),
        ({"size": [60, 80]}, 'the run-length encoding has no "counts"'),
        (runs(size=None), "the run-length encoding can't be read"),
        (runs(size=[60]), "the run-length encoding can't be read"),
        (runs(size=["60", "80"]), "its size holds '60', which is not a whole number"),
        (runs(size=[60.5, 80]), "its size holds 60.5, which is not a whole number"),
        (runs(size=[NAN, 80]), "its size holds nan, which is not a whole number"),
        (runs(size=[10**400, 80]), "the run-length encoding is of 80 x 1000"),
        (runs(counts=None), "its counts are None, neither a list nor a string"),
        (runs(counts={}), "its counts are {}, neither a list nor a string"),
        (runs(counts=[]), "add up to 0 px, not 4800"),
        (runs(counts=[[4800]]), "a value of type list, which is not a number"),
        (runs(counts=["4800"]), "a value of type str, which is not a number"),
        (runs(counts=[4799, True]), "a value of type bool, which is not a number"),
        (runs(counts=[4799.5, 0.5]), "its counts are not only whole numbers"),
        (runs(counts=[4800, NAN]), "its counts are not only whole numbers"),
        (runs(counts=[10**400, 1]), "its counts are not only whole numbers"),
        (runs(counts=[4801, -1]), "a run of a mask of 80 x 60 px has"),
        (runs(counts=[4800, -1, 1]), "a run of a mask of 80 x 60 px has -1 px"),
        (runs(counts=[2**62] * 4 + [4800]), "a run of a mask of 80 x 60 px has 4611686018427387904 px"),
        (runs(counts=RUNS.counts.tolist()[:-1]), "px, not 4800. The encoding is cut"),
        (runs(counts=RUNS.to_coco()["counts"][:-1]), "cut"),
        (runs(counts=RUNS.to_coco()["counts"][:3]), "add up to"),
        (runs(counts=""), "the string of runs is empty, cut"),
        (runs(counts="ü"), "the run-length encoding can't be read"),
    ],
)
def test_a_segmentation_that_is_none_is_refused_and_its_annotation_named(
    tmp_path: Path, segmentation: Any, words: str
) -> None:
    with pytest.raises(BadInput) as caught:
        read(written(tmp_path, marked(segmentation)))
    assert "instances_train.json: annotation 3: " in str(caught.value)
    assert words in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda coco: [coco], "this is not COCO: its top level is a list, not an object"),
        (lambda coco: "abc", 'this is not COCO: its top level is "abc", not an object'),
        (lambda coco: coco.pop("images") and coco, 'this is not COCO: "images" is missing'),
        (lambda coco: coco.pop("annotations") and coco, 'this is not COCO: "annotations" is missing'),
        (lambda coco: coco.update(images=3), 'this is not COCO: "images" is 3, not a list'),
        (lambda coco: coco.update(images={"7": {}}), 'this is not COCO: "images" is an object, not a list'),
        (lambda coco: coco.update(annotations=None), 'this is not COCO: "annotations" is null, not a list'),
        (lambda coco: coco["images"].append(None), 'entry 1 of "images" is null, not an object'),
        (lambda coco: coco["annotations"].append([1]), 'entry 1 of "annotations" is a list, not an object'),
        (without("images", "id"), "image at place 0, without an id: its id is missing"),
        (stated(id=True), "its id is true"),
        (stated(id=[7]), "its id is a list"),
        (stated(id=7.5), "its id is 7.5"),
        (twice("images", file_name="b.png"), "image 7: two images have this id"),
        (without("images", "file_name"), "image 7: its file_name is missing"),
        (stated(file_name=5), "image 7: its file_name is 5"),
        (stated(file_name=None), "image 7: its file_name is null"),
        (stated(file_name=""), 'image 7: its file_name is ""'),
        (stated(file_name=["a.png"]), "image 7: its file_name is a list"),
        (stated(file_name="/etc/hostname"), "image 7: its file_name /etc/hostname leads out of the folder"),
        (stated(file_name="../../../../a.png"), "image 7: its file_name ../../../../a.png leads out of the folder"),
        (without("images", "height"), "image 7: its height is missing"),
        (stated(height="60"), 'image 7: its height is "60"'),
        (stated(width=None), "image 7: its width is null"),
        (stated(width=80.5), "image 7: its width is 80.5"),
        (stated(width=True), "image 7: its width is true"),
        (stated(width=NAN), "image 7: its width is NaN"),
        (stated(width=-80), "image 7: its width is -80"),
        (stated(width=90), "instances_train.json: a.png: the annotations are of 90 x 60 px"),
        (stated(height=80, width=60), "instances_train.json: a.png: the annotations are of 60 x 80 px"),
        (without("annotations", "image_id"), "annotation 3: its image_id is missing"),
        (without("annotations", "segmentation"), "annotation 3: it has no segmentation"),
        (lambda coco: coco["annotations"][0].update(image_id=[7]), "annotation 3: its image_id is a list"),
        (lambda coco: coco["annotations"][0].update(iscrowd="no"), 'annotation 3: its iscrowd is "no"'),
        (lambda coco: coco["annotations"][0].pop("id") and marked("x")(coco), "annotation at place 0, without an id"),
        (twice("images", id=8), "a.png has annotations twice, in"),
    ],
)
def test_a_file_that_is_no_coco_is_refused(tmp_path: Path, change: Callable[[Any], Any], words: str) -> None:
    def changed(coco: Any) -> Any:
        out = change(coco)
        if words.startswith("a.png has"):
            coco["annotations"].append({**coco["annotations"][0], "id": 4, "image_id": 8})
        return out

    with pytest.raises(BadInput) as caught:
        read(written(tmp_path, changed))
    assert words in str(caught.value)
    assert "instances_train.json" in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe\x00", b"\x80abc", b"[" * 100_000, b"9" * 5000, b'{"images": [}', b"\x1b[31m"],
    ids=["empty", "cut", "odd", "no text", "deep", "long", "comma", "control"],
)
def test_a_file_that_is_not_json_is_refused(tmp_path: Path, data: bytes) -> None:
    written(tmp_path, lambda coco: None)
    (tmp_path / "annotations" / "instances_train.json").write_bytes(data)
    with pytest.raises(BadInput, match=r"instances_train.json: this is not (JSON|COCO): .*It has \"images\""):
        read(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(POLYGON),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["size", "counts", "x"]), inner),
    max_leaves=8,
)


@given(value=JSON, place=st.sampled_from(["images", "annotations", "image", "annotation", "entry"]), data=st.data())
def test_whatever_stands_in_a_file_is_read_or_refused_in_a_sentence(
    value: Any, place: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def change(coco: Any) -> None:
        if place in coco:
            coco[place] = value
        elif place == "entry":
            coco[data.draw(st.sampled_from(["images", "annotations"]))].append(value)
        else:
            one = coco[f"{place}s"][0]
            one[data.draw(st.sampled_from(sorted(one)))] = value

    folder = written(tmp_path_factory.mktemp("coco"), change)
    with contextlib.suppress(BadInput):
        for one in read(folder).train:
            assert all(mask.shape == (60, 80) for mask in one.masks(60, 80))


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = written(tmp_path, lambda coco: None) / "annotations" / "instances_train.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    (mask,) = read(tmp_path).train[0].masks(60, 80)
    np.testing.assert_array_equal(mask, TRUTH)


@pytest.mark.parametrize("name", ["../images/a.png", "images/a.png", "{folder}/images/a.png", "./a.png"])
def test_a_file_name_may_say_where_in_the_folder_its_picture_is(tmp_path: Path, name: str) -> None:
    data = read(written(tmp_path, stated(file_name=name.format(folder=tmp_path))), kind="images/(.)")
    assert [(one.part, one.kind) for one in data.train] == [("images/a.png", "a")]


@pytest.mark.parametrize("name", ["gone.png", "x" * 5000, "a\0.png", "images", "\ud800.png"])
def test_a_file_name_of_no_file_is_said_to_be_left_out(tmp_path: Path, name: str) -> None:
    written(tmp_path, lambda coco: twice("images", id=8, file_name=name)(coco))
    assert "1 picture not found" in read(tmp_path).notes[0]


def test_annotations_of_unknown_images_and_pictures_without_one_are_said_to_be_left_out(tmp_path: Path) -> None:
    written(tmp_path, twice("annotations", id=4, image_id=99))
    assert read(tmp_path).notes == (
        "left out: instances_train.json: 1 annotation of images that the file does not list",
    )
    written(tmp_path, lambda coco: coco["annotations"].clear())
    with pytest.raises(BadInput, match=r"no annotated pictures .*1 picture without an annotation \(a.png\)"):
        read(tmp_path)


def test_whole_numbers_with_a_point_and_texts_as_ids_are_read(tmp_path: Path) -> None:
    def change(coco: Any) -> None:
        coco["images"][0].update(height=60.0, width=80.0, id="one")
        coco["annotations"][0].update(image_id="one", iscrowd=False)

    assert len(list(read(written(tmp_path, change)).train[0].masks(60, 80))) == 1


def test_two_files_that_name_the_same_picture_are_refused_and_both_are_named(tmp_path: Path) -> None:
    file = written(tmp_path, lambda coco: None) / "annotations" / "instances_train.json"
    file.with_name("more_train.json").write_bytes(file.read_bytes())
    with pytest.raises(BadInput, match=r"a.png has annotations twice, in .*instances_train.* and in .*more_train"):
        read(tmp_path)


def test_a_size_without_the_turn_of_the_exif_is_refused_before_a_training(tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    written(tmp_path, stated(file_name="a.jpg", height=80, width=60))
    exif = pil.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    rgb, _ = annotated_folders.scene(0)
    pil.fromarray(np.rot90(rgb).copy()).save(tmp_path / "images" / "a.jpg", exif=exif)
    with pytest.raises(BadInput, match=r"the annotations are of 60 x 80 px, .*a.jpg has 80 x 60 px"):
        read(tmp_path)


def test_runs_of_another_size_give_no_mask() -> None:
    one = CocoSegments(segments=(rle.encode(TRUTH.T),), height=60, width=80, content="", where="x.json")
    with pytest.raises(BadInput, match=r"x.json: the annotations are of 60 x 80 px, the picture has 80 x 60 px"):
        list(one.masks(60, 80))
