"""Files of tensors: what is written comes back, what fails is said in one way, and the old file stays till the end."""

from __future__ import annotations

import os
import re
import stat
import sys
import zipfile
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


def test_a_folder_in_place_of_a_file_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not what was trained: this is a folder"):
        opened(tmp_path)
    for name in ("a.safetensors", "a.pth"):
        (folder := tmp_path / name).mkdir()
        with pytest.raises(BadInput, match="this is a folder"):
            tensors_file.weights_of(folder)


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


@pytest.mark.parametrize(
    "text", ["# Weights\n\nSee below.\n", '{"weights": "a.pth"}', "<html>404</html>", "cos\nsystem\n"]
)
def test_a_text_file_is_no_pickled_module(tmp_path: Path, text: str) -> None:
    path = tmp_path / "weights.pth"
    path.write_text(text, "utf-8")
    with pytest.raises(BadInput, match="not a PyTorch file"):
        tensors_file.weights_of(path)


NO_STATE_DICTS: dict[str, tuple[object, str]] = {
    "key": ({1: torch.zeros(2)}, "its key 1 is an int, not a str"),
    "key of bytes": ({"model": {b"a": torch.zeros(2)}}, "its key b'a' is a bytes, not a str"),
    "number": ({"a": torch.zeros(2), "b": 0.5}, "b is a float, not a tensor"),
    "none": ({"a": None}, "a is None, not a tensor"),
    "nested": ({"net": {"a": torch.zeros(2)}}, "net is a dict, not a tensor"),
    "list": ([torch.zeros(2)], "it is a list"),
    "tensor": (torch.zeros(2), "it is a Tensor"),
    "nothing": (None, "it is None"),
    "meta": ({"a": torch.zeros(2, device="meta")}, "a is no dense tensor with values"),
    "sparse": ({"a": torch.eye(3).to_sparse()}, "a is no dense tensor with values"),
    "hostile name": ({"\x1b[2J": 1}, r"\x1b[2J is an int, not a tensor"),
}


@pytest.mark.parametrize("what", NO_STATE_DICTS)
@pytest.mark.filterwarnings("ignore:.*[Ss]parse")
def test_what_is_no_state_dict_is_refused_with_its_key(what: str, tmp_path: Path) -> None:
    held, said = NO_STATE_DICTS[what]
    path = tmp_path / "weights.pth"
    torch.save(held, path)
    with pytest.raises(BadInput, match=re.escape(f"{path}: the file holds no state dict: {said}")) as caught:
        tensors_file.weights_of(path)
    assert caught.value.hint


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_with_other_bytes_in_it_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "weights.pth"
    if not path.exists():
        torch.save({"a": torch.zeros(2, 3), "b": torch.ones(1)}, tmp_path / "good.pth")
    content = bytearray((tmp_path / "good.pth").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        found = tensors_file.weights_of(path)
    except BadInput:
        return
    assert all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in found.items())


WANTED = {"a": torch.zeros(2, 3), "count": torch.tensor(0), "scale": torch.zeros(())}
MISFITS: dict[str, tuple[dict[str, torch.Tensor | None], str]] = {
    "missing": ({"a": None}, "a is missing"),
    "unknown": ({"other\n": torch.zeros(1)}, r"other\x0a is not known"),
    "shape": ({"a": torch.zeros(3, 2)}, "a has the shape (3, 2), not (2, 3)"),
    "no axes": ({"a": torch.zeros(())}, "a has the shape (), not (2, 3)"),
    "an axis too many": ({"scale": torch.zeros(1)}, "scale has the shape (1,), not ()"),
    "whole numbers": ({"a": torch.zeros(2, 3, dtype=torch.int64)}, "a holds int64, not floats"),
    "bool": ({"a": torch.zeros(2, 3, dtype=torch.bool)}, "a holds bool, not floats"),
    "complex": ({"a": torch.zeros(2, 3, dtype=torch.complex64)}, "a holds complex64, not floats"),
    "eight bits": ({"a": torch.zeros(2, 3).to(torch.float8_e4m3fn)}, "a holds float8_e4m3fn, not floats"),
    "floats": ({"count": torch.tensor(0.5)}, "count holds float32, not whole numbers"),
    "NaN": ({"a": torch.full((2, 3), torch.nan)}, "a holds NaN or infinity"),
    "infinity": ({"scale": torch.tensor(-torch.inf).half()}, "scale holds NaN or infinity"),
}


@pytest.mark.parametrize("pickled", [b"\x80\x02K\x01Q.", b"\x80\x02)Q.", b"\x80\x02NQ."])
def test_a_storage_that_is_named_by_no_tuple_is_refused(tmp_path: Path, pickled: bytes) -> None:
    torch.save(TENSORS, whole := tmp_path / "a.pth")
    path = tmp_path / "b.pth"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            new.writestr(entry, pickled if entry.filename.endswith("data.pkl") else old.read(entry))
    with pytest.raises(BadInput):
        tensors_file.weights_of(path)


@pytest.mark.parametrize("what", MISFITS)
def test_weights_that_are_not_the_networks_are_named(what: str) -> None:
    changed, said = MISFITS[what]
    found = {name: tensor for name, tensor in (WANTED | changed).items() if tensor is not None}
    assert tensors_file.misfit(found, WANTED) == said


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_of_any_width_fit(kind: torch.dtype) -> None:
    found = {name: t.to(kind) if t.is_floating_point() else t.to(torch.int32) for name, t in WANTED.items()}
    assert tensors_file.misfit(found, WANTED) == ""


def taken_apart(path: Path) -> object:
    """As a reader does it that trusts what it wrote."""
    with tensors_file.opened(path, kind="test/1", what="not a model", hint="Train again") as file:
        encoder = dict(file.described["layout"]["encoder"].items())
        return encoder.get("depth", [0])[0], 32 // int(encoder.get("side", 1)), file.tensors["a"].shape[0]


@pytest.mark.parametrize(
    "described",
    [
        {"layout": ["no", "object"]},
        {"layout": 7},
        {"layout": {"encoder": None}},
        {"layout": {"encoder": {"kind": "vit", "depth": []}}},
        {"layout": {"encoder": {"side": 0}}},
        {"layout": {"encoder": {"side": 1e400}}},
    ],
)
def test_whatever_its_reader_stumbles_over_is_the_files_fault(described: dict[str, object], tmp_path: Path) -> None:
    """Items of what is no mapping, a place in an empty list, a division by 0, an int of infinity."""
    path = tmp_path / "x.safetensors"
    tensors_file.write(path, {"a": torch.zeros(())}, kind="test/1", described=described)
    with pytest.raises(BadInput, match=r"x\.safetensors: not a model"):
        taken_apart(path)


def test_a_description_that_is_nested_too_deep_is_no_kind(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    save_file(TENSORS | {"b": torch.zeros(1)}, path, {tensors_file.DESCRIPTION: "[" * 100_000})
    assert tensors_file.kind_of(path) == ""
    with pytest.raises(BadInput, match="not what was trained"):
        opened(path)
