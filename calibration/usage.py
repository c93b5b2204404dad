"""Time and memory of one step, as this process sees them. Knows no graph."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(slots=True, kw_only=True)
class Usage:
    """seconds: wall time. peak_bytes: the largest resident size of the whole process during the step, None where the
    system does not tell (it is Linux's VmHWM)."""

    seconds: float = 0.0
    peak_bytes: int | None = None


@contextmanager
def measured() -> Iterator[Usage]:
    """Fills in what it yields at the end of the block, also of one that raises. Blocks must not overlap in time: the
    high-water mark is the process's."""
    usage, before, known = Usage(), time.monotonic(), _forget_peak()
    try:
        yield usage
    finally:
        usage.seconds, usage.peak_bytes = time.monotonic() - before, _peak() if known else None


def _forget_peak() -> bool:
    """Set the high-water mark back to what is resident now."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _peak() -> int | None:
    line = next((line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")), "")
    return int(line.split()[1]) * 1024 if line else None
