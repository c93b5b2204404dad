"""Runs a command to its end and says how long it took and how much memory it had at most. Knows no benchmark."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


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
    """Starts `command` in `folder` and waits for it. POSIX alone: the memory is what the system counted."""
    with tempfile.TemporaryFile() as said:
        start = time.monotonic()
        process = subprocess.Popen(
            [str(one) for one in command], cwd=folder, env={**os.environ, **(environment or {})}, stdout=said,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - start
        said.seek(0)
        output = said.read().decode(errors="replace")
    return Ran(
        code=process.returncode, seconds=seconds, cpu_seconds=used.ru_utime + used.ru_stime,
        peak_mib=used.ru_maxrss / 1024, output=output,
    )  # fmt: skip
