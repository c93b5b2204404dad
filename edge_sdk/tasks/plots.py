"""Drawn results as files, and the picture that they are drawn on. Knows no task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk import atomic
from edge_sdk.errors import BadInput
from edge_sdk.preprocess import read_rgb8

SUFFIXES = (".png", ".jpg", ".jpeg")


def read_again(file: Path | None, *, bit_depth: int | None) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB: the picture that was predicted. Raises BadInput where it did not come from a file."""
    if file is None:
        raise BadInput("this picture came as pixels, which are not kept", hint="Call plot(picture), RGB")
    return read_rgb8(file, bit_depth=bit_depth)


def write_plot(path: Path, plot: Callable[[], NDArray[np.uint8]], *, others: tuple[str, ...] = ()) -> None:
    """`plot()`, uint8 (H, W, 3) RGB, to a PNG or JPEG file by its suffix, atomically. others: further suffixes that the
    caller writes itself, for the message.

    Raises BadInput for another suffix, before anything is drawn; CantWrite.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        named = ", ".join((".png", ".jpg", *others)[:-1]) + f" or {(*('.png', '.jpg'), *others)[-1]}"
        raise BadInput(f"a plot can't be written as {suffix or 'this'}", where=str(path), hint=f"Use {named}")
    _, data = cv2.imencode(suffix, plot()[:, :, ::-1])
    atomic.write(path, data.tobytes())
