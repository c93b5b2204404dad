"""A full disk, a limit, a kill: the old file or the new one, never a damaged one, and nothing left behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import decision, write_tiny

from edge_sdk.bundle.atomic import replacing
from edge_sdk.bundle.store import Bundle, append_decision
from edge_sdk.errors import CantWrite

HERE = Path(__file__).parent


def child(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=env, stdout=subprocess.PIPE)


FULL_DISK = """
import resource, sys
from pathlib import Path
from tiny_bundle import decision, write_tiny
from edge_sdk.bundle.store import append_decision
from edge_sdk.errors import CantWrite
path, verb, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    write_tiny(path) if verb == "write" else append_decision(path, decision(5.0))
except CantWrite as exc:
    print(exc)
"""


@pytest.mark.parametrize("limit", [0, 1, 4096, 8000])
@pytest.mark.parametrize("verb", ["write", "append"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(verb: str, limit: int, tmp_path: Path) -> None:
    path = tmp_path / "line3.edge"
    write_tiny(path).close()
    before = path.read_bytes()
    assert len(before) > limit
    said = child(FULL_DISK, str(path), verb, str(limit)).communicate(timeout=60)[0].decode()
    assert "line3.edge: the disk is full" in said
    assert "Free some space" in said
    assert path.read_bytes() == before
    assert [left.name for left in tmp_path.iterdir()] == ["line3.edge"]


def test_a_full_device_is_named(tmp_path: Path) -> None:
    def write() -> None:
        with replacing(tmp_path / "x.edge"), open("/dev/full", "wb", buffering=0) as full:
            full.write(b"no room")  # the error of a real full disk

    with pytest.raises(CantWrite, match=r"x\.edge: the disk is full"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CantWrite, match=r"none/x\.edge: can't be written: No such file"):
        write_tiny(tmp_path / "none" / "x.edge")


def test_an_error_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.edge"
    path.write_bytes(b"old")

    def write() -> None:
        with replacing(path) as (file, _):
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_bytes() == b"old"
    assert [left.name for left in tmp_path.iterdir()] == ["x.edge"]


def test_a_new_file_has_the_permissions_that_the_umask_gives(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_tiny(tmp_path / "x.edge").close()
    finally:
        os.umask(old)
    assert (tmp_path / "x.edge").stat().st_mode & 0o777 == 0o640


ENDLESS = """
import sys
from pathlib import Path
from tiny_bundle import decision, write_tiny
from edge_sdk.bundle.store import append_decision
path = Path(sys.argv[1])
print("ready", flush=True)
for number in range(10**6):
    write_tiny(path, decisions=number % 3)
    append_decision(path, decision(float(number)))
"""


def test_killed_at_any_moment_the_file_is_whole_and_what_was_left_is_swept(tmp_path: Path) -> None:
    path = tmp_path / "line3.edge"
    write_tiny(path).close()
    rng = np.random.default_rng(7)
    left = 0
    for _ in range(10):
        process = child(ENDLESS, str(path))
        try:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0.0, 0.08))
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        with Bundle.open(path) as bundle:
            assert bundle.graph("int8.a")
        left += len(list(tmp_path.iterdir())) - 1
    append_decision(path, decision(1.0)).close()
    assert [file.name for file in tmp_path.iterdir()] == ["line3.edge"], f"{left} files had been left by kills"


def test_a_living_writer_is_not_swept_away(tmp_path: Path) -> None:
    path = tmp_path / "x[1].edge"  # letters that a glob would take for its own
    with replacing(path) as (file, temporary):
        with replacing(path) as (second, _):
            second.write(b"second")
        assert temporary.exists()
        file.write(b"first")
    assert path.read_bytes() == b"first"


def test_what_a_killed_writer_left_is_swept_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "x[1].edge"
    (tmp_path / ".x[1].edge.0badcafe.part").write_bytes(b"half")
    (tmp_path / ".other.edge.0badcafe.part").write_bytes(b"not ours")
    with replacing(path) as (file, _):
        file.write(b"whole")
    assert sorted(left.name for left in tmp_path.iterdir()) == [".other.edge.0badcafe.part", "x[1].edge"]


def test_the_limit_of_this_process_is_untouched() -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
