"""Locks between processes, released by the system when their holder dies, however it dies. Knows no file's content.

filelock's lock on an open descriptor (flock, LockFileEx) is the one mechanism for all. Its `FileLock` is not used: it
locks by a path, and a file that is replaced by a rename (atomic.py) needs the lock on the file behind the name; it may
fall back to a marker file, which outlives a killed holder.
The file of a lock stays: removing it would let two holders lock two files of the same name.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edge_sdk.errors import BadUsage, CantWrite

log = logging.getLogger(__name__)

_POLL_S = 0.02


@contextmanager
def exclusive(folder: Path, *, what: str, hint: str) -> Iterator[None]:
    """Hold the lock for `what` in `folder` between processes. It does not wait.

    Raises BadUsage that names the process which holds it, with `hint`; CantWrite. On a file system without locks it
    logs a warning that nothing is locked.
    """
    path = folder / f"{what}.lock"
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except OSError as exc:
        raise CantWrite(
            f"can't be written: {exc.strerror or exc}", where=str(path), hint="Check the folder and its permissions"
        ) from exc
    with file:
        try:
            free = take(file)
        except OSError as exc:
            no_locks(folder, exc, f"don't start a second {what} here")
            yield
            return
        file.seek(1)  # Windows locks the first byte, which others then can't read
        if not free:
            pid = file.read().decode("ascii", "replace").strip()
            raise BadUsage(f"another {what} works here: process {pid or 'unknown'}", where=str(folder), hint=hint)
        file.write(f"{os.getpid()}\n".encode())
        file.truncate()
        file.flush()
        try:
            yield
        finally:
            release(file)


def take(file: BinaryIO, *, patience_s: float = 0.0) -> bool:
    """Lock the open `file` until it is released or closed. False: another process held it for all of `patience_s`.

    Raises OSError where the file system has no locks.
    """
    from filelock import lock_descriptor  # imported on use: 13 to 18 ms (2 cores, Python 3.11)

    deadline = time.monotonic() + patience_s
    while not lock_descriptor(file.fileno(), blocking=False):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def release(file: BinaryIO) -> None:
    """Release the lock at once, even where a forked child still has the file open."""
    from filelock import unlock_descriptor

    unlock_descriptor(file.fileno())


def no_locks(place: Path, problem: OSError, advice: str) -> None:
    """Log that the file system of `place` has no locks, and what to do about it."""
    log.warning("%s: this file system has no locks (%s): %s", place, problem, advice)
