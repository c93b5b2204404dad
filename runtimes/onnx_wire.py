"""An ONNX file as protobuf on the wire: the fields of its messages, and where each lies. Needs no onnx package.

Trusts no byte: every length stays inside its message, and a file has only so many fields. Knows no meaning of a graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""
MAX_FIELDS = 500_000
"""Of one file: half a second of reading; real graphs have some ten thousand."""
_TOP_NUMBER = 2**29  # protobuf's own limit; beyond it parsers disagree about which field they see

# Field numbers of onnx.proto3, which its versioning rules never change.
MODEL_GRAPH, MODEL_FUNCTIONS = 7, 25
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_SPARSE = 1, 5, 11, 12, 15
FUNCTION_NODE, FUNCTION_DOMAIN = 7, 10
NODE_INPUT, NODE_OUTPUT, NODE_OP_TYPE, NODE_ATTRIBUTE, NODE_DOMAIN = 1, 2, 4, 5, 7
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = 5, 6, 10, 11
ATTRIBUTE_SPARSE, ATTRIBUTE_SPARSES = 22, 23
TENSOR_DIMS, TENSOR_TYPE, TENSOR_INT32, TENSOR_NAME, TENSOR_RAW = 1, 2, 5, 8, 9
TENSOR_EXTERNAL, TENSOR_LOCATION = 13, 14
SPARSE_VALUES, SPARSE_INDICES = 1, 2
VALUE_NAME, VALUE_TYPE = 1, 2
TYPE_TENSOR, TYPE_ELEMENT, TYPE_SHAPE = 1, 1, 2
SHAPE_DIM, DIM_VALUE, DIM_PARAM = 1, 1, 2

Field: TypeAlias = tuple[int, int, int, int]
"""Field number, wire type, start and stop of the value in the file."""


class Malformed(Exception):
    """What is wrong with a file, as a sentence part: "is not a whole protobuf file". Callers make it an EdgeError."""


class Wire:
    """One file being read. Every method raises Malformed; positions count from the start of the file."""

    def __init__(self, content: bytes) -> None:
        self._view = memoryview(content)
        self._read = 0

    def fields(self, start: int = 0, stop: int | None = None) -> Iterator[Field]:
        """Each field of the message in [start, stop), in order; by default of the outermost one."""
        view, at = self._view, start
        stop = len(view) if stop is None else stop
        while at < stop:
            self._read += 1
            if self._read > MAX_FIELDS:
                raise Malformed(f"has more than {MAX_FIELDS} fields")
            key, at = _varint(view, at, stop)
            number, wire = key >> 3, key & 7
            if wire == BYTES:
                length, at = _varint(view, at, stop)
                end = at + length
            elif wire == VARINT:
                end = _varint(view, at, stop)[1]
            elif wire in (FIXED64, FIXED32):
                end = at + (8 if wire == FIXED64 else 4)
            else:
                raise Malformed("is not a protobuf file")
            if not 0 < number < _TOP_NUMBER or end > stop:
                raise Malformed("is not a whole protobuf file")
            yield number, wire, at, end
            at = end

    def messages(self, start: int, stop: int, *path: int) -> Iterator[tuple[int, int]]:
        """Start and stop of the messages at the end of a path of field numbers."""
        for number, wire, begin, end in self.fields(start, stop):
            if number == path[0] and wire == BYTES:
                if len(path) == 1:
                    yield begin, end
                else:
                    yield from self.messages(begin, end, *path[1:])

    def numbers(self, start: int, stop: int) -> Iterator[int]:
        """The varints in [start, stop): one, or a packed list. 64 bits each, unsigned."""
        while start < stop:
            value, start = _varint(self._view, start, stop)
            yield value

    def number(self, start: int, stop: int) -> int:
        """The one varint at `start`."""
        return _varint(self._view, start, stop)[0]

    def content(self, start: int, stop: int) -> memoryview:
        """The bytes in [start, stop), not copied."""
        return self._view[start:stop]

    def text(self, start: int, stop: int) -> str:
        """The bytes in [start, stop) as UTF-8."""
        try:
            return str(self._view[start:stop], "utf-8")
        except UnicodeDecodeError as exc:
            raise Malformed("has a name that is not UTF-8") from exc


def _varint(view: memoryview, at: int, stop: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= stop:
            raise Malformed("is not a whole protobuf file")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at  # what lies beyond 64 bits is dropped, as protobuf does
    raise Malformed("is not a protobuf file")
