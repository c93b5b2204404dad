"""Work in flight: calls of one function on a few named threads, bounded. Knows no runtime."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from edge_sdk.errors import BadUsage
from edge_sdk.tensors import Array


class InFlight:
    """Owns `workers` threads from the first `submit` to `close`. `submit` from any thread; an exception travels in the
    Future."""

    def __init__(self, run: Callable[[Mapping[str, Array]], dict[str, Array]], *, workers: int, name: str) -> None:
        self._run, self._name = run, name
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix=f"edge-sdk {name}")
        self._room = threading.BoundedSemaphore(2 * workers)
        self._closed = False

    def submit(self, feeds: Mapping[str, Array]) -> Future[dict[str, Array]]:
        """The call as a Future. Waits while twice as many calls as threads are under way: the queue is bounded."""
        if self._closed:
            raise BadUsage("the session is closed", where=self._name, do="Compile the graph again")
        self._room.acquire()
        try:
            future = self._pool.submit(self._run, feeds)
        except RuntimeError as exc:  # closed between the check and here
            self._room.release()
            raise BadUsage("the session is closed", where=self._name, do="Compile the graph again") from exc
        future.add_done_callback(lambda _: self._room.release())
        return future

    def close(self) -> None:
        """Finish what was accepted, refuse what comes later, join the threads. May be called twice."""
        self._closed = True
        self._pool.shutdown(wait=True)
