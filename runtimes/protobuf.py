"""Protobuf bytes as they are on the wire: fields of messages by position, nothing copied. Knows no message type.

Trusts no byte: every length stays inside its message, and a file has only so many fields.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

MAX_FIELDS = 500_000
"""Of one file: half a second of reading; real graphs have some ten thousand."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types. Groups (3, 4) are deprecated, no field of ONNX is one, and they are refused."""
_TOP_NUMBER = 2**29  # protobuf's own limit; beyond it parsers disagree about which field they see

Schema: TypeAlias = Mapping[int, str]
"""Names of the fields that are read, by number."""
Span: TypeAlias = tuple[int, int]
"""Start and stop in the file."""


class Malformed(Exception):
    """What is wrong with a file, as a sentence part: "is not a whole protobuf file"."""

    def __init__(self, what: str, hint: str = "Export it again as one ONNX file with its weights inside") -> None:
        super().__init__(what)
        self.hint = hint


class Wire:
    """The bytes of one file. Every method raises Malformed; positions count from the start of the file.

    kinds: by field name, the wire types that a field may have; all others are BYTES. A field of another wire type is
    skipped as unknown, as protobuf does.
    """

    def __init__(self, content: bytes, kinds: Mapping[str, tuple[int, ...]]) -> None:
        self._content, self._view, self._left, self._kinds = content, memoryview(content), MAX_FIELDS, kinds

    def message(self, at: int, stop: int, schema: Schema) -> Mapping[str, list[Span]]:
        """Where the fields of the message in [at, stop) lie that `schema` names, in order."""
        found: defaultdict[str, list[Span]] = defaultdict(list)
        while at < stop:
            self._left -= 1
            if self._left < 0:
                raise Malformed(f"has more than {MAX_FIELDS} fields")
            key, at = _varint(self._content, at, stop)
            number, wire = key >> 3, key & 7
            if wire == BYTES:
                length, at = _varint(self._content, at, stop)
                end = at + length
            elif wire == VARINT:
                end = _varint(self._content, at, stop)[1]
            elif wire in (FIXED64, FIXED32):
                end = at + (8 if wire == FIXED64 else 4)
            else:
                raise Malformed("is not a protobuf file")
            if not 0 < number < _TOP_NUMBER or end > stop:
                raise Malformed("is not a whole protobuf file")
            if number in schema and wire in self._kinds.get(schema[number], (BYTES,)):
                found[schema[number]].append((at, end))
            at = end
        return found

    def number(self, spans: Sequence[Span]) -> int:
        """The last of the varints as a signed number of 64 bits; 0 if there is none."""
        value = _varint(self._content, *spans[-1])[0] if spans else 0
        return value - 2**64 if value >= 2**63 else value

    def numbers(self, span: Span) -> Iterator[int]:
        """All varints of a packed list."""
        at, stop = span
        while at < stop:
            value, at = _varint(self._content, at, stop)
            yield value

    def text(self, spans: Sequence[Span]) -> str:
        """The last of the texts; "" if there is none."""
        if not spans:
            return ""
        try:
            return str(self.content(*spans[-1]), "utf-8")
        except UnicodeDecodeError as exc:
            raise Malformed("has a name that is not UTF-8") from exc

    def content(self, start: int, stop: int) -> memoryview:
        """The bytes in [start, stop), not copied."""
        return self._view[start:stop]


def _varint(content: bytes, at: int, stop: int) -> tuple[int, int]:
    if at < stop and (first := content[at]) < 0x80:  # nearly every one: keys and short lengths
        return first, at + 1
    value = 0
    for shift in range(0, 70, 7):
        if at >= stop:
            raise Malformed("is not a whole protobuf file")
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at  # what lies beyond 64 bits is dropped, as protobuf does
    raise Malformed("is not a protobuf file")
