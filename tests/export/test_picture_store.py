"""Each picture is decoded once for a training and its bundle, whatever asks for it, and the bits are the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from xs_parts import folder_of_parts, part

from edge_sdk import grouping, preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadInput
from edge_sdk.export.anomaly.augment import Augmentation, view
from edge_sdk.export.pictures.store import PictureStore

RECORD = Preprocessing(width=32, height=48)
ROOMS = {"in memory": (2**20, 0), "in the file": (0, 2**20), "nowhere": (0, 0)}

# Whoever decodes a file opens it, and the interpreter tells of every file that is opened.
COUNTED = """
import os, sys
from collections import Counter
parts, out, *words = sys.argv[1:]
opened = Counter()
def count(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[0].endswith(".png"):
        opened[os.path.relpath(arguments[0], parts)] += 1
sys.addaudithook(count)
from functools import partial
from edge_sdk.cli import main
from edge_sdk.export.efficientad.xs import train
train.FloatGraph = partial(train.FloatGraph, variants=("int8",))  # all variants read what this one reads
command = ["train", "efficientad", parts, "--out", out, "--steps", "2", "--threads", "1", *words]
try:
    main.run(command)
except SystemExit as left:
    assert not left.code, left.code
print(sorted(opened.items()))
"""


@pytest.mark.parametrize("words", [["--width", "64", "--height", "64", "--any-orientation"]], ids=["xs"])
def test_a_training_and_its_bundle_open_each_picture_once(words: list[str], tmp_path: Path) -> None:
    """Read, learned from under augmentation, map quantiles, scores, calibration, threshold, golden samples, metrics."""
    parts = folder_of_parts(tmp_path / "parts")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COUNTED, str(parts), str(tmp_path / "x.edge"), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    pictures = sorted(file.relative_to(parts).as_posix() for file in parts.rglob("*.png"))
    assert done.stdout.splitlines()[-1] == str([(name, 1) for name in pictures])


def store_of(room: str, folder: Path) -> PictureStore:
    memory, file = ROOMS[room]
    return PictureStore(memory_bytes=memory, file_bytes=file, scratch=folder / "not there yet")


def picture(folder: Path, *, side: int = 96) -> Path:
    path = folder / "p.png"
    cv2.imwrite(str(path), part(np.random.default_rng(3), side=side))
    return path


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("side", [40, 96, 300])
def test_wherever_it_is_kept_a_picture_is_what_the_device_sees(room: str, side: int, tmp_path: Path) -> None:
    path, store = picture(tmp_path, side=side), store_of(room, tmp_path)
    assert store.take(path, RECORD, source=True) == (grouping.content(path), "")
    want = preprocess.apply(preprocess.decode(path), RECORD)
    for _ in range(2):
        found = store.prepared(path, RECORD)
        np.testing.assert_array_equal(found.tensor, want.tensor)
        assert found.geometry == want.geometry
        found.tensor[:] = 0  # the caller's own
    assert os.listdir(tmp_path) == ["p.png"]


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("side", [40, 96, 300])
@pytest.mark.parametrize("how", [Augmentation(any_orientation=True), Augmentation(scale=0.1, shift=0.1, light=0.2)])
def test_a_view_is_the_same_as_of_the_whole_picture(room: str, side: int, how: Augmentation, tmp_path: Path) -> None:
    path, store = picture(tmp_path, side=side), store_of(room, tmp_path)
    store.take(path, RECORD, source=True)
    whole = preprocess.read_rgb8(path, bit_depth=16)
    for seed in range(4):
        kept, want = (
            view(rgb, RECORD, how, np.random.default_rng(seed)) for rgb in (store.source(path, RECORD), whole)
        )
        np.testing.assert_array_equal(kept, want)


@pytest.mark.parametrize("room", ["in memory", "in the file"])
def test_what_was_kept_needs_no_file_any_more(room: str, tmp_path: Path) -> None:
    path, store = picture(tmp_path), store_of(room, tmp_path)
    store.take(path, RECORD, source=True)
    want = store.tensor(path, RECORD), store.source(path, RECORD)
    path.unlink()
    np.testing.assert_array_equal(store.tensor(path, RECORD), want[0])
    np.testing.assert_array_equal(store.source(path, RECORD), want[1])
    with pytest.raises(BadInput, match="can't read it"):
        store.tensor(path, Preprocessing(width=16, height=16))


def test_a_picture_that_was_never_taken_is_decoded_when_it_is_asked_for_and_kept(tmp_path: Path) -> None:
    path, store = picture(tmp_path), store_of("in memory", tmp_path)
    first = store.tensor(path, RECORD)
    np.testing.assert_array_equal(store.source(path, RECORD), preprocess.read_rgb8(path, bit_depth=16))
    path.unlink()
    np.testing.assert_array_equal(store.tensor(path, RECORD), first)


def test_a_file_that_is_no_picture_is_reported_and_one_beyond_the_bit_depth_is_refused(tmp_path: Path) -> None:
    store = PictureStore()
    (tmp_path / "no.png").write_bytes(b"not a picture")
    content, problem = store.take(tmp_path / "no.png", RECORD)
    assert (content, bool(problem)) == ("", True)
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((40, 40), 5000, np.uint16))
    twelve = Preprocessing(width=32, height=32, bit_depth=12)
    with pytest.raises(BadInput, match="5000 does not fit the bundle's bit depth of 12"):
        store.take(tmp_path / "deep.png", twelve)
