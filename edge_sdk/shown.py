"""Names of files as text for people, logs and any terminal, and what a name says that can't be read. Opens nothing.

A name on disk is bytes: it may be no UTF-8, hold line ends, or sequences that drive a terminal. Shown, it is one line
of plain text, and still tells such a file from every other one.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

from edge_sdk.errors import BadInput

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):[/\\]+(?=[^/\\])")  # two letters at least: C:/ is a drive
# What ends a line or drives a terminal, and what Python makes of bytes that are no UTF-8 (0xDC00 + byte).
_MOST_SHOWN = 320  # more than any one name on a common file system, so that such a name is whole
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def shown(name: object) -> str:
    """`name` as text of one line: bytes that are no UTF-8 and control characters as \\xNN, as Python writes them."""
    return _CONTROL.sub(_escaped, str(name))


def shortened(name: object) -> str:
    """`shown`, without the middle of what is longer than any path that a person reads: for names that are too long."""
    text = shown(name)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN // 2]}...{text[-_MOST_SHOWN // 2 :]}"


def safe(text: str) -> str:
    """`text` of several lines with nothing in it that drives a terminal; line ends and tabs stay."""
    return "\n".join("\t".join(map(shown, line.split("\t"))) for line in text.split("\n"))


def url_of(path: Path | str) -> str:
    """The URL that `path` was made from, "" where it is the path of a file. pathlib makes one slash of several."""
    found = _URL.match(str(path))
    if not found:
        return ""
    root = "/" if found[1].lower() == "file" else ""  # file:///home has no host
    return f"{found[1]}://{root}{str(path)[found.end() :]}"


def unreadable(path: Path | str, exc: OSError) -> BadInput:
    """The error for a file that the system does not let us read."""
    if url := url_of(path):
        return BadInput("this is a URL, only files are read", where=shown(url), hint="Download the file first")
    reason = exc.strerror or str(exc)
    if exc.errno == errno.ENAMETOOLONG:
        return BadInput(f"can't read it: {reason}", where=shortened(path), hint="Check the path")
    return BadInput(f"can't read it: {reason}", where=shown(path), hint="Check the path and its permissions")


def not_a_folder(path: Path | str, hint: str) -> BadInput:
    """The error for what should be a folder and is none. hint: which folder to name."""
    if url := url_of(path):
        return BadInput("this is a URL, only local folders are read", where=shown(url), hint="Download its files first")
    return BadInput("this is not a folder", where=shown(path), hint=hint)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
