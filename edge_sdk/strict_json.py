"""Untrusted JSON: size, depth, numbers and keys are checked while reading; one canonical form for writing.

The canonical form is what is hashed and signed: manifests, decision records, signatures. Knows none of them.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from edge_sdk.errors import BadBundle, BadInput

MAX_BYTES = 4 << 20
MAX_DEPTH = 32
MAX_VALUES = 200_000
GET_AGAIN = "Get the file again from whoever packed it"
"""What to do about a file that breaks a rule of the format, for who reads it."""
_MAX_DIGITS = 20  # no count or size needs more; int() of a long run of digits takes quadratic time
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")  # controls a terminal, or is not text


def canonical(value: object, *, name: str) -> bytes:
    """UTF-8, keys sorted by code point, no white space, shortest digits that read back the same. Raises BadInput."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as exc:
        raise BadInput(
            f"{name} can't be written as JSON: {exc}", hint="Use finite numbers, text, lists and maps"
        ) from exc


def parse(data: bytes, *, name: str, where: str) -> Any:
    """The value in `data`. Raises BadBundle: not UTF-8, not JSON, NaN, a key twice, too long or deep, too much."""
    if len(data) > MAX_BYTES:
        raise _refused(f"{name} has {len(data)} bytes, at most {MAX_BYTES} are read", where)
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_short_int,
        )
    except UnicodeDecodeError as exc:
        raise _refused(f"{name} is not UTF-8 text", where) from exc
    except RecursionError as exc:
        raise _refused(f"{name} is nested deeper than {MAX_DEPTH} levels", where) from exc
    except ValueError as exc:
        raise _refused(f"{name} is not JSON: {exc}", where) from exc
    _check_extent(value, name, where)
    return value


def _refused(what: str, where: str) -> BadBundle:
    return BadBundle(what, where=where, hint=GET_AGAIN)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise ValueError(f"the key {twice[:80]!r} stands twice")  # two readers would see two different files
    return found


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number that JSON has")


def _finite(text: str) -> float:
    if len(text) > 64 or not math.isfinite(number := float(text)):
        raise ValueError(f"the number {text[:40]} is out of range")
    return number


def _short_int(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"the number {text[:40]}... is out of range")
    return int(text)


def _check_extent(value: Any, name: str, where: str) -> None:
    """Depth, count and text of all values, without recursion."""
    level, count, depth = [value], 0, 0
    while level:
        depth, count = depth + 1, count + len(level)
        if depth > MAX_DEPTH:
            raise _refused(f"{name} is nested deeper than {MAX_DEPTH} levels", where)
        if count > MAX_VALUES:
            raise _refused(f"{name} holds more than {MAX_VALUES} values", where)
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.keys())
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
            elif isinstance(item, str) and _NOT_TEXT.search(item):
                raise _refused(f"{name} holds control characters, or half a surrogate pair", where)
        level = inner
