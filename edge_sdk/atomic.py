"""A file appears whole or not at all: written beside its place, flushed to disk, renamed. Knows no format."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edge_sdk.errors import CantWrite

if sys.platform != "win32":
    import fcntl

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(path: Path, *, mode: int | None = None) -> Iterator[tuple[BinaryIO, Path]]:
    """An open file and its temporary path; on leaving without an exception it stands at `path`, durably.

    On any exception, and after a kill at any point, `path` is what it was. The temporary file is removed at once, or,
    after a kill, by the next write to the same path. mode: permissions, None = as the umask says.
    Raises CantWrite: full disk, missing folder, no permission.
    """
    real = Path(os.path.realpath(path))  # a link to a bundle stays a link
    with _told(path):
        _sweep(real)
        file, temporary = _beside(real)
    try:
        with _told(path):
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
    """`path`, made if it was not there, and proven to take a file: before the work whose result goes there.

    Raises CantWrite.
    """
    with _told(path):
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".{secrets.token_hex(4)}.probe"
        probe.write_bytes(b"")
        probe.unlink()
    return path


def write(path: Path, data: bytes | str, *, mode: int | None = None) -> None:
    """`data` stands at `path`, durably, or what was there stays; text as UTF-8. mode, raises: as `replacing`."""
    with replacing(path, mode=mode) as (file, _):
        file.write(data.encode("utf-8") if isinstance(data, str) else data)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Inside, no other process that also asks is rewriting `path`: the second to come waits for the first."""
    if sys.platform == "win32":  # no lock survives a rename there; rewriting twice at once is the caller's to avoid
        yield
        return
    while True:
        with _told(path):
            file = os.fdopen(os.open(path, os.O_RDONLY), "rb")
        with file:
            with _told(path):
                _lock(file)
                current = _is_at(file, path)  # else it was replaced while we waited
            if current:
                yield
                return


_BINARY: int = getattr(os, "O_BINARY", 0)


def _beside(real: Path) -> tuple[BinaryIO, Path]:
    """A new, locked, empty file in the folder of `real`."""
    while True:
        temporary = real.with_name(f".{real.name}.{secrets.token_hex(4)}.part")
        file = os.fdopen(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o666), "w+b")
        _lock(file)
        if _is_at(file, temporary):  # else another writer swept it away before it was locked
            return file, temporary
        file.close()


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            do = "Free some space and write again; the file that was there is untouched"
            raise CantWrite("the disk is full, or a limit on file sizes is reached", where=str(path), do=do) from exc
        do = "Check the folder and its permissions"
        raise CantWrite(f"can't be written: {exc.strerror or exc}", where=str(path), do=do) from exc


def _sweep(real: Path) -> None:
    """Removes what killed writers left. A living writer holds a lock on its file, which the kernel drops on a kill."""
    if sys.platform == "win32":
        return
    for left in real.parent.glob(f".{_escaped(real.name)}.????????.part"):
        with contextlib.suppress(OSError), open(left, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "[*?" else letter for letter in name)


def _lock(file: BinaryIO) -> None:
    if sys.platform != "win32":
        with contextlib.suppress(OSError):  # some network folders have no locks: writing there is still atomic
            fcntl.flock(file, fcntl.LOCK_EX)


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":  # folders can't be opened there; the rename itself is journalled
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
