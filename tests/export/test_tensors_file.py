"""Files of tensors: what is written comes back, what fails is said in one way, and the old file stays till the end."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge_sdk.errors import BadInput, CantWrite
from edge_sdk.export import tensors_file

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(4).reshape(2, 2).T}


def opened(path: Path, kind: str = "test/1") -> tuple[dict[str, object], dict[str, torch.Tensor]]:
    with tensors_file.opened(path, kind=kind, what="not what was trained", hint="Train again") as file:
        return dict(file.described), dict(file.tensors)


def test_what_was_written_comes_back_strides_and_all(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors_file.write(path, TENSORS, kind="test/1", described={"words": ["ä", 1, None]})
    described, tensors = opened(path)
    assert described == {"format": "test/1", "words": ["ä", 1, None]}
    assert {name: t.tolist() for name, t in tensors.items()} == {name: t.tolist() for name, t in TENSORS.items()}
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_who_may_read_it_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        tensors_file.write(tmp_path / "x.safetensors", TENSORS)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.safetensors").stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("kind", "keep", "message"),
    [
        ("test/2", 1.0, "its format is test/1, not test/2"),
        ("test/1", 0.5, "header"),
        ("test/1", 0.0, r"x\.safetensors: not what was trained: .+\. Train again\."),
    ],
)
def test_a_file_of_another_kind_or_cut_is_named_with_what_to_do(
    kind: str, keep: float, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    tensors_file.write(path, TENSORS, kind="test/1")
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(BadInput, match=message):
        opened(path, kind)


def test_what_its_reader_misses_in_it_is_named_too(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors_file.write(path, TENSORS, kind="test/1")
    with (
        pytest.raises(BadInput, match=r"not a model: it holds no 'layout'\. Train again"),
        tensors_file.opened(path, kind="test/1", what="not a model", hint="Train again") as file,
    ):
        _ = file.described["layout"]


def test_tensors_alone_are_weights_and_no_file_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors_file.write(path, TENSORS)
    assert set(tensors_file.weights_of(path)) == {"a", "b"}
    with pytest.raises(BadInput, match="not what was trained: it holds no 'edge-sdk'"):
        opened(path)


TENSORS_ON_A_FULL_DISK = """
import torch
from edge_sdk.errors import CantWrite
from edge_sdk.export import tensors_file
tensors_file.write(path, {"a": torch.zeros(10)})
room_for(1000)
with pytest.raises(CantWrite, match="the disk is full"):
    tensors_file.write(path, {"a": torch.zeros(10_000)})
"""


def test_a_full_disk_leaves_the_file_that_was_there(
    on_a_full_disk: Callable[[str, Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    on_a_full_disk(TENSORS_ON_A_FULL_DISK, path)
    assert len(tensors_file.weights_of(path)["a"]) == 10
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_folder_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CantWrite):
        tensors_file.write(tmp_path / "none" / "x.safetensors", TENSORS)


@pytest.mark.parametrize("junk", [b"", b"junk\n", b"h", b"\x80", b"PK\x03\x04", bytes(range(256))])
def test_what_is_no_file_of_weights_is_refused_in_words(tmp_path: Path, junk: bytes) -> None:
    """The reader's own message for junk may be a bare number."""
    path = tmp_path / "junk.pth"
    path.write_bytes(junk)
    with pytest.raises(BadInput, match=r"not a PyTorch file|more than tensors") as caught:
        tensors_file.weights_of(path)
    assert not str(caught.value.args[0]).rstrip().split(": ")[-1].isdigit()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(junk=b"\x80\x00")  # what torch warns of
@given(junk=st.binary(max_size=40))
def test_no_bytes_raise_anything_but_our_error(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "junk.pth"
    path.write_bytes(junk)
    with pytest.raises(BadInput):
        tensors_file.weights_of(path)
