"""Weights that an ONNX file keeps in other files: found beside it, measured, and read into it. Knows tensors, no graph.

A file from elsewhere may name any path and claim any size, so that everything is looked at before a byte is read:
places (specs/runtimes.md, section 10), sizes by the files as they are, and the memory that all of it will take.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from edge_sdk.errors import BadInput
from edge_sdk.extras import need
from edge_sdk.shown import shown, unreadable

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

MAX_BYTES = 2**31 - 1
"""Protobuf's own limit for one message, which a graph with its weights inside is."""
LONGEST_PATH = 4096
"""Of characters, on Linux; other systems take less."""
COPIES = 4
"""How many times the weights are in memory while a graph is read, cleaned and written, at the least."""


@dataclass(frozen=True, slots=True, eq=False)
class _Stored:
    """Where one tensor's bytes are."""

    tensor: Any
    file: Path
    offset: int
    length: int


def read_into(path: Path, tensors: Sequence[Any], *, memory: int | None = None) -> None:
    """Read the weights of `tensors`, which the model at `path` keeps in other files, into them.

    memory: bytes that may be used, None = what this machine has free. Raises BadInput, before anything is read: a file
    that is not a plain one in the model's own folder or below, a place beyond its end, a size that is not the tensor's,
    more than one graph can hold, more than the memory.
    """
    stored = [_stored(path, tensor) for tensor in tensors]
    total = sum(one.length for one in stored)
    if total > MAX_BYTES:
        raise BadInput(
            f"its weights take {total:,} bytes, one graph holds at most {MAX_BYTES:,}", where=shown(path),
            hint="Split the model: one bundle can hold several, edge-sdk quantize encoder=a.onnx decoder=b.onnx",
        )  # fmt: skip
    check_memory(total, where=shown(path), memory=memory)
    onnx = need("onnx", extra="quantize")
    for one in stored:
        try:
            with one.file.open("rb") as stream:
                stream.seek(one.offset)
                data = stream.read(one.length)
        except OSError as exc:
            raise unreadable(one.file, exc) from exc
        one.tensor.raw_data = data
        one.tensor.data_location = onnx.TensorProto.DEFAULT
        del one.tensor.external_data[:]


def check_places(path: Path, tensors: Sequence[Any]) -> None:
    """Raises BadInput as `read_into` does of places and sizes. Reads nothing."""
    for tensor in tensors:
        _stored(path, tensor)


def check_memory(weights: int, *, where: str, memory: int | None = None) -> None:
    """Raises BadInput if `weights` bytes of weights can't be worked on in this machine's free memory."""
    free = free_memory() if memory is None else memory
    if weights * COPIES > free:
        raise BadInput(
            f"its weights take {weights / 2**30:.1f} GiB, working on them takes {COPIES} times that at least, and this "
            f"machine has {free / 2**30:.1f} GiB free", where=where,
            hint="Use a machine with more memory, or split the model",
        )  # fmt: skip


def free_memory() -> int:
    """Bytes that this process can still take: of the machine, of its control group, of its own limit; whichever is
    least. 16 GiB where the system doesn't say."""
    return min(_limits(), default=16 * 2**30)


def _limits() -> Iterator[int]:
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024
    group = Path("/sys/fs/cgroup")
    for most, used in _GROUP_FILES:
        sizes = ["".join(_lines(group / name)).strip() for name in (most, used)]
        if all(size.isdecimal() for size in sizes):  # "max": no limit
            yield max(0, int(sizes[0]) - int(sizes[1]))
    if resource is not None and (soft := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
        pages = "".join(_lines(Path("/proc/self/statm"))).split()
        yield max(0, soft - (int(pages[0]) * os.sysconf("SC_PAGE_SIZE") if pages else 0))


_GROUP_FILES = (
    ("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)  # fmt: skip
"""Limit and use of a control group, versions 2 and 1."""


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii", "replace").splitlines()
    except OSError:
        return []


def _stored(path: Path, tensor: Any) -> _Stored:
    said = {entry.key: entry.value for entry in tensor.external_data}
    file = _beside(path, said.get("location", ""))
    name, here = shown(tensor.name)[:80], file.stat().st_size
    offset = _number(said.get("offset", "0"), "offset", name, path)
    size = _size(tensor)
    length = here - offset if size is None else size
    if said.get("length"):
        length = _number(said["length"], "length", name, path)
    if size is not None and length != size:
        raise _lies(path, f"its tensor {name} has {size:,} bytes by type and shape, and {length:,} by what it says")
    if offset + length > here or length < 0:
        raise _lies(
            path, f"its tensor {name} is {length:,} bytes at {offset:,} of {shown(file.name)}, which has {here:,}"
        )
    return _Stored(tensor, file, offset, length)


def _number(text: str, what: str, name: str, path: Path) -> int:
    if not text.isdecimal() or len(text) > 19:  # Python refuses to read more than 4300 digits
        raise _lies(path, f"the {what} of its tensor {name} is {shown(text[:40])!r}, not a number of bytes")
    return int(text)


def _lies(path: Path, what: str) -> BadInput:
    hint = "Copy all files of the model again, or export it with its weights inside"
    return BadInput(what, where=shown(path), hint=hint)


def _size(tensor: Any) -> int | None:
    """Bytes of a tensor by its type and shape; None for types of which several share a byte, or that are not known."""
    onnx = need("onnx", extra="quantize")
    packed = {getattr(onnx.TensorProto, name, -1) for name in ("UINT4", "INT4", "FLOAT4E2M1", "UINT2", "INT2")}
    if tensor.data_type in packed or tensor.data_type not in onnx.TensorProto.DataType.values() or not tensor.data_type:
        return None
    if any(size < 0 for size in tensor.dims) or tensor.data_type == onnx.TensorProto.STRING:
        return None  # what the checker refuses
    item: int = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(math.prod(tensor.dims)) * item


def _beside(path: Path, location: str) -> Path:
    """The file of a tensor's weights. Raises BadInput for one that is not a plain file in the model's own folder."""
    if len(location) > LONGEST_PATH:  # before it is taken apart: its parents alone would be quadratic
        location = location[:80] + "..."
    name, windows = PurePosixPath(location), PureWindowsPath(location)
    leads_out = name.is_absolute() or bool(windows.anchor) or ".." in (*name.parts, *windows.parts)
    file = path.parent / name
    links = [place for place in (file, *file.parents) if place != path.parent and path.parent in place.parents]
    # os.path: unlike the methods of Path, also of a name that is too long
    if not location or leads_out or any(os.path.islink(place) for place in links):
        raise BadInput(
            f"it keeps weights in {shown(location[:80])!r}, which is not a file in its own folder", where=shown(path),
            hint="Export the model again, its weights inside or beside it",
        )  # fmt: skip
    if os.path.isfile(file) and os.stat(file).st_nlink > 1:  # the other name may lie anywhere
        raise BadInput(
            f"it keeps weights in {shown(location[:80])}, which has another name as well (a hard link)",
            where=shown(path), hint="Replace it by a copy of its own",
        )  # fmt: skip
    if not os.path.isfile(file):
        raise BadInput(
            f"it keeps weights in {shown(location[:80])}, which is not there", where=shown(path),
            hint="Copy that file beside it, or export the model again with its weights inside",
        )  # fmt: skip
    return file
