"""Checks of what a session is fed, one for all runtimes. Knows tensor specs, no vendor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_sdk.errors import BadInput
from edge_sdk.tensors import Array, TensorSpec


def check(feeds: Mapping[str, Array], specs: Sequence[TensorSpec], *, where: str, max_batch: int) -> int:
    """The size of the free axis (1 if there is none), or BadInput that names the tensor that doesn't fit."""
    names = [spec.name for spec in specs]
    if missing := [name for name in names if name not in feeds]:
        raise BadInput(f"no array for input {missing[0]}", where=where, do=f"Feed {', '.join(names)}")
    if len(feeds) != len(names):
        unknown = next(name for name in feeds if name not in names)
        raise BadInput(f"the graph has no input {unknown}", where=where, do=f"Feed {', '.join(names)}")
    batch: tuple[str, int] | None = None
    for spec in specs:
        array = feeds[spec.name]
        if wrong := spec.accepts(array):
            raise BadInput(wrong, where=where)
        if spec.shape and isinstance(spec.shape[0], str):
            size = array.shape[0]
            if batch is not None and batch[1] != size:
                raise BadInput(f"{spec.name} has {size} items, {batch[0]} has {batch[1]}", where=where)
            batch = (spec.name, size)
            if not 1 <= size <= max_batch:
                raise BadInput(
                    f"{spec.name} has {size} items, the graph was compiled for 1 to {max_batch}",
                    where=where,
                    do="Feed fewer at a time, or compile with a larger max_batch",
                )
    return 1 if batch is None else batch[1]
