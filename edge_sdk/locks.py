"""Locks between processes, which the system drops when their holder dies, however it dies. Knows no file's content.

The file of a lock stays: removing it would let two holders lock two files of the same name.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_sdk.errors import BadUsage, CantWrite

log = logging.getLogger(__name__)


@contextmanager
def sole(folder: Path, *, what: str, do: str) -> Iterator[None]:
    """Inside, `folder` is this process's alone among those that ask: `what` works there. Nobody is waited for.

    Raises BadUsage that names the other process and says what to `do`; CantWrite. On a file system without locks it is
    said in the log that nothing is held.
    """
    path = folder / f"{what}.lock"
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except OSError as exc:
        raise CantWrite(
            f"can't be written: {exc.strerror or exc}", where=str(path), do="Check the folder and its permissions"
        ) from exc
    with file:
        try:
            free = try_lock(file.fileno())
        except OSError as exc:
            log.warning("%s: this file system has no locks (%s): don't start a second %s here", folder, exc, what)
            yield
            return
        file.seek(1)  # the first byte is what is locked, where locks are of bytes
        if not free:
            pid = file.read().decode("ascii", "replace").strip()
            raise BadUsage(f"another {what} works here: process {pid or 'unknown'}", where=str(folder), do=do)
        file.write(f"{os.getpid()}\n".encode())
        file.truncate()
        file.flush()
        try:
            yield
        finally:
            file.seek(0)
            unlock(file.fileno())


if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int) -> bool:
        """Whether the lock is ours now: of one byte from where the file stands."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Gives it back."""
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Whether the lock is ours now. Raises OSError where the file system has none."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Gives it back."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)
