"""The predictor: what a seed draws, however it is asked for, and pictures written into a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_generator

from edge_sdk import Asked, Generator, load_as
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.tasks.generation.folder import MANIFEST, class_folder, draw_into
from edge_sdk.verify import verify

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "classes.edge"
    tiny_generator.write(path).close()
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "plain.edge"
    tiny_generator.write(path, classes=False).close()
    return path


@pytest.fixture(scope="module")
def generator(bundle: Path) -> Iterator[Generator]:
    with load_as(Generator, bundle, runtime="onnxruntime", variant="fp32", threads=1) as made:
        yield made


def test_a_picture_depends_on_its_seed_number_and_class_alone(generator: Generator) -> None:
    batch = generator.generate(7, seed=5)
    assert batch.pixels.shape == (7, 8, 8, 1)
    assert batch.labels == ("bolt", "nut", "washer", "bolt", "nut", "washer", "bolt")
    alone = generator.predict(Asked(seed=5, index=4, label=1))
    assert np.array_equal(alone.pixels, batch[4].pixels)
    later = generator.generate(3, seed=5, first=4)
    assert np.array_equal(later.pixels, batch.pixels[4:])
    assert not np.array_equal(generator.generate(7, seed=6).pixels, batch.pixels)
    parts = np.concatenate([part.pixels for part in generator.stream(7, seed=5, rows=3)])
    assert np.array_equal(parts, batch.pixels)


def test_more_than_one_call_of_the_graph_takes_is_drawn_in_several(generator: Generator) -> None:
    many = generator.generate(150, seed=1, labels="nut")
    assert set(many.labels) == {"nut"}
    assert np.array_equal(many.pixels[149], generator.generate(1, seed=1, first=149, labels=1).pixels[0])


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("variant", ["fp32", "fp16", "int8-w7"])
def test_every_runtime_draws_the_same_picture(generator: Generator, bundle: Path, runtime: str, variant: str) -> None:
    wanted = generator.generate(12, seed=3).pixels.astype(int)
    with load_as(Generator, bundle, runtime=runtime, variant=variant, threads=1) as other:
        found = other.generate(12, seed=3).pixels.astype(int)
    most = {"fp32": 1, "fp16": 3}.get(variant, 40)
    assert np.abs(found - wanted).max() <= most
    assert wanted.std() > 10


def test_without_classes_no_label_is_taken(plain: Path) -> None:
    with load_as(Generator, plain, runtime="onnxruntime", threads=1) as made:
        assert made.generate(2).labels == ()
        with pytest.raises(BadInput, match="no classes"):
            made.generate(2, labels=0)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "7", True, None])
def test_a_seed_that_is_no_uint64_is_refused(generator: Generator, seed: object) -> None:
    with pytest.raises(BadInput, match="no seed"):
        generator.generate(1, seed=seed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("labels", "said"),
    [(3, "no class"), (-1, "no class"), ("screw", "no class"), ([0, 1], "2 labels for 3 pictures"), (True, "no class")],
)
def test_labels_that_are_not_there_are_refused(generator: Generator, labels: object, said: str) -> None:
    with pytest.raises((BadInput, BadUsage), match=said):
        generator.generate(3, labels=labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, -3, 1.5, True])
def test_a_number_of_pictures_is_one_or_more(generator: Generator, count: object) -> None:
    with pytest.raises(BadUsage, match="1 or more"):
        generator.generate(count)  # type: ignore[arg-type]


def test_the_grid_holds_every_picture(generator: Generator) -> None:
    batch = generator.generate(5, seed=2)
    sheet = batch.grid(columns=3)
    assert sheet.shape == (2 * 8 + 2, 3 * 8 + 4)
    assert np.array_equal(sheet[10:18, 10:18], batch[4].pixels)
    assert (sheet[10:18, 20:] == 255).all()  # where no picture is


def test_the_bundle_verifies(bundle: Path) -> None:
    report = verify(bundle, runtimes=["onnxruntime", "openvino"])
    assert report.passed, report.text()


def test_pictures_are_written_with_a_manifest_by_class(generator: Generator, tmp_path: Path) -> None:
    written = draw_into(tmp_path / "out", generator, 70, seed=9)
    assert (written.count, written.already) == (70, 0)
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text("utf-8"))
    assert (manifest["complete"], manifest["bundle"], manifest["seed"]) == (True, generator.bundle.digest, 9)
    assert [one["file"] for one in manifest["pictures"]][:4] == [
        "bolt/000000.png", "nut/000001.png", "washer/000002.png", "bolt/000003.png",
    ]  # fmt: skip
    batch = generator.generate(70, seed=9)
    stored = cv2.imread(str(tmp_path / "out" / "nut" / "000067.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(stored, batch[67].pixels)


def test_the_same_call_goes_on_where_it_was_stopped(generator: Generator, tmp_path: Path) -> None:
    out = tmp_path / "out"
    draw_into(out, generator, 70, seed=9)
    manifest = json.loads((out / MANIFEST).read_text("utf-8"))
    pictures = manifest.pop("pictures")
    (out / MANIFEST).write_text(json.dumps(manifest | {"complete": False}))
    for one in pictures[60:]:
        (out / one["file"]).unlink()
    written = draw_into(out, generator, 70, seed=9)
    assert (written.count, written.already) == (70, 60)
    assert json.loads((out / MANIFEST).read_text("utf-8"))["pictures"] == pictures


@pytest.mark.parametrize("change", [{"seed": 10}, {"n": 71}, {"labels": 1}, {"first": 1}])
def test_other_pictures_are_not_mixed_into_a_folder(
    generator: Generator, tmp_path: Path, change: dict[str, int]
) -> None:
    draw_into(tmp_path, generator, 70, seed=9)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadUsage, match="holds other files"):
        draw_into(tmp_path, generator, **{"n": 70, "seed": 9, **change})  # type: ignore[arg-type]
    assert sorted(tmp_path.rglob("*")) == before
    draw_into(tmp_path, generator, **{"n": 70, "seed": 9, **change}, overwrite=True)  # type: ignore[arg-type]


FULL = """
from edge_sdk import Generator, load_as
from edge_sdk.errors import CantWrite
from edge_sdk.tasks.generation import folder
import sys
written = []
write = folder.atomic.write
def counted(place, data, **how):
    if len(written) == 40:
        room_for(1)  # the disk is full in the middle of a batch
    write(place, data, **how)
    written.append(place)
