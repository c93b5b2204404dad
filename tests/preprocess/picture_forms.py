"""One picture in every form that people have it in, written by Pillow, tifffile or by hand. Knows no product code."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 64, 96
_YS, _XS = np.mgrid[0:HEIGHT, 0:WIDTH]
RGB = np.stack([_XS * 2 + _YS, _YS * 3 + 20, 250 - _XS * 2], -1).astype(np.uint8)
"""uint8 (64, 96, 3), three different channels."""
GREY, RGB16 = RGB[:, :, 0], RGB.astype(np.uint16) * 257 - (RGB % 7)
GREY16 = RGB16[:, :, 0]
BITS = GREY > 127
ALPHA = ((_XS + _YS) * 3 % 256).astype(np.uint8)[:, :, None]
INDEXED = np.stack([GREY, 255 - GREY, np.full_like(GREY, 7)], -1)
"""What the palette makes of GREY."""
_PALETTE = np.stack([np.arange(256), np.arange(255, -1, -1), np.full(256, 7)], -1).astype(np.uint8)


def tif(pixels: NDArray[Any], **how: Any) -> bytes:
    """How: arguments of tifffile.imwrite."""
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **({"photometric": "rgb" if pixels.ndim == 3 else "minisblack"} | how))
    return file.getvalue()


def pil(image: Image.Image, kind: str, **how: Any) -> bytes:
    """How: arguments of Image.save."""
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(pixels: NDArray[Any], *, kind: int, bits: int = 8, extra: bytes = b"") -> bytes:
    """kind: PNG's colour type. extra: chunks between header and pixels."""
    rows = pixels.astype(">u2") if bits == 16 else pixels
    if bits < 8:
        spread = np.unpackbits(pixels[:, :, None], axis=2)[:, :, 8 - bits :].reshape(HEIGHT, -1)
        rows = np.packbits(spread, axis=1)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def transparent(*values: int) -> bytes:
    """The chunk that names one colour of a PNG as transparent."""
    return _chunk(b"tRNS", struct.pack(f">{len(values)}H", *map(int, values)))


def pnm(kind: int, pixels: NDArray[Any], top: int) -> bytes:
    """P2 and P3 in digits, P5 and P6 in bytes."""
    head = f"P{kind}\n# a comment\n{WIDTH} {HEIGHT}\n# another\n{top}\n".encode()
    if kind < 4:
        return head + " ".join(map(str, pixels.ravel())).encode() + b"\n"
    return head + pixels.astype(">u2" if top > 255 else np.uint8).tobytes()


def by_hand(bits: int, pixels: NDArray[Any], *tags: tuple[int, int, int, int], colours: int = 1) -> bytes:
    """A little-endian TIFF of one channel, its values packed into `bits` each. tags: (number, type, count, value)."""
    spread = np.unpackbits(pixels.astype(">u2").view(np.uint8).reshape(*pixels.shape, 2), axis=2)
    packed = np.packbits(spread[:, :, 16 - bits :].reshape(len(pixels), -1), axis=1).tobytes()
    listed = {256: (4, 1, WIDTH), 257: (4, 1, HEIGHT), 258: (3, 1, bits), 259: (3, 1, 1), 262: (3, 1, colours)}
    listed |= {277: (3, 1, 1), 278: (4, 1, HEIGHT), 273: (4, 1, 8), 279: (4, 1, len(packed))}
    listed |= {tag: rest for tag, *rest in tags}  # type: ignore[misc]
    directory = b"".join(struct.pack("<HHII", tag, *rest) for tag, rest in sorted(listed.items()))
    return (
        b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(listed)) + directory + bytes(4)
    )


def _with_alpha(pixels: NDArray[Any], alpha: NDArray[Any] = ALPHA) -> NDArray[Any]:
    scaled = alpha.astype(pixels.dtype) * (257 if pixels.dtype == np.uint16 else 1)
    return np.concatenate([pixels if pixels.ndim == 3 else pixels[:, :, None], scaled], axis=-1)


