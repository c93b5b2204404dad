"""Terminal input and output of all verbs: progress on stderr, results on stdout, units. Knows no verb."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from edge_sdk.errors import BadUsage, EdgeError
from edge_sdk.progress import Progress
from edge_sdk.shown import safe, shown
from edge_sdk.text_table import text_table

if TYPE_CHECKING:
    from edge_sdk.bundle.signing import SigningKey

_UNITS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """Seconds of "90s", "10min", "1.5h" or "1h30min". Raises BadUsage otherwise, also if the unit is missing."""
    plain = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", plain):
        raise BadUsage(f"the time {text!r} has no unit", hint=f"Write {plain}s for seconds or {plain}min for minutes")
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*", plain)
    total = sum(float(number) * _UNITS.get(unit, math.nan) for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != re.sub(r"\s", "", plain) or not 0 < total < math.inf:
        raise BadUsage(f"{text!r} is not a time", hint="Write for example 90s, 10min or 1h30min")
    return total


def duration(s: float) -> str:
    """Seconds as text that `seconds` reads: "30s", "10min", "1h30min"."""
    return clock(s).replace(" ", "")


def out(text: str) -> None:
    """Print the text of a result on stdout. Characters that its encoding lacks are escaped, so no name raises."""
    _write(sys.stdout, safe(text))


def out_json(text: str) -> None:
    """Print one JSON value on stdout; characters that the encoding lacks as JSON escapes.

    A byte of a name that is not UTF-8 becomes \\udcNN; Python's json reads it back as the same name.
    """
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(json.loads(text))
    _write(sys.stdout, text)


def note(text: str) -> None:
    """Print lines for the user on stderr."""
    _write(sys.stderr, safe(text))


def error(exc: EdgeError) -> None:
    """Print an error on stderr, in one line whatever names it contains."""
    note(f"edge-sdk: {shown(exc)}")


def _write(stream: TextIO, text: str) -> None:
    """Write text with escapes. click.echo writes UTF-8 even to a stream whose encoding is ASCII."""
    encoding = stream.encoding or "ascii"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def table(header: Sequence[str], rows: Iterable[Sequence[str]], /) -> str:
    """Rows as a plain text table. A narrow terminal folds long cells inside their column (rich does it). Elsewhere a
    row is one line, however long: a program that reads a pipe needs it whole."""
    cells = [tuple(row) for row in rows]
    width = shutil.get_terminal_size().columns
    plain = text_table(header, cells)
    if not sys.stdout.isatty() or all(len(line) <= width for line in plain.split("\n")):
        return plain
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for name in header:
        columns.add_column(Text(name, overflow="fold"), overflow="fold")
    for row in cells:
        columns.add_row(*(Text(cell, overflow="fold") for cell in row))
    page = io.StringIO()
    Console(file=page, width=width, color_system=None, legacy_windows=False).print(columns)
    return "\n".join(line.rstrip() for line in page.getvalue().rstrip("\n").split("\n"))


def signing_key(path: Path) -> SigningKey:
    """The key in a .key file; its password is asked for if it has one. Raises BadInput."""
    from edge_sdk.bundle.signing import SigningKey

    locked = SigningKey.needs_password(path)
    password = typer.prompt(f"Password of {path}", hide_input=True, err=True) if locked else None
    return SigningKey.load(path, password=password)


def left_out(folder: Path) -> None:
    """Print what a search for pictures below `folder` left out, if anything."""
    from edge_sdk import folders

    if words := folders.left_out(folder, recursive=True):
        note(f"{shown(folder)}: {words}")


def emit(value: Any, *, as_json: bool, text: str) -> None:
    """Print one JSON object, or the same as text. JSON has non-finite floats as "nan", "inf" and "-inf"."""
    if as_json:
        plain = json.loads(json.dumps(value, default=_plain), parse_constant=_no_number)
        out_json(json.dumps(plain, ensure_ascii=False, allow_nan=False))
    else:
        out(text)


def _no_number(constant: str) -> str:
    return {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}[constant]


def _plain(value: Any) -> Any:
    if hasattr(value, "to_json"):
        found = value.to_json()
        return json.loads(found) if isinstance(found, str) else found
    if hasattr(value, "item"):
        return value.item()
    return str(value)


@contextmanager
def progress(*, stream: TextIO | None = None, seconds_now: Callable[[], float] = time.monotonic) -> Iterator[Progress]:
    """A progress bar with time left on a terminal; elsewhere a line at the start of a step and about every 10 s.

    On exit, also by an exception, the bar is removed and the cursor shown again.
    """
    stream = stream or sys.stderr
    if not stream.isatty():
        yield _Lines(stream, seconds_now)
        return
    bar = _Bar()
    try:
        yield bar
    finally:
        bar.close()


class _Lines:
    def __init__(self, stream: TextIO, seconds_now: Callable[[], float]) -> None:
        self._seconds_now = seconds_now
        self._stream, self._last, self._began, self._text, self._total = stream, 0.0, 0.0, "", -1
        self._first = 0  # done before this process: a resumed training does not begin at 0

    def __call__(self, done: int, total: int, text: str) -> None:
        now = self._seconds_now()
        if (done, total, text) == (0, self._total, self._text) and now - self._last < 10.0:
            return  # a step without progress, such as a warm-up, reports again and again
        if total != self._total or done == 0:
            self._began, self._total, self._first = now, total, done
        elif now - self._last < 10.0 and done < total:
            return
        if done == total and text == self._text and now - self._last < 1.0:
            return
        self._last, self._text = now, text
        share = f"{100 * done // total:3d} %" if total else "     "
        ours = done - self._first
        left = (now - self._began) / ours * (total - done) if ours > 0 else 0.0
        tail = f", about {clock(left)} left" if ours > 0 and done < total and now - self._began > 2 else ""
        _write(self._stream, safe(f"{share} {text}{tail}"))


class _Bar:
    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._rich = RichProgress(
            TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._task: Any = None
        self._total = -1

    def __call__(self, done: int, total: int, text: str) -> None:
        if self._task is None or total != self._total:
            if self._task is not None:
                self._rich.remove_task(self._task)
            else:
                self._rich.start()
            self._task, self._total = self._rich.add_task(text, total=total or None), total
        self._rich.update(self._task, completed=done, description=text)
        if total and done >= total:
            self.close()

    def close(self) -> None:
        """Clears the line, if there is one."""
        if self._task is not None:
            self._rich.stop()
            self._rich.remove_task(self._task)
            self._task = None


def clock(s: float) -> str:
    """A duration as text: "45 s", "3 min 20 s", "2 h 5 min", "12 min"."""
    whole = round(s)
    if whole < 60:
        return f"{whole} s"
    large, small, names = (
        (*divmod(whole, 60), ("min", "s")) if whole < 3600 else (*divmod(whole // 60, 60), ("h", "min"))
    )
    return f"{large} {names[0]}" + (f" {small} {names[1]}" if small else "")
