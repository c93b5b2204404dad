"""Weights in other files: what they claim is measured against the files and the memory before a byte is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from float_nets import classifier

from edge_sdk.errors import BadInput
from edge_sdk.export.models.external import COPIES, free_memory
from edge_sdk.export.models.model import read_model


def outside(folder: Path, **entries: str) -> Path:
    """A model whose weights lie in w.data; entries: what its first tensor says of its own instead."""
    path = folder / "m.onnx"
    onnx.save(classifier(), path, save_as_external_data=True, location="w.data", size_threshold=0)
    model = onnx.load(str(path), load_external_data=False)
    tensor = model.graph.initializer[0]
    for entry in tensor.external_data:
        entry.value = entries.pop(entry.key, entry.value)
    for key, value in entries.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_come_in_as_they_were(tmp_path: Path) -> None:
    found = onnx.load_from_string(read_model(outside(tmp_path)).onnx)
    for got, want in zip(found.graph.initializer, classifier().graph.initializer, strict=True):
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(got), onnx.numpy_helper.to_array(want))


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"length": "12"}, "its tensor w1 has 864 bytes by type and shape, and 12 by what it says"),
        ({"length": "9" * 5000}, "the length of its tensor w1 is '9999"),
        ({"length": "-864"}, "the length of its tensor w1 is '-864', not a number of bytes"),
        ({"offset": "-4"}, "the offset of its tensor w1 is '-4', not a number of bytes"),
        ({"offset": "1e3"}, "the offset of its tensor w1 is '1e3'"),
        ({"offset": "999999999"}, "its tensor w1 is 864 bytes at 999,999,999 of w.data, which has "),
    ],
)
def test_what_a_tensor_claims_of_its_file_is_not_believed(entries: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"m.onnx: {said}"):
        read_model(outside(tmp_path, **entries))


def cut(folder: Path) -> None:
    data = folder / "w.data"
    data.write_bytes(data.read_bytes()[:100])


def replaced(folder: Path) -> None:
    (folder / "w.data").rename(folder / "other.data")
    (folder / "w.data").symlink_to(folder / "other.data")


def pipe(folder: Path) -> None:
    (folder / "w.data").unlink()
    os.mkfifo(folder / "w.data")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (cut, "of w.data, which has 100"), (replaced, "which is not a file in its own folder"),
        (pipe, "which is not there"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_the_whole_one_is_named(change: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    path = outside(tmp_path)
    change(tmp_path)
    with pytest.raises(BadInput, match=f"m.onnx: .*{said}"):
        read_model(path)


def claims(folder: Path, count: int) -> Path:
    """A model of which one weight claims `count` float32 values in a file that is as large, and holds nothing yet."""
    path = folder / "m.onnx"
    model = classifier()
    big = model.graph.initializer.add()
    big.name, big.data_type, big.data_location = "big", onnx.TensorProto.FLOAT, onnx.TensorProto.EXTERNAL
    big.dims.append(count)
    entry = big.external_data.add()
    entry.key, entry.value = "location", "big.data"
    with (folder / "big.data").open("wb") as stream:
        stream.truncate(4 * count)  # a sparse file: no bytes on disk
    path.write_bytes(model.SerializeToString())
    return path


def test_two_gigabytes_on_a_machine_with_too_little_memory_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = claims(tmp_path, 2**29 - 2**20)
    said = r"its weights take 2\.0 GiB, working on them takes 4 times that at least, and this machine has 4\.0 GiB free"
    with pytest.raises(BadInput, match=f"m.onnx: {said}"):
        read_model(path, memory=2**32)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["big.data", "m.onnx"]


def test_more_than_one_graph_can_hold_is_refused_whatever_the_memory(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"one graph holds at most 2,147,483,647. Split the model: one bundle"):
        read_model(claims(tmp_path, 2**29), memory=2**50)


def test_weights_inside_the_file_count_as_well(tmp_path: Path) -> None:
    onnx.save(classifier(), tmp_path / "m.onnx")
    size = (tmp_path / "m.onnx").stat().st_size
    assert read_model(tmp_path / "m.onnx", memory=COPIES * size)
    with pytest.raises(BadInput, match=r"this machine has 0\.0 GiB free"):
        read_model(tmp_path / "m.onnx", memory=COPIES * size - 1)


@pytest.mark.skipif(not Path("/proc/meminfo").is_file(), reason="only Linux says how much memory is free: run it there")
def test_the_free_memory_is_a_part_of_what_the_machine_has() -> None:
    total = int(next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line).split()[1])
    assert 2**20 < free_memory() <= total * 1024
