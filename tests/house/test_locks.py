"""Locks between processes: one holder, named to the second, and free again once it is gone, however it went."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_sdk.errors import BadUsage, CantWrite
from edge_sdk.locks import sole

HOLDER = """
import sys
from pathlib import Path
from edge_sdk.locks import sole
with sole(Path(sys.argv[1]), what="training", do="Wait"):
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
                sole(tmp_path, what="training", do="Wait"),
            ):
                pass
        finally:
            holder.kill()
    with sole(tmp_path, what="training", do="Wait"):
        assert (tmp_path / "training.lock").read_bytes()[1:] == f"{os.getpid()}\n".encode()


def test_an_error_inside_frees_the_lock(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), sole(tmp_path, what="training", do=""):
            raise KeyboardInterrupt


def test_two_kinds_of_work_do_not_meet(tmp_path: Path) -> None:
    with sole(tmp_path, what="training", do=""), sole(tmp_path, what="packing", do=""):
        assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CantWrite, match=r"absent/training\.lock: can't be written"), sole(
        tmp_path / "absent", what="training", do=""
    ):  # fmt: skip
        pass
