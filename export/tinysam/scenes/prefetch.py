"""Draws the frames of the next step in a process of its own while this step is computed. Knows no network.

A thread would not do: it takes turns with the training at every operation, and made steps 1.5 times as long.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import Protocol

import cv2
import numpy as np

from edge_sdk.export.tinysam.scenes.mixture import Frame


class Source(Protocol):
    """Where frames come from. It is sent to another process."""

    def frame(self, rng: np.random.Generator) -> Frame:
        """One frame; all randomness comes from `rng`."""


_source: list[Source] = []
"""Of the drawing process: sent once."""


class Prefetch:
    """Frames by step. They depend on the seed and the step alone, so a resumed run sees those that it would have seen.

    apart: draw in another process. Use it as a context manager, or call `close`.
    """

    def __init__(self, source: Source, *, batch: int, seed: int, apart: bool = True) -> None:
        self._source, self._batch, self._seed, self._apart = source, batch, seed, apart
        self._pool: ProcessPoolExecutor | None = None
        self._next: dict[int, Future[list[Frame]]] = {}

    def frames(self, step: int) -> list[Frame]:
        """The frames of a step; those of the next two are begun."""
        if not self._apart:
            return _frames(self._source, self._batch, self._seed, step)
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                1, mp_context=get_context("spawn"), initializer=_begin, initargs=(self._source,)
            )
        for wanted in (step, step + 1, step + 2):
            if wanted not in self._next:
                self._next[wanted] = self._pool.submit(_drawn, self._batch, self._seed, wanted)
        return self._next.pop(step).result()

    def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _begin(source: Source) -> None:
    cv2.setNumThreads(1)
    _source[:] = [source]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A training that is killed can't end its pool, and the pool's process would wait for work forever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def _drawn(batch: int, seed: int, step: int) -> list[Frame]:
    return _frames(_source[0], batch, seed, step)


def _frames(source: Source, batch: int, seed: int, step: int) -> list[Frame]:
    rng = np.random.default_rng([seed, 1, step])
    return [source.frame(rng) for _ in range(batch)]
