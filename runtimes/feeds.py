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
    check_arrays(feeds, specs, where=where)
    most, sizes = largest(specs, axes), dict[str, int]()
    for spec in specs:
        array = feeds[spec.name]
        check_shape(spec, str(array.dtype), array.shape, most=most, where=where)
        for axis, name in enumerate(spec.shape):
            if isinstance(name, str) and sizes.setdefault(name, array.shape[axis]) != array.shape[axis]:
                raise BadInput(
                    f"{spec.name} has size {array.shape[axis]} on axis {axis} ({name}), {_first(specs, name)} has "
                    f"{sizes[name]}",
                    where=where, hint="One name of an axis means one size in a call",
                )  # fmt: skip
    return sizes


def check_arrays(feeds: object, specs: Sequence[TensorSpec], *, where: str) -> None:
    """Raise BadInput unless `feeds` maps the name of every input, and no other name, to a NumPy array."""
    listed = f"Feed {', '.join(spec.name for spec in specs)}"
    if not isinstance(feeds, Mapping):
        raise BadInput(
            f"the feeds are {kind_of(feeds)}, not arrays by input name", where=where, hint=f"{listed} in a dict"
        )
    if missing := [spec.name for spec in specs if spec.name not in feeds]:
        raise BadInput(f"no array for input {missing[0]}", where=where, hint=listed)
    if len(feeds) != len(specs):
        known = {spec.name for spec in specs}
        raise BadInput(
            f"the graph has no input {next(name for name in feeds if name not in known)}", where=where, hint=listed
        )
    for spec in specs:
        if not isinstance(feeds[spec.name], np.ndarray):  # NumPy's own scalars too: vendors take arrays alone
            raise BadInput(
                f"{spec.name} is {kind_of(feeds[spec.name])}, not an array", where=where,
                hint=f'Feed np.asarray({spec.name}, "{spec.dtype}")',
            )  # fmt: skip


def check_shape(spec: TensorSpec, dtype: str, shape: tuple[int, ...], *, most: Mapping[str, int], where: str) -> None:
    """Raise BadInput unless an array of `dtype` and `shape` fits one input. most: the largest sizes of free axes by
    name; an axis that is not named may have any size from 1 on."""
    if wrong := spec.misfit(dtype, shape):
        raise BadInput(wrong, where=where)
    for axis, name in enumerate(spec.shape):
        if isinstance(name, str) and not 1 <= shape[axis] <= most.get(name, shape[axis]):
            raise _out_of_range(spec.name, axis, name, shape[axis], most.get(name), where)


def hint_of(specs: Sequence[TensorSpec]) -> str:
    """What to try where a runtime fails in the middle of a graph that took the feeds."""
    free = dict.fromkeys(axis for spec in specs for axis in spec.axes)
    if not free:
        return ""
    # Exporters note sizes that they saw as constants, while the file says that the axis is free.
    return f"If it runs with another size of {' or '.join(free)}, that size is fixed inside the graph: export it again"


def kind_of(value: object) -> str:
    """What a value of a wrong kind is called in a message: "None", "a list", "an int"."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _out_of_range(tensor: str, axis: int, name: str, size: int, most: int | None, where: str) -> BadInput:
    sizes = "1 or more" if most is None else f"1 to {most}" if most > 1 else "1"
    return BadInput(
        f"{tensor} has size {size} on axis {axis} ({name}), the graph was compiled for {sizes}",
        where=where,
        hint=f"Feed {sizes} in one call, or export it for {name} up to {size}" if size else f"Feed {sizes}",
    )


def _first(specs: Sequence[TensorSpec], name: str) -> str:
    """Where the axis called `name` comes first: "boxes on axis 0"."""
    spec = next(spec for spec in specs if name in spec.shape)
    return f"{spec.name} on axis {spec.shape.index(name)}"
