"""Pictures of a training, each decoded once: as the network takes them, and as augmentation starts from them.

What was prepared is kept in memory up to a bound, and beyond it in one file without a name, which the system removes
with the process. Knows no label, no network and no family.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadInput
from edge_sdk.export.anomaly.augment import shrunk
from edge_sdk.preprocess import Geometry, Prepared

log = logging.getLogger(__name__)

MEMORY_BYTES = 2**30
"""Of prepared pictures: 2,000 of 320 x 320 px with what augmentation needs; more are in the file."""


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """What one decoding left behind. tensor, source: where they are in the spool; source None = it was not wanted."""

    geometry: Geometry
    tensor: _Place
    source: _Place | None


class PictureStore:
    """Prepared pictures by file and preprocessing. Any thread may call any method; arrays are the caller's own.

    memory_bytes: kept in memory. scratch: folder, or one that will be there, near which the file for the rest is made.
    What is asked for and was never taken, or was taken for another preprocessing, is decoded then, and kept.
    """

    def __init__(self, *, memory_bytes: int = MEMORY_BYTES, scratch: Path | None = None) -> None:
        self._spool = _Spool(memory_bytes, scratch)
        self._kept: dict[tuple[Path, Preprocessing], _Kept] = {}
        self._lock = threading.Lock()

    def take(self, path: Path, record: Preprocessing | None, *, source: bool = False) -> tuple[str, str]:
        """Reads and decodes one file and keeps what `record` makes of it: (sha256 of the file in hex, "").

        record: None = not known yet: nothing is kept. source: keep what `source` answers too. A file that can't be
        read or decoded is ("", why). Raises BadInput for one that does not fit `record` (its bit depth).
        """
        try:
            data = _bytes(path)
            pixels = preprocess.decode(data, where=str(path))
        except BadInput as exc:
            return "", str(exc.args[0])
        if record is not None:
            self._keep(path, pixels, record, source=source)
        return hashlib.sha256(data).hexdigest(), ""

    def prepared(self, path: Path, record: Preprocessing) -> Prepared:
        """The picture as the device will see it, and the way back to its pixels. Raises BadInput."""
        kept = self._kept.get((path, record)) or self._made(path, record, source=False)
        return Prepared(self._spool.get(kept.tensor), kept.geometry)

    def tensor(self, path: Path, record: Preprocessing) -> NDArray[np.uint8]:
        """uint8 (height, width, 3): the (first) network input that the picture becomes. Raises BadInput."""
        return np.asarray(self.prepared(path, record).tensor[0])

    def source(self, path: Path, record: Preprocessing) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB: the picture itself, shrunk to twice the network's input if it is larger: what `view`
        starts from. Raises BadInput."""
        kept = self._kept.get((path, record))
        if kept is None or kept.source is None:
            kept = self._made(path, record, source=True)
        assert kept.source is not None
        return self._spool.get(kept.source)

    def _made(self, path: Path, record: Preprocessing, *, source: bool) -> _Kept:
        return self._keep(path, preprocess.decode(path), record, source=source)

    def _keep(self, path: Path, pixels: NDArray[Any], record: Preprocessing, *, source: bool) -> _Kept:
        done = preprocess.apply(pixels, record, where=str(path))
        from_ = None
        if source:
            rgb = preprocess.to_rgb8(pixels, bit_depth=record.bit_depth, where=str(path))
            from_ = self._spool.add(shrunk(rgb, 2 * record.width, 2 * record.height))
        kept = _Kept(done.geometry, self._spool.add(done.tensor), from_)
        with self._lock:
            self._kept[path, record] = kept
        return kept


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise BadInput(
            f"can't read it: {exc.strerror}", where=str(path), do="Check the path and its permissions"
        ) from exc


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """An array in memory, or where it lies in the file."""

    shape: tuple[int, ...]
    array: NDArray[np.uint8] | None = None
    offset: int = -1


class _Spool:
    """uint8 arrays, the first ones in memory, the rest in a file that is mapped when one of them is asked for."""

    def __init__(self, memory_bytes: int, scratch: Path | None) -> None:
        self._left, self._scratch = memory_bytes, scratch
        self._file: BinaryIO | None = None
        self._size = 0
        self._lock = threading.Lock()

    def add(self, array: NDArray[np.uint8]) -> _Place:
        with self._lock:
            if array.nbytes <= self._left:
                self._left -= array.nbytes
                return _Place(array.shape, array.copy())  # a view would keep the whole picture alive
            return self._written(array)

    def get(self, place: _Place) -> NDArray[np.uint8]:
        """A copy."""
        if place.array is not None:
            return place.array.copy()
        assert self._file is not None
        with self._lock:  # mapping moves the file's position, which a writer sets
            mapped = np.memmap(self._file, np.uint8, "r", place.offset, place.shape)
        return np.array(mapped)

    def _written(self, array: NDArray[np.uint8]) -> _Place:
        if self._file is None:
            near = None if self._scratch is None else _nearest(self._scratch)
            self._file = tempfile.TemporaryFile(dir=near, prefix=".edge-sdk-")  # noqa: SIM115: it lives as long as this
            log.info("prepared pictures go on in a file in %s", near or tempfile.gettempdir())
        offset = self._size
        self._file.seek(offset)
        self._file.write(np.ascontiguousarray(array).data)
        self._file.flush()
        self._size += array.nbytes
        return _Place(array.shape, None, offset)


def _nearest(folder: Path) -> Path:
    """`folder`, or the nearest one above it that is there."""
    return next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
