"""Which files of the product a call crosses, in order: a profiler that sees calls alone. Knows no document."""

from __future__ import annotations

import ast
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("edge_sdk/", "runtimes/", "calibration/", "export/")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a function of the product. stack: files of the product that were on the stack, outermost first, each
    stay once; the last is the file called."""

    file: str
    function: str
    stack: tuple[str, ...]


@cache
def defined(file: str) -> frozenset[str]:
    """Names of all functions and methods of a file, wherever in it they are."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


@dataclass(slots=True)
class Trace:
    """Calls from one file to another, and the first call of each function, in order, of every thread."""

    calls: list[Call] = field(default_factory=list)
    _seen: set[CodeType] = field(default_factory=set)
    _files: dict[CodeType, str] = field(default_factory=dict)

    def files(self) -> list[str]:
        """Files in the order in which they were first entered."""
        return list(dict.fromkeys(call.file for call in self.calls))

    def count(self, file: str, function: str) -> int:
        """How often a function was called from another file; at least 1 if it was called at all.

        Raises LookupError for a function that the file does not define: a count of 0 would hold forever."""
        if function not in defined(file):
            raise LookupError(f"{file} defines no function {function}")
        return sum((call.file, call.function) == (file, function) for call in self.calls)

    def saw(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and (file := self._file(frame.f_code)):
            if frame.f_code in self._seen and self._caller(frame) == file:
                return  # most calls are these, and a stack takes time
            self._seen.add(frame.f_code)
            self.calls.append(Call(file, frame.f_code.co_name, self._stack(frame)))

    def _caller(self, frame: FrameType) -> str:
        here = frame.f_back
        while here is not None and not self._file(here.f_code):
            here = here.f_back
        return self._file(here.f_code) if here is not None else ""

    def _stack(self, frame: FrameType) -> tuple[str, ...]:
        found: list[str] = []
        here: FrameType | None = frame
        while here is not None:
            file = self._file(here.f_code)
            if file and (not found or found[-1] != file):
                found.append(file)
            here = here.f_back
        return tuple(reversed(found))

    def _file(self, code: CodeType) -> str:
        """The path below the checkout, "" for what is not the product's."""
        if code not in self._files:
            path = Path(code.co_filename).resolve()
            inside = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
            self._files[code] = inside if inside.startswith(PRODUCT) else ""
        return self._files[code]


@contextmanager
def traced() -> Iterator[Trace]:
    """Calls in this block, in this thread and in threads that begin in it. A debugger or coverage tool that profiles
    too gets its hook back afterwards."""
    trace, before = Trace(), sys.getprofile()
    threading.setprofile(trace.saw)
    sys.setprofile(trace.saw)
    try:
        yield trace
    finally:
        sys.setprofile(before)
        threading.setprofile(before)  # type: ignore[arg-type]  # None is how it is switched off