def _planes(pixels: NDArray[Any], **how: Any) -> bytes:
    return tif(pixels.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", **how)


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """As a viewer shows it: EXIF 2.3, the table of Orientation."""
    flipped = pixels.swapaxes(0, 1)
    return {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: flipped, 6: flipped[:, ::-1],
        7: flipped[::-1, ::-1], 8: flipped[::-1],
    }[orientation]  # fmt: skip


def _indexed_pil() -> Image.Image:
    image = Image.fromarray(GREY).convert("P")
    image.frombytes(GREY.tobytes())
    image.putpalette(_PALETTE.tobytes())
    return image


def decoded_exactly() -> dict[str, tuple[bytes, NDArray[Any]]]:
    """Name -> (file, pixels that it must give, grey ones as (H, W))."""
    image, opaque = Image.fromarray(RGB), np.full_like(ALPHA, 255)
    mono, palette = BITS.astype(np.uint8) * 255, (_PALETTE.T.astype(np.uint16) * 257)
    out: dict[str, tuple[bytes, NDArray[Any]]] = {}
    for order in "<>":
        out |= {
            f"TIFF {order} RGB 8": (tif(RGB, byteorder=order), RGB),
            f"TIFF {order} RGB 16": (tif(RGB16, byteorder=order), RGB16),
            f"TIFF {order} grey 8": (tif(GREY, byteorder=order), GREY),
            f"TIFF {order} grey 16": (tif(GREY16, byteorder=order), GREY16),
            f"TIFF {order} planes 8": (_planes(RGB, byteorder=order), RGB),
            f"TIFF {order} min is white 8": (tif(255 - GREY, photometric="miniswhite", byteorder=order), GREY),
            f"BigTIFF {order} RGB 16": (tif(RGB16, byteorder=order, bigtiff=True), RGB16),
        }
    for orientation in range(1, 9):
        tag, exif = [(0x0112, "H", 1, orientation, True)], _exif(orientation)
        out |= {
            f"TIFF turned {orientation}, 8": (tif(RGB, extratags=tag), turned(RGB, orientation)),
            f"TIFF turned {orientation}, 16": (tif(RGB16, extratags=tag), turned(RGB16, orientation)),
            f"PNG turned {orientation}": (pil(image, "PNG", exif=exif), turned(RGB, orientation)),
            f"WebP turned {orientation}": (pil(image, "WEBP", lossless=True, exif=exif), turned(RGB, orientation)),
        }
    for packing in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        out[f"TIFF {packing}"] = (pil(image, "TIFF", compression=packing), RGB)
    five = RGB16[5, 5].tolist()
    return out | {
        "TIFF tiles 8": (tif(RGB, tile=(64, 64)), RGB),
        "TIFF tiles 16": (tif(RGB16, tile=(64, 64)), RGB16),
        "TIFF tiles grey 16": (tif(GREY16, tile=(16, 32)), GREY16),
        "TIFF palette 8": (tif(GREY, photometric="palette", colormap=palette), INDEXED),
        "TIFF 1 bit": (tif(BITS), mono),
        "TIFF 1 bit, min is white": (tif(~BITS, photometric="miniswhite"), mono),
        "TIFF 1 bit, fax": (pil(Image.fromarray(BITS), "TIFF", compression="group4"), mono),
        "TIFF CMYK 8": (pil(image.convert("CMYK"), "TIFF"), RGB),
        "TIFF opaque alpha 8": (tif(_with_alpha(RGB, opaque), extrasamples=["unassalpha"]), RGB),
        "TIFF opaque alpha 16": (tif(_with_alpha(RGB16, opaque), extrasamples=["assocalpha"]), RGB16),
        "TIFF fourth channel 8": (tif(_with_alpha(RGB), extrasamples=["unspecified"]), RGB),
        "PNG grey and alpha 8": (png(_with_alpha(GREY), kind=4), GREY),
        "PNG grey and alpha 16": (png(_with_alpha(GREY16), kind=4, bits=16), GREY16),
        "PNG RGB and alpha 8": (png(_with_alpha(RGB), kind=6), RGB),
        "PNG RGB and alpha 16": (png(_with_alpha(RGB16), kind=6, bits=16), RGB16),
        "PNG RGB 16": (png(RGB16, kind=2, bits=16), RGB16),
        "PNG tRNS RGB 8": (png(RGB, kind=2, extra=transparent(*RGB[5, 5])), RGB),
        "PNG tRNS RGB 16": (png(RGB16, kind=2, bits=16, extra=transparent(*five)), RGB16),
        "PNG tRNS grey 8": (png(GREY, kind=0, extra=transparent(GREY[5, 5])), GREY),
        "PNG tRNS grey 16": (png(GREY16, kind=0, bits=16, extra=transparent(five[0])), GREY16),
        "PNG gAMA": (png(RGB, kind=2, extra=_chunk(b"gAMA", struct.pack(">I", 100000))), RGB),
        "PNG 1 bit": (png(BITS.astype(np.uint8), kind=0, bits=1), mono),
        "PNG 2 bits": (png(GREY >> 6, kind=0, bits=2), (GREY >> 6) * 85),
        "PNG 4 bits": (png(GREY >> 4, kind=0, bits=4), (GREY >> 4) * 17),
        "PNG palette": (pil(_indexed_pil(), "PNG"), INDEXED),
        "PNG palette, transparent": (pil(_indexed_pil(), "PNG", transparency=bytes(range(256))), INDEXED),
        "PNG of one frame": (pil(image, "PNG", save_all=True), RGB),
        "WebP alpha": (pil(Image.fromarray(_with_alpha(RGB)), "WEBP", lossless=True, exact=True), RGB),
        "WebP of one frame": (pil(image, "WEBP", lossless=True, save_all=True), RGB),
        "BMP": (pil(image, "BMP"), RGB),
        "BMP grey": (pil(Image.fromarray(GREY), "BMP"), GREY),
        "BMP palette": (pil(_indexed_pil(), "BMP"), INDEXED),
        "BMP 1 bit": (pil(Image.fromarray(BITS), "BMP"), mono),
        "BMP 32": (pil(Image.fromarray(_with_alpha(RGB)), "BMP"), RGB),
        "PGM digits": (pnm(2, GREY, 255), GREY),
        "PPM digits": (pnm(3, RGB, 255), RGB),
        "PGM 8": (pnm(5, GREY, 255), GREY),
        "PPM 8": (pnm(6, RGB, 255), RGB),
        "PGM 10": (pnm(5, GREY16 >> 6, 1023), GREY16 >> 6),
        "PGM 10, digits": (pnm(2, GREY16 >> 6, 1023), GREY16 >> 6),
        "PPM 12": (pnm(6, RGB16 >> 4, 4095), RGB16 >> 4),
        "PGM 16": (pnm(5, GREY16, 65535), GREY16),
    }  # fmt: skip


def decoded_nearly() -> dict[str, tuple[bytes, NDArray[Any], int]]:
    """Name -> (file, pixels, highest difference): codings that lose something by themselves."""
    image = Image.fromarray(RGB)
    sharp = {"quality": 100, "subsampling": 0}
    return {
        "JPEG": (pil(image, "JPEG", **sharp), RGB, 6),
        "JPEG progressive": (pil(image, "JPEG", progressive=True, **sharp), RGB, 6),
        "JPEG grey": (pil(Image.fromarray(GREY), "JPEG", quality=100), GREY, 4),
        "JPEG of RGB": (pil(image, "JPEG", quality=100, keep_rgb=True), RGB, 4),
        "JPEG CMYK": (pil(image.convert("CMYK"), "JPEG", **sharp), RGB, 6),
        "JPEG turned 6": (pil(image, "JPEG", exif=_exif(6), **sharp), turned(RGB, 6), 6),
        "TIFF YCbCr": (pil(image.convert("YCbCr"), "TIFF"), RGB, 6),
        "TIFF JPEG": (pil(image, "TIFF", compression="jpeg", quality=100), RGB, 6),
    }


def refused() -> dict[str, tuple[bytes, str, str]]:
    """Name -> (file, what it is called, a part of how to convert it)."""
    image, other = Image.fromarray(RGB), Image.fromarray(255 - RGB)
    floats, depth, page = GREY / np.float32(255), "Save it with 8 or 16 bits", "several pages"
    half = floats.astype(np.float16)
    signed = GREY16.astype(np.int32) - 32768
    wide_alpha = {"extrasamples": ["unassalpha"], "planarconfig": "contig", "photometric": "minisblack"}
    out = {}
    for order in "<>":
        o: dict[str, Any] = {"byteorder": order}
        out |= {
            f"{order} float 32": (tif(floats, **o), "floating-point TIFF", "0 to 65535"),
            f"{order} float 32 RGB": (tif(RGB / np.float32(255), **o), "floating-point TIFF", "0 to 65535"),
            f"{order} float 64": (tif(floats.astype(np.float64), **o), "floating-point TIFF", "0 to 65535"),
            f"{order} float 16": (tif(half, **o), "floating-point TIFF", "0 to 65535"),
            f"{order} complex": (tif(floats.astype(np.complex64), **o), "complex TIFF", "0 to 65535"),
            f"{order} signed 8": (tif((signed >> 8).astype(np.int8), **o), "signed-integer TIFF", "0 to 65535"),
            f"{order} signed 16": (tif(signed.astype(np.int16), **o), "signed-integer TIFF", "0 to 65535"),
            f"{order} signed 32": (tif(signed, **o), "signed-integer TIFF", "0 to 65535"),
            f"{order} unsigned 32": (tif(GREY16.astype(np.uint32), **o), "TIFF of 32 bits", depth),
            f"{order} planes 16": (_planes(RGB16, **o), "16-bit TIFF of separate colour planes", "tiffcp -p contig"),
            f"{order} min is white 16": (
                tif(65535 - GREY16, photometric="miniswhite", **o), "16-bit TIFF whose lowest value is white", "PNG",
            ),
            f"{order} two pages": (tif(np.stack([RGB, RGB]), **o), page, "tiffsplit"),
        }  # fmt: skip
    return out | {
        "planes 16 in tiles": (_planes(RGB16, tile=(64, 64)), "separate colour planes", "tiffcp -p contig"),
        "three pages, big": (tif(np.stack([GREY] * 3), photometric="minisblack", bigtiff=True), page, "tiffsplit"),
        "a preview first": (tif(RGB, subfiletype=1), "reduced preview", "PNG"),
        "10 bits packed": (by_hand(10, GREY16 >> 6), "TIFF of 10 bits", depth),
        "12 bits packed": (by_hand(12, GREY16 >> 4), "TIFF of 12 bits", depth),
        "4 bits grey": (by_hand(4, GREY.astype(np.uint16) >> 4), "TIFF of 4 bits", depth),
        "untyped": (by_hand(16, GREY16, (339, 3, 1, 4)), "untyped TIFF", "0 to 65535"),
        "palette 16": (by_hand(16, GREY16, colours=3), "TIFF of 16 bits and palette colours", "PNG"),
        "raw sensor": (by_hand(16, GREY16, colours=32803), "raw sensor colours", "PNG"),
        "mask": (by_hand(8, GREY.astype(np.uint16), colours=4), "transparency mask colours", "PNG"),
        "unknown colours": (by_hand(8, GREY.astype(np.uint16), colours=999), r"unknown \(999\) colours", "PNG"),
        "CIELab": (tif(RGB, photometric="cielab"), "TIFF of 8 bits and CIELab colours", "PNG"),
        "CMYK 16": (tif(_with_alpha(RGB16), photometric="separated"), "TIFF of 16 bits and CMYK colours", "PNG"),
        "grey and alpha 8": (tif(_with_alpha(GREY), **wide_alpha), "grey TIFF with 2 channels", "PNG"),
        "grey and alpha 16": (tif(_with_alpha(GREY16), **wide_alpha), "grey TIFF with 2 channels", "PNG"),
        "grey of three": (tif(RGB, photometric="minisblack", planarconfig="contig"), "grey TIFF with 3", "PNG"),
        "five channels": (
            tif(_with_alpha(_with_alpha(RGB)), extrasamples=["unspecified"] * 2), "TIFF of 5 colours", "PNG",
        ),
        "alpha 8": (tif(_with_alpha(RGB), extrasamples=["unassalpha"]), "TIFF with transparent pixels", "alpha"),
        "alpha 8, in the colours": (tif(_with_alpha(RGB), extrasamples=["assocalpha"]), "transparent pixels", "alpha"),
        "alpha 16": (tif(_with_alpha(RGB16), extrasamples=["unassalpha"]), "TIFF with transparent pixels", "alpha"),
        "PNG of two frames": (
            pil(image, "PNG", save_all=True, append_images=[other]), "PNG of 2 pictures", "each picture",
        ),
        "WebP of two frames": (
            pil(image, "WEBP", lossless=True, save_all=True, append_images=[other]), "WebP of 2 pictures",
            "each picture",
        ),
        "PGM of 100": (pnm(5, GREY // 3, 100), "PGM or PPM whose white is 100", "255 or 65535"),
        "PGM of 100, digits": (pnm(2, GREY // 3, 100), "PGM or PPM whose white is 100", "255 or 65535"),
        "PPM of 2000": (pnm(6, RGB16 // 33, 2000), "PGM or PPM whose white is 2000", "255 or 65535"),
    }  # fmt: skip
