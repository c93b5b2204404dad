"""What an encoded picture says of itself before anything is decoded: kind, size, form, and whether it is whole.

A file can claim any size, memory can't; and a decoder takes a cut file in silence, and some forms wrongly. Only kinds
whose size can be read first are decoded at all. Knows headers; no pixel, no file name, no OpenCV.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable

from edge_sdk import tiff
from edge_sdk.errors import BadInput
from edge_sdk.tiff import Fault, Misread

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
"""Of the kinds that are read, in lower case."""

KINDS = "PNG, JPEG, TIFF, BMP, WebP or PGM/PPM"
"""The same in words."""

_CUT, _BROKEN = "is cut short", "is damaged"
_AGAIN = "Copy the file again"


def size(data: bytes, *, where: str) -> tuple[int, int]:
    """(width, height) in px that `data` claims. Raises BadInput: another kind of file, cut short, a broken header."""
    if not data:
        raise BadInput("the file is empty", where=where, hint=_AGAIN)
    kind, read = next(((kind, read) for kind, magic, read in _READERS if data.startswith(magic)), ("", None))
    if read is None:
        known = next((name for name, found in _OTHERS if found(data)), "")
        what = f"this is a {known} file, which is not read" if known else "this is not a picture"
        raise BadInput(what, where=where, hint=f"Save it as {KINDS}")
    try:
        return read(data)
    except struct.error as exc:  # the header itself ends early
        raise BadInput(f"the {kind} is cut short: its header is not whole", where=where, hint=_AGAIN) from exc
    except Fault as exc:
        raise BadInput(f"the {kind} {exc}", where=where, hint=_AGAIN) from exc


def check_form(data: bytes, *, where: str) -> None:
    """Nothing if `data`, whose size could be read, is one picture that decoders read alike; else BadInput.

    The error names the form and how to convert it: a decoded picture must have the same pixels as a plain file."""
    check = next((check for magic, check in _FORMS if data.startswith(magic)), None)
    if check is not None and (found := check(data)) is not None:
        raise BadInput(f"this is a {found.what}, which is not read", where=where, hint=found.hint)


def white(data: bytes) -> int | None:
    """The value of white that a PGM or PPM states, such as 1023; None for every other kind."""
    found = _PNM.match(data)
    return int(found[3]) if found else None


def may_be_transparent(data: bytes) -> bool:
    """Whether `data` is of a kind whose colours decoders change where it is transparent: TIFF with alpha."""
    return data.startswith(_TIFF_MAGIC) and tiff.first_page(data).has_alpha


def _png(data: bytes) -> tuple[int, int]:
    """By its chunks up to IEND; bytes after it are ignored. Checksums of critical chunks are checked."""
    if data[12:16] != b"IHDR":
        raise Fault(f"{_BROKEN}: its first part is not the header")
    at = 8
    while True:
        length, name = struct.unpack_from(">I4s", data, at)
        body = memoryview(data)[at + 4 : at + 8 + length]
        at += 12 + length
        if at > len(data):
            raise Fault(f"{_CUT}: its end mark is missing")
        if name[:1].isupper() and zlib.crc32(body) != int.from_bytes(data[at - 4 : at], "big"):
            raise Fault(f"{_BROKEN}: the checksum of a part does not fit")
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
                raise Fault(f"{_BROKEN}: it has no picture")
            return found
        if kind == 0x01:  # the one other mark without a length
            continue
        if found is None and 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):  # decoders take the first
            height, width = struct.unpack_from(">HH", data, at + 3)
            found = (width, height)
        at += struct.unpack_from(">H", data, at)[0]
    raise Fault(f"{_CUT}: its end mark is missing")


def _tiff(data: bytes) -> tuple[int, int]:
    page = tiff.first_page(data)
    return page.width, page.height


def _bmp(data: bytes) -> tuple[int, int]:
    old = struct.unpack_from("<I", data, 14)[0] == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    return abs(width), abs(height)  # a negative height: the rows stand from top to bottom


def _webp(data: bytes) -> tuple[int, int]:
    length, form, chunk = struct.unpack_from("<I4s4s", data, 4)
    if form != b"WEBP":
        raise Fault(f"{_BROKEN}: its header is not that of a WebP")
    if len(data) < 8 + length:
        raise Fault(f"{_CUT}: {8 + length - len(data)} bytes are missing")
    if chunk == b"VP8X":
        width, high, height, top = struct.unpack_from("<HBHB", data, 24)
        return 1 + width + (high << 16), 1 + height + (top << 16)
    if chunk == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


_BLANK = rb"(?:\s|#[^\r\n]*[\r\n])"
_PNM = re.compile(rb"P[2356]%b+(\d{1,9})\s%b*(\d{1,9})\s%b*(\d{1,9})\s" % ((_BLANK,) * 3))


def _pnm(data: bytes) -> tuple[int, int]:
    if (found := _PNM.match(data)) is None:
        raise Fault(f"{_BROKEN}: its size can't be read")
    return int(found[1]), int(found[2])


def _pages(count: int, kind: str) -> Misread | None:
    if count < 2:
        return None
    return Misread(f"{kind} of {count} pictures, and only the first would be read", "Save each picture as a file")


def _png_form(data: bytes) -> Misread | None:
    """acTL stands before the pixels and holds the number of frames of an animation."""
    at = 8
    while True:
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"acTL":
            return _pages(struct.unpack_from(">I", data, at + 8)[0], "PNG")
        if name in (b"IDAT", b"IEND"):
            return None
        at += 12 + length


def _webp_form(data: bytes) -> Misread | None:
    """Of the chunks behind the header, each frame of an animation is one named ANMF."""
    at, frames = 12, 0
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        frames += name == b"ANMF"
        at += 8 + length + length % 2
    return _pages(frames, "WebP")


def _tiff_form(data: bytes) -> Misread | None:
    return tiff.first_page(data).misread()


PLAIN_WHITES = (255, 1023, 4095, 65535)
"""Of 8, 10, 12 and 16 bits: values of other scales come from decoders as they are, or scaled, by the coding."""


def _pnm_form(data: bytes) -> Misread | None:
    if (top := white(data)) in PLAIN_WHITES:
        return None
    return Misread(f"PGM or PPM whose white is {top}", "Scale it to 255 or 65535, or save it as PNG")


_READERS: tuple[tuple[str, bytes, Callable[[bytes], tuple[int, int]]], ...] = (
    ("PNG", b"\x89PNG\r\n\x1a\n", _png),
    ("JPEG", b"\xff\xd8\xff", _jpeg),
    ("TIFF", b"II*\0", _tiff), ("TIFF", b"MM\0*", _tiff), ("TIFF", b"II+\0", _tiff), ("TIFF", b"MM\0+", _tiff),
    ("BMP", b"BM", _bmp),
    ("WebP", b"RIFF", _webp),
    ("PGM", b"P2", _pnm), ("PPM", b"P3", _pnm), ("PGM", b"P5", _pnm), ("PPM", b"P6", _pnm),
)  # fmt: skip

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_FORMS: tuple[tuple[bytes | tuple[bytes, ...], Callable[[bytes], Misread | None]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _png_form), (_TIFF_MAGIC, _tiff_form), (b"RIFF", _webp_form),
    ((b"P2", b"P3", b"P5", b"P6"), _pnm_form),
)  # fmt: skip

_OTHERS: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("GIF", lambda data: data.startswith(b"GIF8")),
    ("HEIC or AVIF", lambda data: data[4:8] == b"ftyp"),
    ("JPEG 2000", lambda data: data[4:8] == b"jP  " or data.startswith(b"\xff\x4f\xff\x51")),
    ("PDF", lambda data: data.startswith(b"%PDF")),
    ("OpenEXR", lambda data: data.startswith(b"\x76\x2f\x31\x01")),
)
"""Kinds of pictures that people have and that are refused by name."""
