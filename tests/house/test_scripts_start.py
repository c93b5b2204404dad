"""Every script of benchmarks/ and samples/ starts, helps, and writes nothing before its arguments are understood."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path.relative_to(ROOT).as_posix() for name in ("benchmarks", "samples") for path in (ROOT / name).rglob("*.py")
)
SCRIPTS = [name for name in FILES if "__main__" in (ROOT / name).read_text("utf-8")]
START = """
import json, os, runpy, sys, tempfile
import torch, onnx, edge_sdk.export.registry  # once, not in every fork
sys.dont_write_bytecode = True
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
TREE = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "shutil.copyfile")
written = []

def watch(event, arguments):
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES and arguments[0] != os.devnull:
        written.append(f"open {arguments[0]}")
    elif event in TREE:
        written.append(f"{event} {arguments[0]}")

def run(script, words, report):
    sys.argv, sys.path[0] = [script, *words], os.path.dirname(script)
    out = os.open(report + ".out", os.O_WRONLY | os.O_CREAT)
    os.dup2(out, 1), os.dup2(out, 2)
    answers = open(report, "w")
    sys.addaudithook(watch)
    code = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
    except BaseException as exc:
        print(f"{type(exc).__name__}: {exc}")
        code = 99
    sys.stdout.flush(), sys.stderr.flush()
    answers.write(json.dumps([code, written]))
    answers.flush()
    os._exit(0)

scripts, found = json.loads(sys.argv[1]), {}
with tempfile.TemporaryDirectory() as folder:
    for script in scripts:
        for word in ("--help", "--no-such-option"):
            report = os.path.join(folder, "report")
            if (child := os.fork()) == 0:
                run(os.path.abspath(script), [word], report)
            os.waitpid(child, 0)
            code, files = json.load(open(report))
            found[f"{script} {word}"] = [code, files, open(report + ".out", errors="replace").read()]
            os.remove(report), os.remove(report + ".out")
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def started() -> dict[str, tuple[int, list[str], str]]:
    """[exit code, what was written, output] by "script option"; all from one process that has imported torch."""
    call = [sys.executable, "-c", START, json.dumps(SCRIPTS)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    out: dict[str, tuple[int, list[str], str]] = json.loads(done.stdout)
    return out


@pytest.mark.skipif(sys.platform == "win32", reason="the scripts are started by fork: run it on Linux or macOS")
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_helps_and_refuses_what_it_does_not_know_and_writes_nothing(
    script: str, started: dict[str, tuple[int, list[str], str]]
) -> None:
    code, written, out = started[f"{script} --help"]
    assert (code, written) == (0, []), out
    assert out.startswith("usage: ")
    code, written, out = started[f"{script} --no-such-option"]
    assert (code, written) == (2, []), out
    assert "usage: " in out


def test_what_is_no_script_is_imported_by_another_file() -> None:
    texts = {name: (ROOT / name).read_text("utf-8") for name in FILES}
    for name in set(FILES) - set(SCRIPTS):
        others = [text for other, text in texts.items() if other != name]
        assert any(f"import {Path(name).stem}" in text or f"from {Path(name).stem} " in text for text in others), name
