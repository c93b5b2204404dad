"""Runs a command to its end and says how long it took and how much memory it had at most. Knows no benchmark."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LAUNCH = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[2:])
_, status, used = os.wait4(process.pid, 0)
with open(sys.argv[1], "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], file)
"""
"""Starts a command from a process of a few MiB: Linux counts for a new process what its parent had at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A command that ended. code: its exit status, negative where a signal ended it. seconds, cpu_seconds: of the
    process and of those that it started and waited for. peak_mib: of the largest of them. output: both streams."""

    code: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str

    @property
    def last_line(self) -> str:
        """What it said last, "" if nothing."""
        return next((one for one in reversed(self.output.splitlines()) if one.strip()), "")


def run(command: Sequence[str | Path], *, folder: Path, environment: Mapping[str, str] | None = None) -> Ran:
    """Starts `command` in `folder` and waits for it. POSIX alone: the memory is what the system counted. Raises
    FileNotFoundError for a command that is not there."""
    if shutil.which(str(command[0])) is None:
        raise FileNotFoundError(command[0])
    with tempfile.TemporaryDirectory() as kept, (Path(kept) / "said").open("w+b") as said:
        counted = Path(kept) / "counted.json"
        start = time.monotonic()
        launched = [sys.executable, "-I", "-S", "-c", LAUNCH, str(counted), *map(str, command)]
        subprocess.run(
            launched, cwd=folder, env={**os.environ, **(environment or {})}, stdout=said, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        seconds = time.monotonic() - start
        code, cpu_seconds, peak_mib = json.loads(counted.read_text("utf-8"))
        said.seek(0)
        output = said.read().decode(errors="replace")
    return Ran(code=code, seconds=seconds, cpu_seconds=cpu_seconds, peak_mib=peak_mib, output=output)
