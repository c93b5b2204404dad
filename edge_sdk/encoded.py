"""What an encoded picture says of itself before anything is decoded: its kind, its size, and whether it is whole.

A file can claim any size, memory can't; and a decoder takes a cut file in silence. Only kinds whose size can be read
first are decoded at all. Knows headers; no pixel, no file name, no OpenCV.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable

from edge_sdk.errors import BadInput

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
"""Of the kinds that are read, in lower case."""

KINDS = "PNG, JPEG, TIFF, BMP, WebP or PGM/PPM"
"""The same in words."""

_CUT, _BROKEN = "is cut short", "is damaged"
_AGAIN = "Copy the file again"


def size(data: bytes, *, where: str) -> tuple[int, int]:
    """(width, height) in px that `data` claims. Raises BadInput: of another kind, cut short, or a broken header."""
    if not data:
        raise BadInput("the file is empty", where=where, do=_AGAIN)
    kind, read = next(((kind, read) for kind, magic, read in _READERS if data.startswith(magic)), ("", None))
    if read is None:
        known = next((name for name, found in _OTHERS if found(data)), "")
        what = f"this is a {known} file, which is not read" if known else "this is not a picture"
        raise BadInput(what, where=where, do=f"Save it as {KINDS}")
    try:
        return read(data)
    except struct.error as exc:  # the header itself ends early
        raise BadInput(f"the {kind} is cut short: its header is not whole", where=where, do=_AGAIN) from exc
    except _Fault as exc:
        raise BadInput(f"the {kind} {exc}", where=where, do=_AGAIN) from exc


class _Fault(Exception):
    """What is wrong with a file, as the end of a sentence."""


def _png(data: bytes) -> tuple[int, int]:
    """By its chunks up to IEND; what stands behind it is nobody's business. Checksums of what must be read are held."""
    if data[12:16] != b"IHDR":
        raise _Fault(f"{_BROKEN}: its first part is not the header")
    at = 8
    while True:
        length, name = struct.unpack_from(">I4s", data, at)
        body = memoryview(data)[at + 4 : at + 8 + length]
        at += 12 + length
        if at > len(data):
            raise _Fault(f"{_CUT}: its end mark is missing")
        if name[:1].isupper() and zlib.crc32(body) != int.from_bytes(data[at - 4 : at], "big"):
            raise _Fault(f"{_BROKEN}: the checksum of a part does not fit")
        if name == b"IEND":
            break
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


_JPEG_MARK = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # neither a stuffed byte, nor filling, nor a restart


def _jpeg(data: bytes) -> tuple[int, int]:
    """By its segments up to the end mark of this picture: a thumbnail inside has one of its own, and cameras write
    second pictures and blocks of theirs behind it."""
    found: tuple[int, int] | None = None
    at = 2
    while mark := _JPEG_MARK.search(data, at):
        at, kind = mark.end(), data[mark.end() - 1]
        if kind == 0xD9:
            if found is None:
                raise _Fault(f"{_BROKEN}: it has no picture")
            return found
        if kind == 0x01:  # the one other mark without a length
            continue
        if found is None and 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):  # decoders take the first
            height, width = struct.unpack_from(">HH", data, at + 3)
            found = (width, height)
        at += struct.unpack_from(">H", data, at)[0]
    raise _Fault(f"{_CUT}: its end mark is missing")


_TIFF_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_SIZES = {256: "width", 257: "height", 322: "width", 323: "height"}  # of the picture, and of its tiles


def _tiff(data: bytes) -> tuple[int, int]:
    """The largest width and height that the first page claims: its own, and that of its tiles, which are decoded
    whole."""
    order = "<" if data.startswith(b"II") else ">"
    if struct.unpack_from(order + "H", data, 2)[0] == 43:  # BigTIFF
        count_of, entry, at = "Q", "HHQ", struct.unpack_from(order + "Q", data, 8)[0]
    else:
        count_of, entry, at = "H", "HHI", struct.unpack_from(order + "I", data, 4)[0]
    count = struct.unpack_from(order + count_of, data, _inside(at, data))[0]
    at += struct.calcsize(count_of)
    head = struct.calcsize("<" + entry)
    step = head + (8 if count_of == "Q" else 4)
    claims: dict[str, int] = {}
    for i in range(min(count, 65536)):
        tag, kind, values = struct.unpack_from(order + entry, data, at + i * step)
        if tag not in _TIFF_SIZES:
            continue
        if kind not in _TIFF_NUMBERS or values != 1 or struct.calcsize(_TIFF_NUMBERS[kind]) > step - head:
            raise _Fault(f"{_BROKEN}: its size can't be read")
        value = struct.unpack_from(order + _TIFF_NUMBERS[kind], data, at + i * step + head)[0]
        claims[_TIFF_SIZES[tag]] = max(value, claims.get(_TIFF_SIZES[tag], 0))
    if len(claims) < 2:
        raise _Fault(f"{_BROKEN}: it does not tell its size")
    return claims["width"], claims["height"]


def _inside(at: int, data: bytes) -> int:
    if at >= len(data):  # a number of 64 bits, too: struct would call it an overflow
        raise _Fault(f"{_CUT}: its list of contents is missing")
    return at


def _bmp(data: bytes) -> tuple[int, int]:
    old = struct.unpack_from("<I", data, 14)[0] == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    return abs(width), abs(height)  # a negative height: the rows stand from top to bottom


def _webp(data: bytes) -> tuple[int, int]:
    length, form, chunk = struct.unpack_from("<I4s4s", data, 4)
    if form != b"WEBP":
        raise _Fault(f"{_BROKEN}: its header is not that of a WebP")
    if len(data) < 8 + length:
        raise _Fault(f"{_CUT}: {8 + length - len(data)} bytes are missing")
    if chunk == b"VP8X":
        width, high, height, top = struct.unpack_from("<HBHB", data, 24)
        return 1 + width + (high << 16), 1 + height + (top << 16)
    if chunk == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


_PNM = re.compile(rb"P[2356](?:\s|#[^\r\n]*[\r\n])+(\d{1,9})\s(?:\s|#[^\r\n]*[\r\n])*(\d{1,9})\s")


def _pnm(data: bytes) -> tuple[int, int]:
    if (found := _PNM.match(data)) is None:
        raise _Fault(f"{_BROKEN}: its size can't be read")
    return int(found[1]), int(found[2])


_READERS: tuple[tuple[str, bytes, Callable[[bytes], tuple[int, int]]], ...] = (
    ("PNG", b"\x89PNG\r\n\x1a\n", _png),
    ("JPEG", b"\xff\xd8\xff", _jpeg),
    ("TIFF", b"II*\0", _tiff), ("TIFF", b"MM\0*", _tiff), ("TIFF", b"II+\0", _tiff), ("TIFF", b"MM\0+", _tiff),
    ("BMP", b"BM", _bmp),
    ("WebP", b"RIFF", _webp),
    ("PGM", b"P2", _pnm), ("PPM", b"P3", _pnm), ("PGM", b"P5", _pnm), ("PPM", b"P6", _pnm),
)  # fmt: skip

_OTHERS: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("GIF", lambda data: data.startswith(b"GIF8")),
    ("HEIC or AVIF", lambda data: data[4:8] == b"ftyp"),
    ("JPEG 2000", lambda data: data[4:8] == b"jP  " or data.startswith(b"\xff\x4f\xff\x51")),
    ("PDF", lambda data: data.startswith(b"%PDF")),
    ("OpenEXR", lambda data: data.startswith(b"\x76\x2f\x31\x01")),
)
"""Kinds of pictures that people have and that are refused by name."""