folder.atomic.write = counted
with load_as(Generator, path, runtime="onnxruntime", variant="fp32", threads=1) as made:
    with pytest.raises(CantWrite):
        folder.draw_into(path.parent / "out", made, 64)
"""


def test_a_full_disk_leaves_whole_pictures(
    bundle: Path, tmp_path: Path, on_a_full_disk: Callable[[str, Path], None]
) -> None:
    path = tmp_path / "x.edge"
    path.write_bytes(bundle.read_bytes())
    on_a_full_disk(FULL, path)
    there = sorted((tmp_path / "out").rglob("*.png"))
    assert len(there) == 39  # the manifest came first
    assert all(cv2.imread(str(one), cv2.IMREAD_UNCHANGED).shape == (8, 8) for one in there)
    assert not json.loads((tmp_path / "out" / MANIFEST).read_text("utf-8"))["complete"]
    assert [one.name for one in (tmp_path / "out").iterdir() if one.name.startswith(".")] == []
    with load_as(Generator, path, runtime="onnxruntime", variant="fp32", threads=1) as made:
        assert draw_into(tmp_path / "out", made, 64).already == 39


def test_names_that_are_no_file_names_become_numbers() -> None:
    names = ("a", "A", "ok", "x/y", "..", "café", "end.")
    assert [class_folder(names, at) for at in range(len(names))] == [
        "class-0", "class-1", "ok", "class-3", "class-4", "class-5", "class-6",
    ]  # fmt: skip
