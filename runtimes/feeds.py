"""Checks of what a session is fed, one for all runtimes. Knows tensor specs, no vendor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edge_sdk.errors import BadInput
from edge_sdk.tensors import Array, TensorSpec


def largest(specs: Sequence[TensorSpec], axes: Mapping[str, int]) -> dict[str, int]:
    """The largest size of every free axis of `specs`, by its name: that of `axes` (CompileOptions), 1 if not there."""
    return {name: axes.get(name, 1) for spec in specs for name in spec.shape if isinstance(name, str)}


def check(
    feeds: Mapping[str, Array], specs: Sequence[TensorSpec], *, axes: Mapping[str, int], where: str
) -> dict[str, int]:
    """The sizes of the free axes by name. axes: as in CompileOptions. One name means one size, in all inputs.

    Raises BadInput that names the input, and of a free axis the axis, its size and the largest size.
    """
    names = [spec.name for spec in specs]
    if missing := [name for name in names if name not in feeds]:
        raise BadInput(f"no array for input {missing[0]}", where=where, hint=f"Feed {', '.join(names)}")
    if len(feeds) != len(names):
        unknown = next(name for name in feeds if name not in names)
        raise BadInput(f"the graph has no input {unknown}", where=where, hint=f"Feed {', '.join(names)}")
    sizes: dict[str, int] = {}
    for spec in specs:
        array = feeds[spec.name]
        if not isinstance(array, np.ndarray):  # numpy's own scalars too: the vendors' libraries take arrays alone
            raise BadInput(
                f"{spec.name} is a {type(array).__name__}, not an array", where=where,
                hint=f'Feed np.asarray({spec.name}, "{spec.dtype}")',
            )  # fmt: skip
        if wrong := spec.accepts(array):
            raise BadInput(wrong, where=where)
        for axis, name in enumerate(spec.shape):
            if isinstance(name, str):
                size, most = array.shape[axis], axes.get(name, 1)
                if not 1 <= size <= most:
                    raise _out_of_range(spec.name, axis, name, size, most, where)
                if sizes.setdefault(name, size) != size:
                    raise BadInput(
                        f"{spec.name} has size {size} on axis {axis} ({name}), {_first(specs, name)} has {sizes[name]}",
                        where=where, hint="One name of an axis means one size in a call",
                    )  # fmt: skip
    return sizes


def _out_of_range(tensor: str, axis: int, name: str, size: int, most: int, where: str) -> BadInput:
    sizes = f"1 to {most}" if most > 1 else "1"
    return BadInput(
        f"{tensor} has size {size} on axis {axis} ({name}), the graph was compiled for {sizes}",
        where=where,
        hint=f"Feed {sizes} in one call, or export it for {name} up to {size}" if size else f"Feed {sizes}",
    )


def _first(specs: Sequence[TensorSpec], name: str) -> str:
    """Where the axis called `name` comes first: "boxes on axis 0"."""
    spec = next(spec for spec in specs if name in spec.shape)
    return f"{spec.name} on axis {spec.shape.index(name)}"
