"""Locks between processes: one holder, named to the second, and free again once it is gone, however it went."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_sdk.errors import BadUsage, CantWrite
from edge_sdk.locks import exclusive, release, take

HOLDER = """
import sys
from pathlib import Path
from edge_sdk.locks import exclusive
with exclusive(Path(sys.argv[1]), what="training", hint="Wait"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_with_the_first_one_named_until_that_is_killed(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            with (
                pytest.raises(BadUsage, match=rf"another training works here: process {holder.pid}\. Wait"),
                exclusive(tmp_path, what="training", hint="Wait"),
            ):
                pass
        finally:
            holder.kill()
    with exclusive(tmp_path, what="training", hint="Wait"):
        assert (tmp_path / "training.lock").read_bytes()[1:] == f"{os.getpid()}\n".encode()


def test_an_error_inside_frees_the_lock(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), exclusive(tmp_path, what="training", hint=""):
            raise KeyboardInterrupt


def test_two_kinds_of_work_do_not_meet(tmp_path: Path) -> None:
    with exclusive(tmp_path, what="training", hint=""), exclusive(tmp_path, what="packing", hint=""):
        assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CantWrite, match=r"absent/training\.lock: can't be written"), exclusive(
        tmp_path / "absent", what="training", hint=""
    ):  # fmt: skip
        pass


WITHOUT_LOCKS = """
import logging, sys
sys.modules["fcntl"] = None  # what filelock sees where the system has no such locks: each attempt is an OSError
from pathlib import Path
from edge_sdk import atomic
from edge_sdk.locks import exclusive
from edge_sdk.runtimes.cache import CacheKey, entry_if_usable
logging.basicConfig(stream=sys.stdout, format="%(message)s")
folder = Path(sys.argv[1])
with exclusive(folder, what="training", hint="Wait"):
    print("trained")
atomic.write(folder / "x.edge", b"whole")
with atomic.exclusive(folder / "x.edge"):
    print((folder / "x.edge").read_bytes().decode())
with entry_if_usable(folder / "cache", KEY) as (entry, why):
    print(entry, why)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the locks of Windows don't come from fcntl")
def test_a_system_without_locks_is_said_aloud_and_everything_else_works(tmp_path: Path) -> None:
    code = WITHOUT_LOCKS.replace("KEY", KEY)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    training, trained, bundle, whole, cache = done.stdout.splitlines()
    assert "this file system has no locks" in training
    assert "don't start a second training here" in training
    assert "x.edge: this file system has no locks" in bundle
    assert (trained, whole) == ("trained", "whole")
    assert cache.startswith("None no compile cache: ")


KEY = 'CacheKey(graph_sha256="0", runtime="any", version="1", device="CPU", cpu="any")'


def test_a_lock_is_free_once_released_though_a_forked_child_has_its_file_open(tmp_path: Path) -> None:
    """Workers of a data loader are forked while the training holds its lock."""
    if not hasattr(os, "fork"):
        pytest.skip("only systems that fork")
    read, write = os.pipe()
    with exclusive(tmp_path, what="training", hint=""):
        child = os.fork()
        if not child:
            os.read(read, 1)
            os._exit(0)
    try:
        with exclusive(tmp_path, what="training", hint=""):
            pass
    finally:
        os.write(write, b"x")
        os.waitpid(child, 0)


def test_a_lock_is_waited_for_as_long_as_was_asked(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w+b") as first, (tmp_path / "x").open("r+b") as second:
        assert take(first)
        assert not take(second)
        assert not take(second, patience_s=0.05)
        release(first)
        assert take(second)
