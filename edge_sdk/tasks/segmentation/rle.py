"""Run-length encodings of a mask: plain runs, and the compressed string of COCO. Knows arrays; no picture, no prompt.

Both list the mask column by column, from the top: the lengths of runs of equal pixels in turn, the first of zeros (0
where the mask begins with a one). COCO's string holds the same runs in base 32, from the third on as differences to the
run before the previous one.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput
from edge_sdk.preprocess import MAX_PIXELS
from edge_sdk.shown import shown

_LOW, _SIGN, _MORE, _FIRST = 0x1F, 0x10, 0x20, 48
_MOST_DIGITS = 7
"""Base-32 digits of one run: a difference of two runs of MAX_PIXELS needs 29 bits and its sign."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rle:
    """One mask as runs. height, width: px. counts: int64 (runs,), of zeros and ones in turn, sum height * width."""

    height: int
    width: int
    counts: NDArray[np.int64]

    @property
    def area_px(self) -> int:
        """Pixels of the mask."""
        return int(self.counts[1::2].sum())

    @property
    def ones(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and end of each run of ones, int64 (n,) each: places counted column by column."""
        ends = np.cumsum(self.counts)
        return ends[0::2][: len(self.counts) // 2], ends[1::2]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 px around the mask, ends exclusive; zeros of an empty one."""
        starts, ends = self.ones
        starts, last = starts[ends > starts], ends[ends > starts] - 1
        if not starts.size:
            return 0, 0, 0, 0
        left, right = int(starts[0]) // self.height, int(last[-1]) // self.height + 1
        if (starts // self.height != last // self.height).any():  # a run goes on in the next column
            return left, 0, right, self.height
        return left, int((starts % self.height).min()), right, int((last % self.height).max()) + 1

    def to_json(self) -> dict[str, Any]:
        """Uncompressed: {"size": [height, width], "counts": [runs]}."""
        return {"size": [self.height, self.width], "counts": self.counts.tolist()}

    def to_coco(self) -> dict[str, Any]:
        """As pycocotools writes it: {"size": [height, width], "counts": string}."""
        return {"size": [self.height, self.width], "counts": compressed(self.counts)}


def encode(mask: NDArray[np.bool_]) -> Rle:
    """The runs of one mask, bool (H, W) of at least one pixel. Raises BadInput for another type or shape."""
    array = np.asarray(mask)
    if array.dtype != np.bool_ or array.ndim != 2 or not array.size:
        raise BadInput(f"a mask is bool (H, W), not {array.dtype} {array.shape}", hint="Compare it with a threshold")
    # OpenCV transposes block by block, several times faster than NumPy's copy where a picture has megapixels
    flat = cv2.transpose(np.ascontiguousarray(array).view(np.uint8)).ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(ends, prepend=0, append=flat.size)
    if flat[0]:
        counts = np.concatenate([[0], counts])
    return Rle(height=array.shape[0], width=array.shape[1], counts=counts.astype(np.int64))


def decode(rle: Rle | Mapping[str, Any]) -> NDArray[np.bool_]:
    """The mask of an encoding, bool (H, W): an `Rle`, or the dict of either form. Raises BadInput for one whose runs
    don't fill its size."""
    one = rle if isinstance(rle, Rle) else read(rle)
    values = (np.arange(len(one.counts)) % 2).astype(np.uint8)
    columns = np.repeat(values, one.counts).reshape(one.width, one.height)
    return np.asarray(cv2.transpose(columns), np.uint8).view(np.bool_)


def read(encoded: Mapping[str, Any]) -> Rle:
    """An encoding as JSON holds it, with runs as a list or as COCO's string (str or bytes). Raises BadInput."""
    hint = 'It has "size", [height, width], and "counts", lengths of runs in px or COCO\'s string of them'
    if missing := [key for key in ("size", "counts") if key not in encoded]:
        raise BadInput(f'the run-length encoding has no "{missing[0]}"', hint=hint)
    try:
        height, width = (_whole(side) for side in encoded["size"])
        runs = _runs(encoded["counts"])
    except (TypeError, ValueError) as exc:
        raise BadInput(f"the run-length encoding can't be read: {shown(exc)}", hint=hint) from exc
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise BadInput(
            f"the run-length encoding is of {width} x {height} px",
            hint=f"Sides of 1 px or more are read, and {MAX_PIXELS} px at most",
        )
    if (odd := runs[(runs < 0) | (runs > height * width)]).size:  # before they are added: a sum may wrap around
        raise BadInput(
            f"a run of a mask of {width} x {height} px has {odd[0]:.0f} px",
            hint="The encoding is damaged, or of another size",
        )
    counts = runs.astype(np.int64)
    if (total := int(counts.sum())) != height * width:
        raise BadInput(
            f"the runs of a mask of {width} x {height} px add up to {total} px, not {height * width}",
            hint="The encoding is cut, or of another size",
        )
    return Rle(height=height, width=width, counts=counts)


def _whole(value: Any) -> int:
    """Raises ValueError for anything but a whole number; 7.0 is one, true and a text of digits are not."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or value % 1:
        raise ValueError(f"its size holds {value!r:.40}, which is not a whole number")
    return int(value)


def _runs(given: Any) -> NDArray[Any]:
    """Whole numbers, of any type. Raises ValueError, TypeError."""
    if isinstance(given, (str, bytes)):
        return expanded(given)
    if not isinstance(given, (list, tuple, np.ndarray)):
        raise TypeError(f"its counts are {given!r:.40}, neither a list nor a string")
    kinds = set() if isinstance(given, np.ndarray) else set(map(type, given))
    if other := [kind for kind in kinds if kind is bool or not issubclass(kind, numbers.Real)]:
        raise TypeError(f"its counts hold a value of type {other[0].__name__}, which is not a number")
    runs = np.asarray(given) if len(given) else np.empty(0, np.int64)
    if runs.ndim != 1 or runs.dtype.kind not in "iuf" or not np.isfinite(runs).all() or (runs % 1).any():
        raise ValueError("its counts are not only whole numbers")
    return runs


def compressed(counts: NDArray[np.int64]) -> str:
    """COCO's string of runs: 5 bits a character, least first, each followed by whether more follow."""
    left = counts.astype(np.int64)
    left[3:] -= counts[1:-2]
    digits = np.zeros((len(left), _MOST_DIGITS), np.uint8)
    used = np.zeros(digits.shape, np.bool_)
    going = np.ones(len(left), np.bool_)
    for place in range(_MOST_DIGITS):
        low = left & _LOW
        left = left >> 5  # of negative numbers, too: the sign stays
        used[:, place] = going
        going = going & np.where(low & _SIGN, left != -1, left != 0)
        digits[:, place] = low + _MORE * going + _FIRST
    return digits[used].tobytes().decode("ascii")


def expanded(text: str | bytes) -> NDArray[np.int64]:
    """The runs that COCO's string holds. Raises ValueError for a string that is cut or holds other characters."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
    digits = np.frombuffer(data, np.uint8).astype(np.int64) - _FIRST
    last = np.flatnonzero((digits & _MORE) == 0)
    if not digits.size or digits.min() < 0 or digits.max() >= 2 * _MORE or digits[-1] & _MORE:
        raise ValueError("the string of runs is empty, cut, or holds other characters")
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > _MOST_DIGITS:
        raise ValueError("a run is longer than any picture")
    place = np.arange(digits.size) - np.repeat(first, lengths)
    counts = np.add.reduceat((digits & _LOW) << (5 * place), first)
    counts -= np.where(digits[last] & _SIGN, np.int64(1) << (5 * lengths), 0)
    for start in (1, 2):
        counts[start::2] = np.cumsum(counts[start::2])
    return counts
