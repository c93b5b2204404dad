"""A picture file is judged by its own header before it is decoded: what it is, how large, whether it is whole."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_sdk import encoded, preprocess
from edge_sdk.errors import BadInput

HUGE = (40_000, 30_000)


def _written(suffix: str, picture: NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(suffix, picture[:, :, 0] if suffix == ".pgm" else picture)[1])


def _tiff(
    width: int, height: int, *, order: str = "<", big: bool = False, tile: tuple[int, int] | None = None
) -> bytes:
    """A grey TIFF of zeros, whose strips of 100 rows (or tiles) are one and the same few bytes."""
    across, down = tile or (width, min(100, height))
    count = -(-width // across) * -(-height // down)
    block = zlib.compress(bytes(across * down) if tile != HUGE else b"", 9)
    number, head, kind = ("Q", 16, 16) if big else ("I", 8, 4)
    lists = head + len(block)
    size = struct.calcsize("<" + number)
    starts, lengths, directory = lists, lists + count * size, lists + 2 * count * size
    tags = [(256, 1, width), (257, 1, height), (258, 1, 8), (259, 1, 8), (262, 1, 1), (277, 1, 1)]
    tags += [(322, 1, across), (323, 1, down)] if tile else [(278, 1, down)]
    tags += [(324 if tile else 273, count, head if count == 1 else starts)]
    tags += [(325 if tile else 279, count, len(block) if count == 1 else lengths)]
    out = struct.pack(order + "HHHQ", 43, 8, 0, directory) if big else struct.pack(order + "HI", 42, directory)
    out = (b"II" if order == "<" else b"MM") + out + block
    out += struct.pack(f"{order}{2 * count}{number}", *[head] * count, *[len(block)] * count)
    out += struct.pack(order + ("Q" if big else "H"), len(tags))
    for tag, values, value in sorted(tags):
        out += struct.pack(f"{order}HH{number}{number}", tag, kind, values, value)
    return out + bytes(size)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_a_small_tiff_that_would_decode_to_gigabytes_is_refused_before_it_is_decoded(order: str, big: bool) -> None:
    assert preprocess.decode(_tiff(400, 300, order=order, big=big)).shape == (300, 400, 3)  # it is a real TIFF
    bomb = _tiff(*HUGE, order=order, big=big)
    assert len(bomb) < 30_000
    with pytest.raises(BadInput, match=r"bomb\.tif: it claims 40000 x 30000 px"):
        preprocess.decode(bomb, where="bomb.tif")


def test_the_tiles_of_a_tiff_count_as_its_size_since_they_are_decoded_whole() -> None:
    assert preprocess.decode(_tiff(100, 100, tile=(64, 64))).shape == (100, 100, 3)
    with pytest.raises(BadInput, match="claims 40000 x 30000"):
        preprocess.decode(_tiff(100, 100, tile=HUGE))


def _png_of(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _jpeg_of(width: int, height: int) -> bytes:
    data = bytearray(cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))[1])
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


HUGE_FILES: dict[str, Callable[[], bytes]] = {
    "png": lambda: _png_of(*HUGE),
    "jpg": lambda: _jpeg_of(*HUGE),
    "bmp": lambda: b"BM" + bytes(12) + struct.pack("<Iii", 40, 40_000, -30_000) + bytes(40),
    "old bmp": lambda: b"BM" + bytes(12) + struct.pack("<IHH", 12, *HUGE) + bytes(40),
    "ppm": lambda: b"P6 # made by hand\n40000\n# high:\n30000 255\n" + bytes(9),
    "pgm": lambda: b"P5\n40000 30000\n255\n" + bytes(9),
    "webp": lambda: b"RIFF" + struct.pack("<I4s4sI", 22, b"WEBP", b"VP8X", 10) + bytes(4)
    + struct.pack("<HBHB", 39_999, 0, 29_999, 0),
}  # fmt: skip


@pytest.mark.parametrize("kind", HUGE_FILES)
def test_every_kind_that_claims_a_huge_size_is_refused_before_it_is_decoded(kind: str) -> None:
    assert encoded.size(HUGE_FILES[kind](), where=kind) == HUGE
    with pytest.raises(BadInput, match="claims 40000 x 30000"):
        preprocess.decode(HUGE_FILES[kind]())


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp", ".ppm", ".pgm"])
def test_the_size_read_first_is_the_size_decoded(photo: NDArray[np.uint8], suffix: str) -> None:
    data = _written(suffix, photo)
    assert encoded.size(data, where=suffix) == (64, 48)
    assert preprocess.decode(data).shape == (48, 64, 3)


@pytest.mark.parametrize("lossless", [False, True])
def test_a_webp_of_either_coding_tells_its_size(photo: NDArray[np.uint8], lossless: bool) -> None:
    quality = 101 if lossless else 80  # above 100: lossless
    data = bytes(cv2.imencode(".webp", photo, [cv2.IMWRITE_WEBP_QUALITY, quality])[1])
    assert data[12:16] == (b"VP8L" if lossless else b"VP8 ")
    assert encoded.size(data, where="x") == (64, 48)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("behind", [bytes(9000), b"\xff\xd8\xff\xe1 a vendor's block " * 500])
def test_what_a_camera_writes_behind_the_picture_does_no_harm(
    photo: NDArray[np.uint8], suffix: str, behind: bytes
) -> None:
    data = _written(suffix, photo)
    np.testing.assert_array_equal(preprocess.decode(data + behind), preprocess.decode(data))


@pytest.mark.parametrize("progressive", [0, 1])
def test_the_end_mark_of_a_thumbnail_inside_is_not_that_of_the_picture(
    photo: NDArray[np.uint8], progressive: int
) -> None:
    thumbnail = b"Exif\0\0" + _written(".jpg", photo[::8, ::8])
    whole = bytes(cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1])
    data = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + whole[2:]
    assert preprocess.decode(data).shape == (48, 64, 3)
    with pytest.raises(BadInput, match="the JPEG is cut short: its end mark is missing"):
        preprocess.decode(data[:-2])


def test_a_png_with_a_flipped_byte_is_named_damaged(photo: NDArray[np.uint8]) -> None:
    data = bytearray(_written(".png", photo))
    data[len(data) // 2] ^= 4
    with pytest.raises(BadInput, match=r"part7\.png: the PNG is damaged: the checksum"):
        preprocess.decode(bytes(data), where="part7.png")


@pytest.mark.parametrize("suffix", [".tif", ".bmp", ".webp", ".ppm"])
@pytest.mark.parametrize("cut", [0.02, 0.5, 0.99])
def test_a_cut_file_of_any_kind_is_refused(photo: NDArray[np.uint8], suffix: str, cut: float) -> None:
    data = _written(suffix, photo)
    with pytest.raises(BadInput, match="cut short"):
        preprocess.decode(data[: int(len(data) * cut)], where="x")


@given(
    start=st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0+", b"BM", b"RIFF", b"P5", b""]),
    rest=st.binary(max_size=80),
)
def test_no_bytes_raise_anything_but_bad_input(start: bytes, rest: bytes) -> None:
    try:
        width, height = encoded.size(start + rest, where="x")
    except BadInput:
        return
    assert width >= 0
    assert height >= 0


def test_a_jpeg_whose_tables_stand_before_its_header_is_read_by_its_header() -> None:
    """Marks 0xC4, 0xC8 and 0xCC lie among those of the headers and are tables; decoders take them in any order."""
    data = cv2.imencode(".jpg", np.zeros((30, 50, 3), np.uint8))[1].tobytes()
    table = data.index(b"\xff\xc4")
    length = 2 + int.from_bytes(data[table + 2 : table + 4], "big")
    header = data.index(b"\xff\xc0")
    moved = data[:header] + data[table : table + length] + data[header:table] + data[table + length :]
    assert cv2.imdecode(np.frombuffer(moved, np.uint8), cv2.IMREAD_COLOR).shape == (30, 50, 3)
    assert encoded.size(moved, where="x.jpg") == (50, 30)


@pytest.mark.parametrize(("tile", "size"), [(64, (1000, 500)), (4096, (4096, 4096))])
def test_a_tiled_tiff_claims_its_own_size_or_that_of_its_tiles_whichever_is_larger(
    tile: int, size: tuple[int, int]
) -> None:
    entries = [(256, 1000), (257, 500), (322, tile), (323, tile)]
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    data = b"II*\0" + struct.pack("<IH", 8, len(entries)) + listed + bytes(4)
    assert encoded.size(data, where="x.tif") == size


def _tags(*entries: tuple[int, int, int, int], at: int = 8) -> bytes:
    """A little-endian TIFF that is nothing but its list of (tag, kind, count, value)."""
    listed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", at, len(entries)) + listed + bytes(4)


WIDE, HIGH = (256, 4, 1, 100), (257, 4, 1, 50)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 0, b"IEND") + struct.pack(">I", zlib.crc32(b"IEND")) + bytes(30),
         "its first part is not the header"),
        (_tags((256, 2, 1, 100), HIGH), "its size can't be read"),
        (_tags((256, 4, 2, 100), HIGH), "its size can't be read"),
        (_tags((256, 16, 1, 100), HIGH), "its size can't be read"),
        (_tags(WIDE, (258, 3, 1, 8)), "it does not tell its size"),
        (_tags(WIDE, HIGH, at=10**6), "its list of contents is missing"),
        (b"RIFF" + struct.pack("<I", 26) + b"WAVEVP8L" + bytes(30), "not that of a WebP"),
        (b"RIFF" + struct.pack("<I", 500) + b"WEBPVP8L" + bytes(30), "bytes are missing"),
    ],
)  # fmt: skip
def test_a_header_that_can_not_be_is_distinguished(data: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        encoded.size(data, where="x")
