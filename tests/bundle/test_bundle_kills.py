"""A full disk, a limit, a kill: the old file or the new one, never a damaged one, and nothing left behind."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_bundle import write_tiny

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


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CantWrite, match=r"none/x\.edge: can't be written: No such file"):
        write_tiny(tmp_path / "none" / "x.edge")


def test_a_new_file_has_the_permissions_that_the_umask_gives(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_tiny(tmp_path / "x.edge").close()
    finally:
        os.umask(old)
    assert (tmp_path / "x.edge").stat().st_mode & 0o777 == 0o640


KILLED = """
import os, signal, sys
from pathlib import Path
from tiny_bundle import KEY, decision, write_tiny
from edge_sdk.bundle.store import append_decision

path, verb = Path(sys.argv[1]), sys.argv[2]
files = tuple(os.path.join("edge_sdk", *name.split()) for name in ("atomic.py", "bundle store.py", "bundle layout.py"))
steps = "writing _beside _lock _is_at _os_errors _sync_folder exclusive".split()
steps += "_written write _prove _copy _add_site copy add finish".split()

def traced(code):
    return code.co_name in steps and code.co_filename.endswith(files)

def act():
    write_tiny(path, decisions=3) if verb == "write" else append_decision(path, decision(5.0), key=KEY)

def dies_at(line):
    "True if the process was killed at the line-th line of a step; False if it came to its end before."
    pid = os.fork()
    if pid == 0:
        left = [line]
        def each(frame, event, arg):
            if event == "line":
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
            return each
        sys.settrace(lambda frame, event, arg: each if traced(frame.f_code) else None)
        act()
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0, status
    return os.WIFSIGNALED(status)

write_tiny(path, decisions=2).close()
before = path.read_bytes()
act()
after = path.read_bytes()
assert before != after
path.write_bytes(before)
old = new = left = 0
line = 1
while dies_at(line):
    now = path.read_bytes()
    assert now in (before, after), f"killed at line {line}: the file is damaged"
    old, new = old + (now == before), new + (now == after)
    left += len(os.listdir(path.parent)) > 1
    path.write_bytes(before)
    line += 1
act()
assert os.listdir(path.parent) == [path.name], os.listdir(path.parent)
print(old, new, left, line)
"""


@pytest.mark.parametrize("verb", ["write", "append"])
def test_killed_at_any_line_the_file_is_the_old_or_the_new_one_and_what_was_left_is_swept(
    verb: str, tmp_path: Path
) -> None:
    process = child(KILLED, str(tmp_path / "line3.edge"), verb)
    assert process.stdout is not None
    said = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 0
    old, new, left, _ = map(int, said.split())
    assert old > 20  # kills that left the old file
    assert new > 0  # kills behind the rename
    assert left > 0  # kills that left a temporary file, which the next write swept away


def test_the_limit_of_this_process_is_untouched() -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
