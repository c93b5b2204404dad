"""Picture to tensor, and coordinates and maps back to the picture. Used everywhere; knows no graph, no family.

Frames: pixel coordinates are continuous (x, y); (0, 0) is the outer corner of the first pixel, its centre (0.5, 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk import encoded, plain_file
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.bundle.rules import MAX_SIDE_PX
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.extras import vendor_errors
from edge_sdk.shown import shown

Color: TypeAlias = Literal["rgb", "bgr"]
"""The order of the channels in arrays that a caller gives."""
Image: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]

MAX_PIXELS = 2**27
"""Largest picture that is decoded, px (134 million). A file can claim any size, so decoding needs a limit."""


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """Where the cells of a network's dense output lie: the centre of cell (row i, column j) is at network pixel
    (x, y) = (offset_px + stride_px * j, offset_px + stride_px * i), continuous; (0, 0) is the first pixel's corner."""

    offset_px: float
    stride_px: float


def grid_problem(grid: Grid) -> str:
    """What is invalid in a grid, as a phrase; "" if it is valid."""
    if not 0 < grid.stride_px <= MAX_SIDE_PX:
        return f"a map stride of {grid.stride_px} px is invalid"
    return "" if abs(grid.offset_px) <= MAX_SIDE_PX else f"a map offset of {grid.offset_px} px is invalid"


