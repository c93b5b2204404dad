"""Names of files as text for people, logs and any terminal. Knows no file and no stream.

A name on disk is bytes: it may be no UTF-8, hold line ends, or sequences that drive a terminal. Shown, it is one line
of plain text, and still tells such a file from every other one.
"""

from __future__ import annotations

import re

# What ends a line or drives a terminal, and what Python makes of bytes that are no UTF-8 (0xDC00 + byte).
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def shown(name: object) -> str:
    """`name` as text of one line: bytes that are no UTF-8 and control characters as \\xNN, as Python writes them."""
    return _CONTROL.sub(_escaped, str(name))


def safe(text: str) -> str:
    """`text` of several lines with nothing in it that drives a terminal; line ends and tabs stay."""
    return "\n".join("\t".join(map(shown, line.split("\t"))) for line in text.split("\n"))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
