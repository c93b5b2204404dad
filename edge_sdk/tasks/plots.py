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
from edge_sdk.tasks import images

SUFFIXES = (".png", ".jpg", ".jpeg")


def drawn_on(
    picture: images.Source | None, file: Path | None, *, bit_depth: int | None, size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB: the picture to draw a result on, which may be the caller's own array: don't write to it.

    picture: as `predict` takes it, arrays RGB or grey; None = `file`, read again. size: width and height that it has
    to have, px. Raises BadInput: neither picture nor file, what is no picture, another size.
    """
    if picture is not None:
        rgb = images.rgb8(picture, bit_depth=bit_depth)
    elif file is not None:
        rgb = read_rgb8(file, bit_depth=bit_depth)
    else:
        raise BadInput("this picture came as pixels, which are not kept", hint="Call plot(picture), RGB")
    height, width = rgb.shape[:2]
    if size is not None and (width, height) != size:
        raise BadInput(
            f"the picture is {width} x {height} px, the result is of one of {size[0]} x {size[1]} px",
            hint="Pass the picture that was predicted",
        )
    return rgb


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