@dataclass(frozen=True, slots=True)
class InputTransform:
    """From the caller's picture to one network input: network = scale * picture + offset, per axis, px."""

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """The way back from network inputs to the caller's pixels. width, height: of the caller's picture.

    transforms: one per network input of this picture (more than one only for "tiles"). border: px of a network input on
    each side that repeat its rim.
    """

    width: int
    height: int
    transforms: tuple[InputTransform, ...]
    border: int = 0

    def forward(self, points: NDArray[np.float64], *, tile: int = 0) -> NDArray[np.float64]:
        """Caller's (n, 2) points to network pixels of input `tile`."""
        p = self.transforms[tile]
        return np.asarray(points, np.float64) * (p.scale_x, p.scale_y) + (p.offset_x, p.offset_y)

    def back(self, points: NDArray[np.float64], *, tile: int = 0) -> NDArray[np.float64]:
        """Network (n, 2) points of input `tile` to the caller's pixels."""
        p = self.transforms[tile]
        return (np.asarray(points, np.float64) - (p.offset_x, p.offset_y)) / (p.scale_x, p.scale_y)

    def back_map(self, maps: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
        """Cell maps (tiles, h, w) to one map (height, width) of the caller's picture, bilinear between cell centres.

        Outside the outermost centres the nearest cell is repeated: no extrapolation. Where tiles overlap, the larger
        value counts.
        """
        out: NDArray[np.float32] | None = None
        for cells, transform in zip(maps, self.transforms, strict=True):
            part = self._placed(np.ascontiguousarray(cells, np.float32), transform, grid)
            out = part if out is None else np.maximum(out, part)
        if out is None:
            raise BadInput("there is no map to bring back")
        return out

    def _placed(self, cells: NDArray[np.float32], p: InputTransform, grid: Grid) -> NDArray[np.float32]:
        # Cell index of the caller's pixel centre (x + 0.5): (scale * (x + 0.5) + offset - grid.offset) / grid.stride.
        ax, ay = p.scale_x / grid.stride_px, p.scale_y / grid.stride_px
        bx = (p.offset_x - grid.offset_px) / grid.stride_px + 0.5 * ax
        by = (p.offset_y - grid.offset_px) / grid.stride_px + 0.5 * ay
        if len(self.transforms) == 1:
            return bilinear(cells, ax * np.arange(self.width) + bx, ay * np.arange(self.height) + by)
        # A tile counts only for the pixels inside it.
        h, w = cells.shape
        xs, ys = ax * np.arange(self.width) + bx, ay * np.arange(self.height) + by
        edge = (grid.offset_px - self.border) / grid.stride_px  # from the outermost centre to the window's rim, cells
        seen_x = np.flatnonzero((xs >= -edge) & (xs <= w - 1 + edge))
        seen_y = np.flatnonzero((ys >= -edge) & (ys <= h - 1 + edge))
        part = np.full((self.height, self.width), -np.inf, np.float32)
        if seen_x.size and seen_y.size:
            part[seen_y[0] : seen_y[-1] + 1, seen_x[0] : seen_x[-1] + 1] = bilinear(cells, xs[seen_x], ys[seen_y])
        return part


def bilinear(cells: NDArray[np.float32], xs: NDArray[Any], ys: NDArray[Any]) -> NDArray[np.float32]:
    """Bilinear values of `cells` at fractional (column xs, row ys, both ascending), edges repeated.

    Not written as a matrix product: BLAS threads spin for about 50 ms after one and take cores from the runtime. The
    next `predict` was 1.6x slower on two cores (docs/results/map_threads.json).
    """
    left, right, part = between(xs, cells.shape[1])
    across = cells[:, left] * (1 - part) + cells[:, right] * part  # (cell rows, columns)
    above, below, part = between(ys, cells.shape[0])
    out = np.empty((ys.size, xs.size), np.float32)
    firsts = np.flatnonzero(np.diff(above, prepend=-1))  # of the rows between the same two rows of cells
    ends = [*firsts[1:], ys.size]
    lower = np.empty(
        (int(np.subtract(ends, firsts).max()), xs.size), np.float32
    )  # reuse one buffer: page faults of a new one cost more
    for first, end in zip(firsts, ends, strict=True):
        rows, weights = out[first:end], part[first:end, None]
        np.multiply(across[above[first]], 1 - weights, out=rows)
        rows += np.multiply(across[below[first]], weights, out=lower[: end - first])
    return out


def between(at: NDArray[Any], cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The cells before and behind each place, and its part of the way from one to the other."""
    at = np.clip(at, 0.0, cells - 1.0)
    low = np.minimum(at.astype(np.int64), cells - 1)
    return low, np.minimum(low + 1, cells - 1), (at - low).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """tensor: uint8 (tiles, height, width, 3) RGB, contiguous, ready for the graph. geometry: the way back."""

    tensor: NDArray[np.uint8]
    geometry: Geometry

    @property
    def is_one_colour(self) -> bool:
        """Whether all pixels of the picture inside the network input are the same, ignoring its surroundings."""
        seen = [self._seen(i, p) for i, p in enumerate(self.geometry.transforms)]
        return all(bool((part == seen[0][0, 0]).all()) for part in seen)

    def _seen(self, index: int, p: InputTransform) -> NDArray[np.uint8]:
        """The part of one network input where the picture lies."""
        left, right = p.offset_x, p.offset_x + p.scale_x * self.geometry.width
        top, bottom = p.offset_y, p.offset_y + p.scale_y * self.geometry.height
        return self.tensor[index, max(0, round(top)) : round(bottom), max(0, round(left)) : round(right)]


def apply(picture: Image, record: Preprocessing, *, color: Color = "rgb", where: str = "picture") -> Prepared:
    """One picture to the graph's input: uint8 or uint16, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), in `color` order.

    The picture is never written to. Raises BadInput for other dtypes or shapes, naming `where`.
    """
    rgb = to_rgb8(picture, color=color, bit_depth=record.bit_depth, where=where)
    height, width = rgb.shape[:2]
    inner_w, inner_h = record.width - 2 * record.border, record.height - 2 * record.border
    if inner_w < 1 or inner_h < 1:
        raise BadUsage(f"a border of {record.border} px leaves nothing of {record.width} x {record.height}")
    if record.mode == "tiles":
        inputs, transforms = _tiles(rgb, record, inner_w, inner_h)
    else:
        placed, transform = _single(rgb, record, inner_w, inner_h)
        inputs, transforms = [placed], [transform]
    b = record.border
    if b:
        inputs = [cv2.copyMakeBorder(i, b, b, b, b, cv2.BORDER_REPLICATE) for i in inputs]
        transforms = [InputTransform(p.scale_x, p.scale_y, p.offset_x + b, p.offset_y + b) for p in transforms]
    tensor = np.ascontiguousarray(inputs[0][None] if len(inputs) == 1 else np.stack(inputs))
    return Prepared(tensor, Geometry(width=width, height=height, transforms=tuple(transforms), border=b))


def _single(rgb: NDArray[np.uint8], record: Preprocessing, w: int, h: int) -> tuple[NDArray[np.uint8], InputTransform]:
    height, width = rgb.shape[:2]
    if record.mode == "stretch":
        return resize(rgb, w, h), InputTransform(w / width, h / height, 0.0, 0.0)
    scale = min(w / width, h / height)
    new_w, new_h = max(1, min(w, round(width * scale))), max(1, min(h, round(height * scale)))
    left, top = ((w - new_w) // 2, (h - new_h) // 2) if record.mode == "letterbox" else (0, 0)
    placed = _surround(resize(rgb, new_w, new_h), left, top, w, h, record.fill)
    return placed, InputTransform(new_w / width, new_h / height, float(left), float(top))


def _surround(
    rgb: NDArray[np.uint8], left: int, top: int, w: int, h: int, fill: int | Literal["edge"]
) -> NDArray[np.uint8]:
    right, bottom = w - left - rgb.shape[1], h - top - rgb.shape[0]
    if not (left or top or right or bottom):
        return rgb
    if fill == "edge":
        return np.asarray(cv2.copyMakeBorder(rgb, top, bottom, left, right, cv2.BORDER_REPLICATE), np.uint8)
    grey = (int(fill),) * 3
    return np.asarray(cv2.copyMakeBorder(rgb, top, bottom, left, right, cv2.BORDER_CONSTANT, value=grey), np.uint8)


def _tiles(
    rgb: NDArray[np.uint8], record: Preprocessing, w: int, h: int
) -> tuple[list[NDArray[np.uint8]], list[InputTransform]]:
    """Windows at native resolution; a picture smaller than one window is padded at the right and the bottom."""
    filled = _surround(rgb, 0, 0, max(w, rgb.shape[1]), max(h, rgb.shape[0]), record.fill)
    tiles, transforms = [], []
    for top in _starts(filled.shape[0], h, record.overlap):
        for left in _starts(filled.shape[1], w, record.overlap):
            tiles.append(np.asarray(filled[top : top + h, left : left + w]))
            transforms.append(InputTransform(1.0, 1.0, float(-left), float(-top)))
    return tiles, transforms


def _starts(length: int, window: int, overlap: int) -> list[int]:
    """First pixels of the fewest evenly spread windows that cover `length` and overlap by at least `overlap`."""
    if not 0 <= overlap < window:
        raise BadUsage(
            f"tiles of {window} px can't overlap by {overlap} px", hint="Use an overlap from 0 to below the size"
        )
    if length <= window:
        return [0]
    count = -(-(length - overlap) // (window - overlap))
    return [round(i * (length - window) / (count - 1)) for i in range(count)]


def resize(rgb: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resample, per axis: by area where it shrinks, by bit-exact bilinear interpolation where it grows."""
    small_w, small_h = min(width, rgb.shape[1]), min(height, rgb.shape[0])
    if (small_w, small_h) != (rgb.shape[1], rgb.shape[0]):
        rgb = np.asarray(cv2.resize(rgb, (small_w, small_h), interpolation=cv2.INTER_AREA), np.uint8)
    if (small_w, small_h) != (width, height):
        rgb = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR_EXACT), np.uint8)
    return rgb


