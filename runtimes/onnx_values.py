"""Inputs and outputs that an ONNX file declares, as specs: which axis is the batch, and what free axes are called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from edge_sdk.runtimes.protobuf import Malformed
from edge_sdk.tensors import BATCH, DType, TensorSpec

DTYPES: Mapping[int, DType] = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
"""What an input or output may hold, by TensorProto.DataType: the types that ONNX and NumPy share."""

BATCH_NAMES = re.compile(r"batch([_-]?(size|dim|axis))?|bs|bsz", re.IGNORECASE)
"""What axis 0 of an input is called where it is the batch: by PyTorch's exporters, Keras, Hugging Face's tools."""
INVENTED = re.compile(r"unk__\d+|(p2o\.)?DynamicDimension\.\d+|[A-Z]\w*_dim_\d+")
"""Names that tools give to axes that have none: tf2onnx and ONNX's shape inference, Paddle2ONNX, and for outputs
PyTorch's exporter ("Softmax4195_dim_0")."""
NO_NAME = "?"
"""Paddle2ONNX calls every unknown axis of a file so, whatever their sizes."""


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output as the file declares it. dims: None where it gives no shape; "" or -1 is a free axis."""

    name: str
    dtype: int
    tensor: bool
    dims: tuple[int | str, ...] | None


def specs(
    inputs: Sequence[Value], outputs: Sequence[Value]
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], str]:
    """Specs of both, in order, and the file's own name of the batch ("" = it has none, or no other name than "N").

    Raises Malformed.
    """
    found, made, called = _batch_found(inputs, outputs)
    found, made = _batch_apart(found, made)
    taken = _axis_names((*found, *made))
    given = _specs(found, taken, batch=True)
    if bare := [value.name[:80] for value in found if value.dims is None]:
        raise Malformed(f"gives no shape for its input {bare[0]!r}", "Export it with the shapes of its inputs")
    return given, _specs(made, taken, batch=any(spec.batched for spec in given)), called


def _batch_found(inputs: Sequence[Value], outputs: Sequence[Value]) -> tuple[list[Value], list[Value], str]:
    """The same inputs and outputs, with the batch called "N", and the file's own name of it.

    Most exporters write "batch" or the like; what a tool invented is no name where it stands once. Whether its rows are
    independent is for whoever packs the graph to try.
    """
    found = Counter(size for value in (*inputs, *outputs) for size in value.dims or ())
    new: dict[int | str, int | str] = {
        size: "" for size, count in found.items()
        if size == NO_NAME or (count == 1 and INVENTED.fullmatch(str(size)))
    }  # fmt: skip
    first = {value.dims[0] for value in inputs if value.dims} - set(new)
    names = [
        name for name in first if isinstance(name, str) and (BATCH_NAMES.fullmatch(name) or INVENTED.fullmatch(name))
    ]
    behind = {size for value in (*inputs, *outputs) for size in (value.dims or ())[1:]}
    called = names[0] if len(names) == 1 and BATCH not in found and names[0] not in behind else ""
    if isinstance(called, str) and called:
        new[called] = BATCH

    def renamed(values: Sequence[Value]) -> list[Value]:
        return [
            replace(value, dims=value.dims and tuple(new.get(size, size) for size in value.dims)) for value in values
        ]

    return renamed(inputs), renamed(outputs), str(called)


def _batch_apart(inputs: list[Value], outputs: list[Value]) -> tuple[list[Value], list[Value]]:
    """The same inputs and outputs, with "N" where it is the batch alone.

    People call any axis N. Where no input has it at position 0, it is a size like others, and gets another name. Where
    one has, an N elsewhere would be the same size: its rows can't run in calls of their own, so that it is no batch.
    """
    values = (*inputs, *outputs)
    batched = any(value.dims is not None and value.dims[:1] == (BATCH,) for value in inputs)
    strays = [
        (value.name, axis)
        for value in values
        for axis, size in enumerate(value.dims or ())
        if size == BATCH and (axis > 0 or not batched)
    ]
    if not strays:
        return inputs, outputs
    name, axis = strays[0]
    if batched:
        raise Malformed(
            f'calls axis {axis} of {name[:80]!r} "{BATCH}", which is the batch: axis 0 of an input',
            "Export it with another name for one of them",
        )
    new = _unused(f"{name}_{axis}", _axis_names(values))

    def renamed(found: list[Value]) -> list[Value]:
        return [
            replace(value, dims=value.dims and tuple(new if size == BATCH else size for size in value.dims))
            for value in found
        ]

    return renamed(inputs), renamed(outputs)


def _specs(values: Sequence[Value], taken: set[str], *, batch: bool) -> tuple[TensorSpec, ...]:
    """Declared inputs or outputs as specs. taken: names of axes, those that are given here are added. batch: a nameless
    axis 0 is "N"."""
    if twice := [name for name, count in Counter(value.name for value in values).items() if count > 1]:
        raise Malformed(f"has two inputs or outputs called {twice[0][:80]!r}")
    for value in values:
        if not value.tensor or value.dtype not in DTYPES:
            what = f"of ONNX data type {value.dtype}" if value.tensor else "that is no tensor"
            raise Malformed(f"has {value.name[:80]!r} {what}, which no runtime here shares")
    return tuple(
        TensorSpec(name=value.name, dtype=DTYPES[value.dtype], shape=_shape(value, taken, batch=batch))
        for value in values
    )


def _shape(value: Value, taken: set[str], *, batch: bool) -> tuple[int | str, ...]:
    shape: list[int | str] = []
    for axis, size in enumerate(value.dims or ()):
        if size in ("", -1):  # -1: some converters write it for a free axis, and ONNX Runtime takes it so
            size = BATCH if batch and axis == 0 else _unused(f"{value.name}_{axis}", taken)
            taken.add(size)
        elif isinstance(size, int) and size < 0:
            raise Malformed(f"gives {value.name[:80]!r} the size {size}")
        shape.append(size)
    return tuple(shape)


def _axis_names(values: Sequence[Value]) -> set[str]:
    return {size for value in values for size in value.dims or () if isinstance(size, str)}


def _unused(name: str, taken: Collection[str]) -> str:
    """`name`, lengthened while an axis of any tensor is called so: one name means one size."""
    while name in taken:
        name += "_"
    return name
