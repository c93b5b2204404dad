"""An environment of its own for packages of others: it sees what is installed here, and everything runs offline."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edge_sdk

PRODUCT = Path(edge_sdk.__file__).resolve().parents[1]

OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--disable-pip-version-check")
VERBS = """
import contextlib, io, json, sys
from edge_sdk.cli.main import run
said = []
for words in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run(words)
        except SystemExit as exc:
            code = exc.code
    said.append([code, out.getvalue(), err.getvalue()])
json.dump(said, sys.stdout)
"""
"""Several command lines in one process: what starts one, imports, takes longer than most of them."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one command line answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Site:
    """An environment with the package in it. folder: where its programs work."""

    python: Path
    folder: Path

    def run(self, *words: str, given: str = "", path: Sequence[Path] = ()) -> subprocess.CompletedProcess[str]:
        """Its Python with `words`. path: folders before all others."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment["XDG_CACHE_HOME"] = str(self.folder / "cache")
        if path:
            environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
        call = [str(self.python), *words]
        return subprocess.run(
            call, input=given, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=240,
            check=False,
        )  # fmt: skip

    def verbs(self, *lines: Sequence[str], path: Sequence[Path] = ()) -> list[Said]:
        """What `edge-sdk` answers to each line."""
        done = self.run("-c", VERBS, given=json.dumps([list(line) for line in lines]), path=path)
        assert done.returncode == 0, done.stderr
        return [Said(*one) for one in json.loads(done.stdout)]

    def install(self, *sources: Path) -> None:
        """Packages from folders, which stay as they are: what a build leaves, it leaves in a copy."""
        with tempfile.TemporaryDirectory() as copies:
            places = [
                shutil.copytree(source, Path(copies, source.name), ignore=shutil.ignore_patterns("__pycache__"))
                for source in sources
            ]
            done = self.run("-m", "pip", "install", "--quiet", "--no-compile", *OFFLINE, *map(str, places))
            assert done.returncode == 0, done.stderr


def environment(folder: Path) -> Site:
    """A new one below `folder`. The product is the one that was imported here."""
    work = folder / "work"
    work.mkdir()
    venv.create(folder / "venv", with_pip=False, symlinks=os.name != "nt")
    made = Site(python=folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python", folder=work)
    packages = Path(made.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    ours = [path for path in sys.path if path.endswith("-packages")]
    lines = [str(PRODUCT), *(f"import site; site.addsitedir({path!r})" for path in ours)]
    (packages / "of_the_suite.pth").write_text("\n".join(lines))
    return made
