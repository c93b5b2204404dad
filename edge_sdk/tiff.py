"""What a TIFF says of its first picture: size, and whether it is of a form that is decoded right. Knows no pixel.

The forms were tried with OpenCV 5.0: some of those left out come back garbled, inverted or in 8 bits of 16, and none of
that is an error there. tests/preprocess/test_picture_forms.py holds what is decoded, kind by kind.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""Field types that hold whole numbers, and their struct codes."""
_MOST_VALUES = 64
"""Of a tag that says something of the form: as many as a picture may have channels, and more."""

SUBFILE, WIDTH, HEIGHT, BITS, PHOTOMETRIC, SAMPLES, PLANAR = 254, 256, 257, 258, 262, 277, 284
TILE_WIDTH, TILE_HEIGHT, EXTRA, FORMAT = 322, 323, 338, 339
_SIZES = {WIDTH: "width", HEIGHT: "height", TILE_WIDTH: "width", TILE_HEIGHT: "height"}
_FORM = (SUBFILE, BITS, PHOTOMETRIC, SAMPLES, PLANAR, EXTRA, FORMAT)

MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = {4: "transparency mask", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "raw sensor", 34892: "raw sensor"}
_FORMATS = {2: "signed-integer", 3: "floating-point", 4: "untyped", 5: "complex", 6: "complex"}
_AS_PNG = "Save it as PNG"


class Fault(Exception):
    """What is wrong with a file, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Misread:
    """A form that decoders get wrong or read differently. what: a noun phrase. hint: how to convert it."""

    what: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The first picture. tags: whole numbers by number of the tag, those that say something of its form. more: whether
    other pictures follow it in the file."""

    width: int
    height: int
    tags: Mapping[int, tuple[int, ...]]
    more: bool

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits of each sample of a pixel."""
        return self.tags.get(BITS, (1,))

    @property
    def samples(self) -> int:
        """Channels, alpha among them."""
        return self._one(SAMPLES, 1)

    @property
    def has_alpha(self) -> bool:
        """Whether one channel says how opaque a pixel is."""
        return bool({1, 2} & set(self.tags.get(EXTRA, ())))

    def misread(self) -> Misread | None:
        """Why its pixels would not be those of the same picture as a plain file, or None."""
        return self._of_several() or self._by_numbers() or self._by_colours()

    def _one(self, tag: int, default: int) -> int:
        return next(iter(self.tags.get(tag, ())), default)

    def _of_several(self) -> Misread | None:
        if self.more:
            return Misread("TIFF of several pages, and only the first would be read", "Split it: tiffsplit FILE")
        if self._one(SUBFILE, 0) & 1:
            return Misread("TIFF whose first picture is a reduced preview", _AS_PNG)
        return None

    def _by_numbers(self) -> Misread | None:
        if (kind := next((f for f in self.tags.get(FORMAT, ()) if f != 1), 1)) != 1:
            scaled = "Scale its values to 0 to 65535 and save it as 16-bit PNG: how they are meant can't be known"
            return Misread(f"{_FORMATS.get(kind, 'strange')} TIFF", scaled)
        if len(set(self.bits)) > 1 or self.bits[0] not in (1, 4, 8, 16) or (self.bits[0] == 4 and not self._indexed):
            return Misread(f"TIFF of {'/'.join(map(str, sorted(set(self.bits))))} bits", "Save it with 8 or 16 bits")
        return None

    @property
    def _indexed(self) -> bool:
        return self._one(PHOTOMETRIC, -1) == PALETTE

    def _by_colours(self) -> Misread | None:
        colours, wide = self._one(PHOTOMETRIC, -1), self.bits[0] == 16
        if colours in (MIN_IS_WHITE, MIN_IS_BLACK) and self.samples > 1:
            return Misread(f"grey TIFF with {self.samples} channels", f"{_AS_PNG}, grey alone or RGB")
        if colours == MIN_IS_WHITE and wide:
            return Misread("16-bit TIFF whose lowest value is white", f"{_AS_PNG}: its lowest value is black")
        if colours == RGB and self.samples not in (3, 4):
            return Misread(f"TIFF of {self.samples} colours and other channels", f"{_AS_PNG}, RGB")
        if self._one(PLANAR, 1) == 2 and self.samples > 1 and wide:
            return Misread("16-bit TIFF of separate colour planes", f"tiffcp -p contig FILE NEW, or {_AS_PNG.lower()}")
        plain = (MIN_IS_WHITE, MIN_IS_BLACK, RGB) if wide else (MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, CMYK, YCBCR)
        if colours not in plain:
            names = {PALETTE: "palette", CMYK: "CMYK", YCBCR: "YCbCr"} | _COLOURS
            name = names.get(colours, "unstated" if colours < 0 else f"unknown ({colours})")
            return Misread(f"TIFF of {self.bits[0]} bits and {name} colours", f"{_AS_PNG}, RGB or grey")
        return None


def first_page(data: bytes) -> Page:
    """Reads the first directory of `data`. width, height: the largest that it claims, its own and that of its tiles,
    which are decoded whole. Raises Fault, or struct.error where the header ends early."""
    order = "<" if data.startswith(b"II") else ">"
    if struct.unpack_from(order + "H", data, 2)[0] == 43:  # BigTIFF
        count_of, entry, link, at = "Q", "HHQ", "Q", struct.unpack_from(order + "Q", data, 8)[0]
    else:
        count_of, entry, link, at = "H", "HHI", "I", struct.unpack_from(order + "I", data, 4)[0]
    if at >= len(data):  # a number of 64 bits, too: struct would call it an overflow
        raise Fault("is cut short: its list of contents is missing")
    count = struct.unpack_from(order + count_of, data, at)[0]
    at += struct.calcsize(count_of)
    head, room = struct.calcsize("<" + entry), struct.calcsize(link)
    claims: dict[str, int] = {}
    tags: dict[int, tuple[int, ...]] = {}
    for i in range(min(count, 65536)):
        place = at + i * (head + room)
        tag, kind, values = struct.unpack_from(order + entry, data, place)
        code = _NUMBERS.get(kind, "")
        if tag in _SIZES:
            if not code or values != 1 or struct.calcsize(code) > room:
                raise Fault("is damaged: its size can't be read")
            value = struct.unpack_from(order + code, data, place + head)[0]
            claims[_SIZES[tag]] = max(value, claims.get(_SIZES[tag], 0))
        elif tag in _FORM:
            if not code or not 0 < values <= _MOST_VALUES:
                raise Fault(f"is damaged: its tag {tag} can't be read")
            numbers = f"{order}{values}{code}"
            here = place + head
            if struct.calcsize(numbers) > room:  # they lie elsewhere
                here = struct.unpack_from(order + link, data, here)[0]
            if here + struct.calcsize(numbers) > len(data):
                raise Fault(f"is cut short: the values of its tag {tag} are missing")
            tags[tag] = struct.unpack_from(numbers, data, here)
    if len(claims) < 2:
        raise Fault("is damaged: it does not tell its size")
    return Page(**claims, tags=tags, more=_follows(data, at + count * (head + room), order + link))


def _follows(data: bytes, at: int, link: str) -> bool:
    """Whether the directory names another one, which is really there: old writers left anything behind the last."""
    try:
        following = int(struct.unpack_from(link, data, at)[0])
    except (struct.error, OverflowError):
        return False
    return 0 < following < len(data)
