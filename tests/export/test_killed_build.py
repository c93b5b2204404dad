"""`edge-sdk train` killed while it calibrates and while it writes: no damaged bundle, and the same command goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from xs_parts import folder_of_parts

from edge_sdk.bundle.store import Bundle
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions

pytestmark = pytest.mark.long

# Moments are found from outside: lines of progress on stderr, and the interpreter's own audit events.
KILLED = """
import os, signal, sys
from functools import partial
import onnx, onnxruntime, torch  # once, not in every fork
from edge_sdk.cli import main
from edge_sdk.export import build, registry
from edge_sdk.export.efficientad.xs import train

train.FloatGraph = partial(train.FloatGraph, variants=("int8",))  # all variants would take half as long again

registry.family("efficientad")
parts, folder = sys.argv[1:]
out = os.path.join(folder, "x.edge")
command = ["train", "efficientad", parts, "--out", out, "--steps", "1", "--threads", "1"]
command += ["--width", "64", "--height", "64"]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class DiesAt:
    encoding = "utf-8"
    def __init__(self, words):
        self.words = words
    def write(self, text):
        if self.words in text:
            die()
    def flush(self):
        pass
    def isatty(self):
        return False

def at_the_rename(event, arguments):
    if event == "os.rename" and os.fspath(arguments[1]) == out:
        die()

def killed(*, words="never written", hook=None):
    "True if the command was killed at that moment; False if it came to its end, and then well."
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stderr = DiesAt(words)
        if hook:
            sys.addaudithook(hook)
        try:
            main.run(command)
        except SystemExit as left:
            os._exit(int(left.code or 0))
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0, status
    return os.WIFSIGNALED(status)

def announce():
    print(*sorted("part" if name.endswith(".part") else name for name in os.listdir(folder)))

assert killed(words="calibration samples")
announce()
assert killed(hook=at_the_rename)
announce()
assert not killed()
announce()
"""


def test_a_build_killed_in_calibration_or_before_its_last_step_leaves_no_bundle_and_the_same_command_makes_one(
    tmp_path: Path,
) -> None:
    parts, folder = folder_of_parts(tmp_path / "parts"), tmp_path / "out"
    folder.mkdir()
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, str(parts), str(folder)],
        env=environ, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    in_calibration, at_the_end, after = done.stdout.splitlines()
    assert in_calibration == "x.run"  # what was trained is kept, nothing else
    assert at_the_end == "part x.run"  # a whole file, under a name that nobody opens
    assert after == "x.edge x.run"  # which the next run swept away
    with Bundle.open(folder / "x.edge") as bundle:
        graphs = {graph.name: bundle.graph(graph.name) for graph in bundle.manifest.graphs}
    assert set(graphs) == {"fp32", "int8.conv-relu-q", "int8.conv-q-relu-q"}
    session = registry.runtime("onnxruntime").compile(graphs["int8.conv-q-relu-q"], CompileOptions(threads=1))
    answer = session.run({"image": np.zeros((1, 64, 64, 3), np.uint8)})
    assert np.isfinite(answer["score"]).all()
