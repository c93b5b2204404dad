"""What the encoder answered for the last few pictures, by their content. Knows arrays; no picture, no graph."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from edge_sdk.errors import BadUsage
from edge_sdk.tensors import Array

Features: TypeAlias = Mapping[str, Array]
"""The encoder's outputs by name, read-only."""
PICTURES = 4
"""How many pictures are kept. Fewer than a profile uses in turn (`images.RING`), or it would time cache hits alone."""
SIZE_BYTES = 2**28


def content_key(*parts: Array | str) -> str:
    """Hex digest of arrays (bytes, type and shape) and words: equal for equal content, whatever its name."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(f"{part}\0".encode())
        else:
            digest.update(f"{part.dtype.str}{part.shape}\0".encode())
            digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


class EncodingCache:
    """The most recently used encodings, at most `pictures` of them and at most `size_bytes` in all. Any thread may call
    it. Two threads that miss the same picture both encode it: no lock is held while a graph runs."""

    def __init__(self, pictures: int = PICTURES, size_bytes: int = SIZE_BYTES) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Features] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self.limit(pictures=pictures, size_bytes=size_bytes)

    def limit(self, *, pictures: int, size_bytes: int) -> None:
        """Change the limits, dropping what no longer fits; 0 keeps nothing. Raises BadUsage for less."""
        if pictures < 0 or size_bytes < 0:
            raise BadUsage(f"a cache of {pictures} pictures and {size_bytes} bytes", hint="Use 0 to keep nothing")
        with self._lock:
            self._most_pictures, self._most_bytes = pictures, size_bytes
            self._drop()

    def get(self, key: str) -> Features | None:
        """What is kept under `key`, now the most recently used."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: str, features: Features) -> None:
        """Keep one encoding as the most recently used, in the place of what had its key; if it alone does not fit,
        nothing else is dropped for it."""
        size_bytes = sum(array.nbytes for array in features.values())
        with self._lock:
            self._kept.pop(key, None)
            self._sizes.pop(key, None)
            if size_bytes > self._most_bytes:
                return
            self._kept[key], self._sizes[key] = features, size_bytes
            self._drop()

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._kept.clear()
            self._sizes.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def _drop(self) -> None:
        while self._kept and (len(self._kept) > self._most_pictures or sum(self._sizes.values()) > self._most_bytes):
            key, _ = self._kept.popitem(last=False)
            del self._sizes[key]
