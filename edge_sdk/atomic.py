"""Atomic writes: a file appears whole or not at all. Written beside its target, flushed, renamed. Knows no format."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edge_sdk import locks
from edge_sdk.errors import CantWrite
from edge_sdk.shown import shortened

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def writing(path: Path, *, mode: int | None = None) -> Iterator[tuple[BinaryIO, Path]]:
    """An open file and its temporary path; when the block ends without an exception, it is at `path`, durably.

    On any exception, and after a kill at any point, `path` is what it was. The temporary file is removed at once, or,
    after a kill, by the next write to the same path. mode: permissions, None = as the umask says.
    Raises CantWrite: full disk, missing folder, no permission.
    """
    real = Path(os.path.realpath(path))  # a link to a bundle stays a link
    with _os_errors(path):
        _sweep(real)
        file, temporary = _beside(real, private=mode is not None)
    try:
        with _os_errors(path):
            if mode is not None:
                temporary.chmod(mode)
            yield file, temporary
            file.flush()
            os.fsync(file.fileno())
            file.close()
            os.replace(temporary, real)
            _sync_folder(real.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            file.close()  # closing flushes once more, and flushing to a full disk fails once more
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def folder(path: Path) -> Path:
    """Make `path` if it is missing, and check that it takes a file: before the work whose result goes there.

    Raises CantWrite.
    """
    with _os_errors(path):
        if path.exists() and not path.is_dir():
            raise CantWrite("this is a file, not a folder", where=str(path), hint="Name another folder")
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".{secrets.token_hex(4)}.probe"
        probe.write_bytes(b"")
        probe.unlink()
    return path


def write(path: Path, data: bytes | str, *, mode: int | None = None) -> None:
    """Write `data` to `path`, durably; on any error the old file stays. Text is UTF-8. mode, raises: as `writing`."""
    with writing(path, mode=mode) as (file, _):
        file.write(data.encode("utf-8") if isinstance(data, str) else data)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock for rewriting `path` between processes: a second one waits for the first.

    On a file system without locks it logs a warning that nothing is locked.
    """
    if sys.platform == "win32":  # no lock survives a rename there; rewriting twice at once is the caller's to avoid
        yield
        return
    while True:
        with _os_errors(path):
            file = os.fdopen(os.open(path, os.O_RDONLY), "rb")
        with file:
            with _os_errors(path):
                if (problem := _lock(file)) is not None:
                    locks.no_locks(path, problem, "don't change this file from two processes at once")
                current = _is_at(file, path)  # else it was replaced while we waited
            if current:
                yield
                return


_MOST_KEPT = 100
"""Bytes of a target's name in the name of its temporary file. File systems end names at 255 bytes, encrypted ones at
143: with all of its name in front, a file whose name is nearly as long as that could be read and never written."""
_BINARY: int = getattr(os, "O_BINARY", 0)


def _beside(real: Path, *, private: bool) -> tuple[BinaryIO, Path]:
    """A new, locked, empty file in the folder of `real`. private: nobody else can open it before it gets its mode."""
    mode = 0o600 if private else 0o666
    while True:
        temporary = real.with_name(f"{_prefix(real)}.{secrets.token_hex(4)}.part")
        file = os.fdopen(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, mode), "w+b")
        _lock(file)
        if _is_at(file, temporary):  # else another writer swept it away before it was locked
            return file, temporary
        file.close()


def _prefix(real: Path) -> str:
    """How the temporary files of `real` begin. Two long names may share it: a live writer's file is locked, so that
    sweeping for the one never takes the other's."""
    name = os.fsencode(real.name)
    kept = real.name if len(name) <= _MOST_KEPT else name[:_MOST_KEPT].decode("utf-8", "ignore")
    return f".{kept}"


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            hint = "Free some space and write again; the file that was there is untouched"
            raise CantWrite(
                "the disk is full, or a limit on file sizes is reached", where=str(path), hint=hint
            ) from exc
        if exc.errno == errno.ENAMETOOLONG:
            raise CantWrite("the name is too long", where=shortened(path), hint="Give a shorter name") from exc
        hint = "Check the folder and its permissions"
        raise CantWrite(f"can't be written: {exc.strerror or exc}", where=str(path), hint=hint) from exc


def _sweep(real: Path) -> None:
    """Remove the files that killed writers left. A live writer holds a lock; the kernel drops it on a kill."""
    if sys.platform == "win32":
        return
    for left in real.parent.glob(f"{_escaped(_prefix(real))}.????????.part"):
        with contextlib.suppress(OSError), open(left, "rb") as file:
            if locks.take(file):
                left.unlink()


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "[*?" else letter for letter in name)


def _lock(file: BinaryIO) -> OSError | None:
    """Wait for the lock of `file`. Returns the error of a file system without locks: writing there is still atomic."""
    if sys.platform == "win32":  # a locked byte can't be read through another handle, and a writer reads its file back
        return None
    try:
        locks.take(file, patience_s=math.inf)
    except OSError as exc:
        return exc
    return None


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":  # folders can't be opened there; the rename itself is journalled
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
