"""What a user states of the picture input of a network: normalization, channel order, geometry. Knows no graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from edge_sdk import plain_file
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.bundle.rules import MAX_SIDE_PX
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.shown import shown

MAX_FILE_BYTES = 2**16
"""Of a file of preprocessing."""
FAR = 4.0
"""A standard deviation of pixels of 0..1 is at most 0.5; ones above this are of pixels of 0..255."""
CHANNELS = (1, 3)
"""Of pictures that a network takes."""


class PictureOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the network was trained to see a picture.

    input: name of the graph's input, "" = the only one that takes pictures. mean, std: of the network's channels, in
    its own order; one number counts for all of them. pixel_range: what mean and std refer to, pixels as 0..1 or as
    0..255. color: the order of the network's channels; a network of one channel sees grey. resize, fill, bit_depth: as
    `mode`, `fill` and `bit_depth` of `Preprocessing`. size: height and width in px, where the graph leaves them free.

    Raises ValueError for what can't be, which `stated` turns into BadUsage.
    """

    input: str = ""
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    pixel_range: Literal["0..1", "0..255"] = "0..1"
    color: Literal["rgb", "bgr"] = "rgb"
    resize: Literal["stretch", "letterbox", "longest-side"] = "stretch"
    fill: int | Literal["edge"] = "edge"
    size: tuple[int, int] | None = None
    bit_depth: Literal[10, 12, 16] | None = 16

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in CHANNELS or not all(math.isfinite(value) for value in values):
                raise ValueError(f"{name} is one finite number or three, not {list(values)}")
        if min(self.std) <= 0:
            raise ValueError(f"std is above 0, not {list(self.std)}")
        if self.fill != "edge" and not 0 <= self.fill <= 255:
            raise ValueError(f"fill is edge or a grey level from 0 to 255, not {self.fill}")
        if self.size is not None and not all(1 <= side <= MAX_SIDE_PX for side in self.size):
            raise ValueError(f"size is height and width from 1 to {MAX_SIDE_PX} px, not {list(self.size)}")

    def record(self, height: int, width: int) -> Preprocessing:
        """How a picture becomes the graph's input of this size, as the bundle keeps it."""
        return Preprocessing(width=width, height=height, mode=self.resize, fill=self.fill, bit_depth=self.bit_depth)


def stated(fields: Mapping[str, Any], *, where: str) -> PictureOptions:
    """The options from plain values by field; a number is taken where a list of equal ones is meant.

    where: a file, "" = the command line. Raises BadUsage that names a field that is not known, or its value.
    """
    values = dict(fields)
    for name, count in (("mean", 1), ("std", 1), ("size", 2)):
        if isinstance(values.get(name), int | float) and not isinstance(values[name], bool):
            values[name] = [values[name]] * count
    for name, wanted in _FIELDS.items():
        if name in values:
            _check_field(name, values[name], wanted, where=where)
    try:
        return msgspec.convert(values, PictureOptions)
    except msgspec.ValidationError as exc:
        known = ", ".join(PictureOptions.__struct_fields__)
        hint = f"The fields are {known}: docs/quantize.md"
        raise BadUsage(str(exc), where=where or "the preprocessing", hint=hint) from exc


def check_range(options: PictureOptions) -> None:
    """Raise BadUsage where mean or standard deviation are plainly of the other range of pixels: every picture would be
    nearly constant, or far outside of what the network was trained on. Of what file and options state together."""
    mean, std = max(options.mean), max(options.std)
    if options.pixel_range == "0..1" and (mean > 1 or std > FAR):
        name, value = ("--mean", mean) if mean > 1 else ("--std", std)
        raise BadUsage(
            f"{name} {value:g} is of pixels of 0..255, and they are 0..1 here: every picture would be nearly constant",
            hint="Did you mean --pixel-range 0..255?",
        )
    if options.pixel_range == "0..255" and 0 < mean <= 1 and std < 1:
        raise BadUsage(
            f"--mean {mean:g} and --std {std:g} are of pixels of 0..1, and they are 0..255 here",
            hint="Did you mean --pixel-range 0..1?",
        )


def _check_field(name: str, value: Any, wanted: str, *, where: str) -> None:
    """Raise BadUsage for a value of another type or choice than the field's."""
    kind = msgspec.structs.fields(PictureOptions)[PictureOptions.__struct_fields__.index(name)].type
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        words = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        called = name if where else f"--{name.replace('_', '-')}"
        raise BadUsage(f"{called} {shown(words)[:80]}: {wanted}", where=where) from exc


_FIELDS = {
    "input": "the name of an input", "mean": "a number, or three", "std": "a number, or three",
    "pixel_range": "0..1 or 0..255", "color": "rgb or bgr", "resize": "stretch, letterbox or longest-side",
    "fill": "edge or a grey level from 0 to 255", "size": "height and width in px, such as [480, 640]",
    "bit_depth": "10, 12, 16 or null",
}  # fmt: skip
"""What each field may be, for messages."""


def fields_of_file(path: Path) -> dict[str, Any]:
    """The fields that a JSON file of preprocessing states. Raises BadInput: not there, too large, not JSON; BadUsage: a
    field that is not known, or a value that it can't have."""
    data = plain_file.read(path, what="a JSON file of preprocessing")
    where = shown(path)
    hint = 'Write one object, such as {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}'
    if len(data) > MAX_FILE_BYTES:
        raise BadInput(f"it has {len(data)} bytes, at most {MAX_FILE_BYTES} are read", where=where, hint=hint)
    try:
        fields = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadInput(f"this is no JSON object: {exc}", where=where, hint=hint) from exc
    stated(fields, where=where)
    return fields