def to_rgb8(picture: Any, *, bit_depth: int | None, color: Color = "rgb", where: str = "picture") -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a caller's array. The dtype decides how values are read, the content never does.

    Alpha is dropped, grey is repeated, 16-bit values are scaled by `bit_depth` (above it: refused, not clipped).
    """
    if color not in ("rgb", "bgr"):
        raise BadUsage(f'color is "rgb" or "bgr", not {color!r}')
    array = np.asarray(picture)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise BadInput(
            f"a picture has shape (H, W), (H, W, 3) or (H, W, 4), not {np.asarray(picture).shape}",
            where=where, hint="Pass one picture, channels last",
        )  # fmt: skip
    if array.size == 0:
        raise BadInput(f"the picture is empty: shape {array.shape}", where=where, hint="Check the crop or the camera")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise BadInput(f"{array.shape[1]} x {array.shape[0]} is more than {MAX_PIXELS} px", where=where, hint="Crop it")
    array = array[:, :, :3]
    if array.dtype == np.uint16:
        array = _from_16bit(array, bit_depth, where)
    elif array.dtype != np.uint8:
        raise BadInput(_why_not(array), where=where, hint="Pass uint8, or uint16 with the bit depth in the bundle")
    if array.shape[2] == 1:
        return np.ascontiguousarray(np.repeat(array, 3, axis=2), np.uint8)
    return np.ascontiguousarray(array[:, :, ::-1] if color == "bgr" else array, np.uint8)


def is_grey(tensor: NDArray[np.uint8]) -> bool:
    """Whether every pixel of network inputs (tiles, h, w, 3) has three equal values."""
    red = tensor[..., 0]
    return all(np.array_equal(red, tensor[..., other]) for other in (1, 2))


def _from_16bit(array: NDArray[np.uint16], bit_depth: int | None, where: str) -> NDArray[np.uint8]:
    if bit_depth is None:
        raise BadInput("the picture has 16 bits, the bundle takes 8", where=where, hint="Convert it to 8 bits")
    top = (1 << bit_depth) - 1
    highest = int(array.max())
    if highest > top:
        raise BadInput(
            f"a value of {highest} does not fit the bundle's bit depth of {bit_depth} (at most {top})",
            where=where, hint="Pass pictures of that depth, or scale them to 8 bits before",
        )  # fmt: skip
    return ((array.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)


def _why_not(array: NDArray[Any]) -> str:
    if np.issubdtype(array.dtype, np.floating):
        bad = int(np.count_nonzero(~np.isfinite(array)))
        found = f", and {bad} of its values are NaN or infinite" if bad else ""
        return f"the picture is {array.dtype}{found}: the range of a float picture is unknown"
    return f"the picture is {array.dtype}"


def decode(source: Path | str | bytes, *, where: str | None = None, bit_depth: int | None = None) -> Image:
    """(H, W, 3) RGB, uint8 or uint16, of an encoded picture: EXIF orientation applied, alpha dropped, grey repeated.

    bit_depth: of the bundle's 16-bit pictures; a file that states another one is refused; None = not compared. Raises
    BadInput: no such file, not a picture of a kind that is read (`encoded.KINDS`), of a form that decoders read wrongly
    or of several pictures (`encoded.check_form`), cut short, or larger than MAX_PIXELS.
    """
    if isinstance(source, bytes):
        data, name = source, where or "picture"
    else:
        path = Path(source)
        name = where or shown(path)
        data = plain_file.read(path, what="a picture", where=name)
    width, height = encoded.size(data, where=name)
    if width * height > MAX_PIXELS:
        raise BadInput(f"it claims {width} x {height} px, more than {MAX_PIXELS}", where=name, hint="Crop it")
    encoded.check_form(data, where=name)
    _check_depth(encoded.white(data), bit_depth, name)
    bgr = _by_opencv(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, name)
    if encoded.may_be_transparent(data):
        _check_opaque(_by_opencv(data, cv2.IMREAD_UNCHANGED, name), name)
    if bgr.dtype not in (np.uint8, np.uint16):
        raise BadInput(f"the file holds {bgr.dtype} values", where=name, hint="Save it with 8 or 16 bits a channel")
    return np.ascontiguousarray(bgr[:, :, ::-1])


def _by_opencv(data: bytes, how: int, name: str) -> NDArray[Any]:
    try:
        out = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error:  # OpenCV raises for some damage, and returns None for other
        out = None
    if out is None:
        raise BadInput(
            "OpenCV can't decode it: the picture is damaged, cut short, or of a rare form", where=name,
            hint="Copy it again, or save it as PNG",
        )  # fmt: skip
    return np.asarray(out)


def _check_depth(white: int | None, bit_depth: int | None, name: str) -> None:
    """white: the value that the file states, 255 of 8 bits."""
    if white is None or white == 255 or bit_depth is None or white == (1 << bit_depth) - 1:
        return
    raise BadInput(
        f"the file's white is {white}, the bundle's 16-bit pictures have {bit_depth} bits", where=name,
        hint=f"Scale its values to {(1 << bit_depth) - 1}, or train with --bit-depth {white.bit_length()}",
    )  # fmt: skip


def _check_opaque(unchanged: NDArray[Any], name: str) -> None:
    """Decoders multiply the colours of such a file by its alpha or not, by its bits and kind of alpha."""
    if unchanged.ndim == 3 and unchanged.shape[2] == 4 and (unchanged[:, :, 3] != np.iinfo(unchanged.dtype).max).any():
        raise BadInput(
            "this is a TIFF with transparent pixels, whose colours are not the same in all readers", where=name,
            hint="Save it without its alpha channel",
        )  # fmt: skip


def read_rgb8(file: Path, *, bit_depth: int | None) -> NDArray[np.uint8]:
    """A file's picture at its own size, (H, W, 3) uint8 RGB. bit_depth: the bundle's. Raises as `decode` and
    `to_rgb8`."""
    return to_rgb8(decode(file, bit_depth=bit_depth), bit_depth=bit_depth, where=shown(file))


def of_pil(picture: Any, *, where: str) -> Image:
    """Pixels of a PIL picture, uint8 (H, W, 3) RGB or uint16 (H, W): EXIF orientation applied, 16 bits kept, so that it
    gives the same result as its file. Raises BadInput where Pillow can't read the rest of that file."""
    with vendor_errors("Pillow", where=where, hint="Copy the file again, or save it as PNG"):
        from PIL import ImageOps  # imported here: devices without PIL pictures need no Pillow

        turned = ImageOps.exif_transpose(picture)
        # More than 8 bits ("I;16", "I", "F") stay as they are: `convert` would clip them at 255.
        return np.asarray(turned if turned.mode[0] in "IF" else turned.convert("RGB"))
