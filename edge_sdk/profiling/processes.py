"""One process under comparison, seen from its parent: start, request blocks, end. Knows no statistics."""

from __future__ import annotations

import inspect
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from edge_sdk.errors import BadInput, BadUsage, NotThere
from edge_sdk.profiling import subject

_END = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one process measures.

    factory: "module:function"; called with `arguments` (JSON values) it returns a callable without arguments that does
    one unit of work; an attribute `facts` (a JSON object) of that callable is read after the last call. python: the
    interpreter, perhaps of another environment, which needs no edge_sdk. folder: working folder, importable.
    environment: variables on top of the parent's. threads: that compute; None: CPU time is not compared. cpu_absent:
    why CPU time says nothing of it (it spins between calls, it computes on a GPU), "" if it does.
    """

    name: str
    factory: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    python: str = sys.executable
    folder: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None
    cpu_absent: str = ""


class SubjectProcess:
    """A fresh process with one callable in it; use as a context manager. Owns one reader thread. Not thread-safe."""

    def __init__(self, side: Side, *, affinity: Sequence[int] | None = None, reply_timeout_s: float = 600.0) -> None:
        self._side, self._timeout_s, self._closed = side, reply_timeout_s, False
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `close`)
        try:
            self._process = subprocess.Popen(
                [side.python, "-c", inspect.getsource(subject)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                cwd=side.folder,
                env={**os.environ, **side.environment},
                text=True,
            )
        except OSError as exc:
            self._errors.close()
            raise NotThere(
                f"can't start {side.python}: {exc}", where=side.name, hint="Name the python of an environment"
            ) from exc
        self._replies: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name=f"edge-sdk-compare-{side.name}", daemon=True)
        self._reader.start()
        self._made: dict[str, Any] | None = None
        made = {"factory": side.factory, "arguments": dict(side.arguments), "affinity": list(affinity or ())}
        try:
            self._send({"make": made})  # `made` reads the answer: two processes may load and compile meanwhile
        except BaseException:
            self.close()
            raise

    @property
    def made(self) -> dict[str, Any]:
        """What its factory says of itself, once it has made the callable. Raises BadInput, as every request does."""
        return self._wait_until_made()

    def block(self, calls: int) -> tuple[list[int], list[int]]:
        """Wall and CPU time of each of `calls` calls in a row, ns."""
        reply = self._ask({"block": calls})
        return reply["wall_ns"], reply["cpu_ns"]

    def facts(self) -> tuple[dict[str, Any], dict[str, int]]:
        """What the callable says of itself now, and the memory of its process: `rss_bytes`, `rss_peak_bytes`, or
        nothing where the system does not report it."""
        reply = self._ask({"facts": True})
        return reply["facts"], reply["memory"]

    def freeze(self) -> None:
        """Collect garbage now and switch collection off, so that only the work is measured."""
        self._ask({"freeze": True})

    def close(self) -> None:
        """Ask the process to quit, kill it after 10 s, or at once where it does not listen yet, and join the reader.

        May be called twice.
        """
        self._closed = True
        if self._made is None:
            self._process.kill()
        if self._process.poll() is None:
            try:
                assert self._process.stdin is not None
                self._process.stdin.write('{"quit": true}\n')
                self._process.stdin.close()
                self._process.wait(timeout=10)
            except (OSError, ValueError, subprocess.TimeoutExpired):
                self._process.kill()
                self._process.wait()
        self._reader.join(timeout=10)
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            try:
                if stream is not None:
                    stream.close()
            except OSError:  # a pipe whose other end is gone can't be flushed
                pass

    def __enter__(self) -> SubjectProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait_until_made(self) -> dict[str, Any]:
        if self._made is None:
            self._made = self._answer()
        return self._made

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._closed:
            raise BadUsage("its process was closed", where=self._side.name, hint="Start a new one")
        self._wait_until_made()
        self._send(request)
        return self._answer()

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        # A process that has ended is found out by its missing answer, which has its last words.
        with suppress(OSError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        try:
            line = self._replies.get(timeout=self._timeout_s)
        except queue.Empty as exc:
            self._process.kill()
            raise BadInput(
                f"no answer for {self._timeout_s:g} s",
                where=self._side.name,
                hint="Measure a shorter call, or allow more time (reply_timeout_s)",
            ) from exc
        if line is _END:
            self._replies.put(_END)  # for whoever asks again
            self._process.wait()
            raise BadInput(
                f"its process ended with {self._process.returncode}: {self._last_words()}",
                where=self._side.name,
                hint=f"Run {self._side.factory} by itself",
            )
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise BadInput(reply["error"], where=self._side.name, hint=f"Run {self._side.factory} by itself")
        return reply

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._replies.put(line)
        self._replies.put(_END)

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"
