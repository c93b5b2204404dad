"""Pictures of a training, each decoded once: as the network takes them, and as augmentation starts from them.

What was prepared is kept in memory up to a bound, and beyond it in one file without a name, which the system removes
with the process. Knows no label, no network and no family.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge_sdk import plain_file, preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadInput
from edge_sdk.export.pictures.one_input import require_one_input
from edge_sdk.preprocess import Geometry, Prepared

log = logging.getLogger(__name__)

MEMORY_BYTES = 2**30
"""Of prepared pictures: 700 of 320 x 320 px with what augmentation needs; more are in the file."""
FILE_BYTES = 2**34
"""Of that file, and never more than half of what is free there; beyond it a picture is decoded whenever it is asked
for."""


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """What one decoding left behind. tensor, source: where they are in the spool; None = not wanted, or no room."""

    geometry: Geometry
    tensor: _Place | None
    source: _Place | None


class PictureStore:
    """Prepared pictures by file and preprocessing. Any thread may call any method; arrays are the caller's own.

    memory_bytes: kept in memory. file_bytes: kept in the file for the rest. scratch: folder, or one that will be there,
    near which that file is made.
    What is asked for and was never taken, or was taken for another preprocessing, is decoded then, and kept.
    """

    def __init__(
        self, *, memory_bytes: int = MEMORY_BYTES, file_bytes: int = FILE_BYTES, scratch: Path | None = None
    ) -> None:
        self._spool = _Spool(memory_bytes, file_bytes, scratch)
        self._kept: dict[tuple[Path, Preprocessing], _Kept] = {}
        self._lock = threading.Lock()

    def take(self, path: Path, record: Preprocessing | None, *, source: bool = False) -> tuple[str, str]:
        """Reads and decodes one file and keeps what `record` makes of it: (sha256 of the file in hex, "").

        record: None = not known yet: nothing is kept. source: keep what `source` answers too. A file that can't be
        read or decoded is ("", why). Raises BadInput for one that does not fit `record` (its bit depth).
        """
        try:
            data = plain_file.read(path, what="a picture")
            pixels = preprocess.decode(data, where=str(path))
        except BadInput as exc:
            return "", str(exc.args[0])
        if record is not None:
            self._keep(path, pixels, record, source=source)
        return hashlib.sha256(data).hexdigest(), ""

    def prepared(self, path: Path, record: Preprocessing) -> Prepared:
        """The picture as the device will see it, and the way back to its pixels. Raises BadInput."""
        kept = self._kept.get((path, record))
        if kept is not None and kept.tensor is not None:
            return Prepared(self._spool.get(kept.tensor), kept.geometry)
        pixels = preprocess.decode(path)
        self._keep(path, pixels, record, source=False)
        return preprocess.apply(pixels, record, where=str(path))

    def tensor(self, path: Path, record: Preprocessing) -> NDArray[np.uint8]:
        """uint8 (height, width, 3): the network input that the picture becomes. Raises BadInput; BadUsage for tiles,
        which are several."""
        require_one_input(record)
        return np.asarray(self.prepared(path, record).tensor[0])

    def source(self, path: Path, record: Preprocessing) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB: the picture itself, shrunk to twice the network's input if it is larger: what `view`
        starts from. Raises BadInput."""
        kept = self._kept.get((path, record))
        if kept is not None and kept.source is not None:
            return self._spool.get(kept.source)
        pixels = preprocess.decode(path)
        self._keep(path, pixels, record, source=True)
        return _source(path, pixels, record)

    def _keep(self, path: Path, pixels: NDArray[Any], record: Preprocessing, *, source: bool) -> None:
        with self._lock:
            kept = self._kept.get((path, record))
        done = preprocess.apply(pixels, record, where=str(path))
        tensor = kept.tensor if kept is not None else self._spool.add(done.tensor)
        from_ = kept.source if kept is not None else None
        if source and from_ is None:
            from_ = self._spool.add(_source(path, pixels, record))
        with self._lock:
            self._kept[path, record] = _Kept(done.geometry, tensor, from_)


def shrunk(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The picture, brought down to cover width x height px if it is larger both ways; once more changes nothing."""
    h, w = picture.shape[:2]
    factor = max(width / w, height / h)
    return preprocess.resize(picture, round(w * factor), round(h * factor)) if factor < 1.0 else picture


def _source(path: Path, pixels: NDArray[Any], record: Preprocessing) -> NDArray[np.uint8]:
    rgb = preprocess.to_rgb8(pixels, bit_depth=record.bit_depth, where=str(path))
    return shrunk(rgb, 2 * record.width, 2 * record.height)


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """An array in memory, or where it lies in the file."""

    shape: tuple[int, ...]
    array: NDArray[np.uint8] | None = None
    offset: int = -1


class _Spool:
    """uint8 arrays, the first ones in memory, the rest in a file that is mapped when one of them is asked for."""

    def __init__(self, memory_bytes: int, file_bytes: int, scratch: Path | None) -> None:
        self._left, self._most, self._scratch = memory_bytes, file_bytes, scratch
        self._file: BinaryIO | None = None
        self._size = 0
        self._lock = threading.Lock()

    def add(self, array: NDArray[np.uint8]) -> _Place | None:
        """None: there is no room for it."""
        with self._lock:
            if array.nbytes <= self._left:
                self._left -= array.nbytes
                return _Place(array.shape, array.copy())  # a view would keep the whole picture alive
            return self._written(array)

    def get(self, place: _Place) -> NDArray[np.uint8]:
        """A copy."""
        if place.array is not None:
            return np.array(place.array, np.uint8)
        assert self._file is not None
        with self._lock:  # mapping moves the file's position, which a writer sets
            mapped = np.memmap(self._file, np.uint8, "r", place.offset, place.shape)
        return np.array(mapped, np.uint8)

    def _written(self, array: NDArray[np.uint8]) -> _Place | None:
        try:
            file = self._opened()
            if self._size + array.nbytes > self._most:
                return None
            file.seek(self._size)
            file.write(np.ascontiguousarray(array).data)
            file.flush()
        except OSError as exc:  # full, or not to be written to: then it is decoded again, which is only slower
            self._most = 0
            log.warning("prepared pictures can't be kept in a file: %s", exc)
            return None
        self._size += array.nbytes
        return _Place(array.shape, None, self._size - array.nbytes)

    def _opened(self) -> BinaryIO:
        if self._file is None:
            near = Path(tempfile.gettempdir()) if self._scratch is None else _nearest(self._scratch)
            self._most = min(self._most, shutil.disk_usage(near).free // 2)
            self._file = tempfile.TemporaryFile(dir=near, prefix=".edge-sdk-")  # noqa: SIM115 (closed with the store)
            weakref.finalize(self, self._file.close)
            log.info("prepared pictures are kept in a file in %s from here on", near)
        return self._file


def _nearest(folder: Path) -> Path:
    """`folder`, or the nearest one above it that is there."""
    return next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
