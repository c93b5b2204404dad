"""Work in flight: calls of one function on a few named threads, bounded. Knows no picture and no runtime."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from edge_sdk.errors import BadUsage

T = TypeVar("T")
R = TypeVar("R")


class InFlight(Generic[T, R]):
    """Owns `workers` threads from the first `submit` to `close`. `submit` may be called from any thread; exceptions are
    in the Future. most: calls that are accepted and not yet finished. name: of the threads, and of the owner in errors.
    """

    def __init__(self, run: Callable[[T], R], *, workers: int, most: int, name: str) -> None:
        self._run, self._name = run, name
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix=f"edge-sdk {name}")
        self._room = threading.BoundedSemaphore(most)

    def submit(self, argument: T) -> Future[R]:
        """The call as a Future. Waits while `most` calls are under way: the queue is bounded. BadUsage: closed."""
        self._room.acquire()
        try:
            future = self._pool.submit(self._run, argument)
        except RuntimeError as exc:  # the pool was shut down
            self._room.release()
            raise BadUsage(f"the {self._name} is closed", hint="Load the bundle again") from exc
        future.add_done_callback(lambda _: self._room.release())
        return future

    def close(self) -> None:
        """Finish what was accepted, refuse what comes later, join the threads. May be called twice."""
        self._pool.shutdown(wait=True)
