"""Compiled graphs kept on disk: keyed, locked, checked before use. Knows no vendor: an entry is bytes with a sidecar.

One entry is `<digest>.bin` with `<digest>.json` beside it, which repeats the whole key and the payload's size and
sha256. An entry that does not match exactly (cut, altered, of another machine or version) is refused, logged and built
again. The folder keeps at most KEPT_BYTES; the least recently used entry is removed first. Entries are executable code
in effect, so the folder must belong to this user alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_sdk import atomic, locks
from edge_sdk.errors import CantWrite, NotThere, NotTrusted

log = logging.getLogger(__name__)

KEPT_BYTES = 2**30
"""Of all payloads in one folder, 1 GiB: about thirty compiled graphs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheKey:
    """Everything that decides the compiled form. device: identity, not just a name. cpu: flags and instruction-set cap.
    options: (name, value) pairs, sorted by the caller or not: the digest sorts them."""

    graph_sha256: str
    runtime: str
    version: str
    device: str
    cpu: str
    options: tuple[tuple[str, str], ...] = ()

    def fields(self) -> dict[str, Any]:
        """The key as the sidecar keeps it."""
        return {**asdict(self), "options": [list(pair) for pair in sorted(self.options)]}

    @property
    def digest(self) -> str:
        """The name of the entry: 40 hex digits of the key's sha256."""
        return hashlib.sha256(json.dumps(self.fields(), sort_keys=True).encode()).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry while its lock is held (see CompileCache.entry)."""

    key: CacheKey
    folder: Path
    kept_bytes: int

    @property
    def payload(self) -> Path:
        """The file of the bytes; it may be missing."""
        return self.folder / f"{self.key.digest}.bin"

    @property
    def sidecar(self) -> Path:
        """The file of the record about them."""
        return self.folder / f"{self.key.digest}.json"

    def read(self) -> bytes | None:
        """The payload, complete and of this key; None if there is none. An invalid one is removed and logged."""
        try:
            record, data = json.loads(self.sidecar.read_bytes()), self.payload.read_bytes()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:
            return self._refuse(f"unreadable ({exc})")
        if not isinstance(record, dict) or record.get("key") != self.key.fields():
            return self._refuse("made for another graph, version, device or option")
        if record.get("size_bytes") != len(data) or record.get("sha256") != hashlib.sha256(data).hexdigest():
            return self._refuse("cut or altered")
        with suppress(OSError):  # a folder that may only be read
            os.utime(self.payload)  # used now
        return data

    def write(self, data: bytes) -> str:
        """Store `data`. Returns "", or why it was not stored: a full disk must not stop a run that needs no cache."""
        record = {
            "key": self.key.fields(),
            "size_bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "created_unix_s": int(time.time()),
        }
        try:
            self.sidecar.unlink(missing_ok=True)  # never an old sidecar beside a new payload
            atomic.write(self.payload, data, mode=0o600)
            atomic.write(self.sidecar, json.dumps(record, indent=1, sort_keys=True), mode=0o600)
        except CantWrite as exc:
            return f"the compiled graph was not kept in {self.folder}: {exc.args[0]}"
        except OSError as exc:
            return f"the compiled graph was not kept in {self.folder}: {exc.strerror or exc}"
        _shrink(self.folder, self.kept_bytes, but=self.payload)
        return ""

    def discard(self, why: str) -> None:
        """Remove the entry: its own runtime did not take it."""
        self._refuse(why)

    def _refuse(self, why: str) -> bytes | None:
        log.warning("compile cache: %s is %s; it is built again", self.payload, why)
        for file in (self.sidecar, self.payload):
            with suppress(OSError):
                file.unlink(missing_ok=True)
        return None


def _shrink(folder: Path, most_bytes: int, *, but: Path) -> None:
    """Remove entries other than `but`, least recently used first, until the rest fits. A process that is about to read
    one of them finds it missing, and builds it again."""
    found = []
    for path in folder.glob("*.bin"):
        with suppress(OSError):  # gone since
            status = path.stat()
            found.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most_bytes:
            return
        if path != but:
            with suppress(OSError):
                path.with_suffix(".json").unlink(missing_ok=True)
                path.unlink(missing_ok=True)
                total -= size


class CompileCache:
    """Entries in one folder. Safe between threads and processes on one machine; not on network file systems
    without locks. Raises as `own_folder`."""

    def __init__(self, folder: Path, *, patience_s: float = 120.0, kept_bytes: int = KEPT_BYTES) -> None:
        """patience_s: how long to wait for another process that is building the same entry. kept_bytes: of payloads."""
        self._folder, self._patience_s, self._kept_bytes = folder, patience_s, kept_bytes
        own_folder(folder)

    @property
    def folder(self) -> Path:
        """Where the entries lie."""
        return self._folder

    @contextmanager
    def entry(self, key: CacheKey) -> Iterator[Entry]:
        """The entry of `key`, locked until the block ends, to read it or to build and write it."""
        with _lock(self._folder / f"{key.digest}.lock", self._patience_s):
            yield Entry(key, self._folder, self._kept_bytes)


def own_folder(folder: Path) -> None:
    """Check that only this user can write to `folder`; make it if it is missing.

    Raises NotThere if it can't be made, NotTrusted if its owner is another, or its group or others may write there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
    except OSError as exc:
        raise NotThere(
            f"the compile cache can't be made: {exc.strerror or exc}", where=str(folder), hint="Choose another folder"
        ) from exc
    if sys.platform == "win32":  # a profile's folder is the user's own by its access list
        return
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise NotTrusted(
            "other users can write to the compile cache, and its content is executed", where=str(folder),
            hint=f"Own it and close it: chmod go-w {folder}, or choose another folder",
        )  # fmt: skip


@contextmanager
def entry_if_usable(folder: Path, key: CacheKey) -> Iterator[tuple[Entry | None, str]]:
    """(entry, ""), locked until the block ends, or (None, why not): on a read-only or shared disk graphs are compiled
    each time: slower, with the same results."""
    with ExitStack() as stack:
        entry: Entry | None = None
        why_not = ""
        try:
            entry = stack.enter_context(CompileCache(folder).entry(key))
        except (NotThere, NotTrusted, OSError) as exc:
            why_not = f"no compile cache: {exc}"
        yield entry, why_not


def default_cache_folder() -> Path:
    """The user's own cache folder by the rules of the system: XDG, LOCALAPPDATA, or ~/Library/Caches.

    Raises NotThere where neither the environment nor the user database names a home.
    """
    from platformdirs import user_cache_path  # 6 to 18 ms (2 cores, Python 3.11), when a graph is compiled

    try:
        return user_cache_path("edge-sdk", appauthor=False, opinion=False) / "compiled"
    except RuntimeError as exc:
        raise NotThere(
            "this user has no home folder for the compile cache",
            hint="Set XDG_CACHE_HOME to a folder of this user's own",
        ) from exc


@contextmanager
def _lock(path: Path, patience_s: float) -> Iterator[None]:
    """An exclusive lock on `path` between processes and threads; its file stays."""
    with path.open("ab") as file:
        if not locks.take(file, patience_s=patience_s):
            raise NotThere(
                f"another process holds this entry for more than {patience_s:g} s",
                where=str(path),
                hint="Wait for it, end it, or choose another cache folder",
            )
        try:
            yield
        finally:
            locks.release(file)
