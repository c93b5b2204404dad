"""The one way to write a file: whole or not at all, and who writes that way."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_sdk import atomic
from edge_sdk.atomic import writing
from edge_sdk.errors import CantWrite
from edge_sdk.profiling.report import Samples
from edge_sdk.runtimes.cache import CacheKey, CompileCache

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from record import write_record  # noqa: E402


def test_a_full_device_is_named(tmp_path: Path) -> None:
    def write() -> None:
        with writing(tmp_path / "x.edge"), open("/dev/full", "wb", buffering=0) as full:
            full.write(b"no room")  # the error of a real full disk

    with pytest.raises(CantWrite, match=r"x\.edge: the disk is full"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.edge"
    path.write_bytes(b"old")

    def write() -> None:
        with writing(path) as (file, _):
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_bytes() == b"old"
    assert [left.name for left in tmp_path.iterdir()] == ["x.edge"]


def test_a_living_writer_is_not_swept_away(tmp_path: Path) -> None:
    path = tmp_path / "x[1].edge"  # letters that a glob would take for its own
    with writing(path) as (file, temporary):
        with writing(path) as (second, _):
            second.write(b"second")
        assert temporary.exists()
        file.write(b"first")
    assert path.read_bytes() == b"first"


def test_what_a_killed_writer_left_is_swept_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "x[1].edge"
    (tmp_path / ".x[1].edge.0badcafe.part").write_bytes(b"half")
    (tmp_path / ".other.edge.0badcafe.part").write_bytes(b"not ours")
    with writing(path) as (file, _):
        file.write(b"whole")
    assert sorted(left.name for left in tmp_path.iterdir()) == [".other.edge.0badcafe.part", "x[1].edge"]


@pytest.mark.parametrize("name", ["x" * 250 + ".edge", "ü" * 125 + ".edge", "x" * 110 + ".edge"])
def test_a_file_whose_name_can_be_can_be_written_and_what_a_killed_writer_of_it_left_is_swept(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")
    with writing(path) as (_, temporary):
        left = temporary.with_name(temporary.name[: -len("0badcafe.part")] + "0badcafe.part")
    assert path.read_bytes() == b""
    left.write_bytes(b"half")
    atomic.write(path, b"new")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [(name, b"new")]


def test_a_name_that_no_file_can_have_is_called_too_long_and_shown_in_part(tmp_path: Path) -> None:
    for write in (lambda path: atomic.write(path, b""), atomic.folder):
        with pytest.raises(
            CantWrite, match=r"^[^:]*\.\.\.x*: the name is too long\. Give a shorter name\.$"
        ) as refused:
            write(tmp_path / ("x" * 5000))
        assert len(str(refused.value)) < 400
    assert list(tmp_path.iterdir()) == []


def test_text_and_bytes_are_written_as_they_are_and_a_missing_folder_is_said(tmp_path: Path) -> None:
    atomic.write(tmp_path / "a.txt", "größer\n")
    assert (tmp_path / "a.txt").read_bytes() == "größer\n".encode()
    atomic.write(tmp_path / "a.txt", b"\0\r\n", mode=0o600)
    assert (tmp_path / "a.txt").read_bytes() == b"\0\r\n"
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o600
    with pytest.raises(CantWrite, match="No such file"):
        atomic.write(tmp_path / "absent" / "a.txt", b"")


def _samples(path: Path) -> None:
    Samples(start_ns=[0], total_ns=[1], cpu_ns=[1], stages_ns={}, nivcsw=[], major_faults=[]).write(path)


def _cache_entry(path: Path) -> None:
    key = CacheKey(graph_sha256="0", runtime="any", version="1", device="CPU", cpu="any")
    with CompileCache(path.parent).entry(key) as entry:
        assert entry.payload.name == path.name
        assert entry.write(b"compiled") == ""


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (lambda path: write_record(path, {"ratio": 1.0}, seeds=[0], samples=1), "speed.json"),
        (_samples, "samples.csv"),
        (_cache_entry, "aa7be1a8c6ffbe8ff13839e3c0d3f41cc3039ae1.bin"),
    ],
    ids=["benchmark record", "samples of a profile", "compile cache"],
)
def test_a_file_is_replaced_and_never_written_over(write: Callable[[Path], object], name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("old")
    os.link(path, tmp_path / "kept")
    write(path)
    assert path.read_bytes() != b"old"
    assert (tmp_path / "kept").read_bytes() == b"old"  # written over, this name would show the new bytes too


def test_the_file_is_on_the_disk_before_it_is_renamed_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a power cut may leave the new name on an empty file."""
    flushed: list[tuple[str, str]] = []
    really = os.fsync

    def fsync(handle: int) -> None:
        standing = (tmp_path / "x.edge").read_bytes().decode()
        flushed.append(("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file", standing))
        really(handle)

    (tmp_path / "x.edge").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fsync)
    atomic.write(tmp_path / "x.edge", b"new")
    assert flushed == [("file", "old"), ("folder", "new")]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has access lists, not modes")
def test_nobody_else_can_open_a_private_file_while_it_is_being_written(tmp_path: Path) -> None:
    """Whoever opened it before its mode was set could read the secret that is written afterwards."""
    opened: list[int] = []
    old = os.umask(0)

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.chmod" and str(arguments[0]).startswith(str(tmp_path)):
            opened.append(os.stat(str(arguments[0])).st_mode & 0o777)

    sys.addaudithook(watch)  # stays for the process, and looks at this folder alone
    try:
        atomic.write(tmp_path / "secret", b"s", mode=0o600)
    finally:
        os.umask(old)
    assert opened == [0o600]
