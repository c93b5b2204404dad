"""Files of named arrays, .npz: read with limits, written with any names; nothing is unpickled. Knows no graph."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from edge_sdk import plain_file
from edge_sdk.errors import BadInput, EdgeError
from edge_sdk.shown import shown, unreadable
from edge_sdk.tensors import Array

SUFFIX = ".npz"
MAX_NPZ_BYTES = 2**31
"""Of all arrays of one file, unpacked: an archive can claim any size, memory can't."""

Check: TypeAlias = Callable[[str, str, tuple[int, ...], str], None]
"""Raises BadInput for an array that is not wanted: by name, dtype and shape. The last argument is the file's name."""


def any_array(name: str, dtype: str, shape: tuple[int, ...], where: str) -> None:
    """All are wanted."""


def npz(arrays: Mapping[str, Array]) -> bytes:
    """The bytes of an .npz file. Unlike `numpy.savez`, an array may have any name, "file" too."""
    data = BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
    return data.getvalue()


def read_npz(path: Path, check: Check = any_array) -> dict[str, Array]:
    """The arrays of an .npz file by name; nothing is unpickled. check: raises for an array that is not wanted; called
    for each of them before any is unpacked, since a small archive may hold large arrays.

    Raises BadInput: no such file, no regular file, no .npz file, too large.
    """
    where, again = shown(path), "Write it with numpy.savez(path, name=array)"
    plain_file.check(path, what="an .npz file")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if (total := sum(member.file_size for member in members)) > MAX_NPZ_BYTES:
                raise BadInput(f"its arrays take {total} bytes, at most {MAX_NPZ_BYTES} are read", where=where)
            for member in members:
                name = member.filename.removesuffix(".npy")
                dtype, shape = _stated(archive, member, where, again)
                check(name, str(dtype), shape, where)
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except EdgeError:
        raise
    except OSError as exc:
        raise unreadable(path, exc) from exc
    except Exception as exc:
        raise BadInput(f"this is no .npz file of plain arrays: {exc}", where=where, hint=again) from exc


def npz_in(folder: Path) -> list[Path]:
    """The .npz files directly in a folder, by name: regular files and links to them, their suffix in any case.

    A link that leads nowhere is among them, since nobody knows what it held: whoever reads it says what is wrong.
    Raises BadInput for a folder that can't be looked into.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as exc:
        raise unreadable(folder, exc) from exc
    named = [path for path in entries if path.suffix.lower() == SUFFIX]
    return [path for path in named if os.path.isfile(path) or not os.path.exists(path)]


def _stated(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str, again: str
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Type and shape by the header of one array, whose size must be the member's. Raises BadInput; ValueError for a
    header that can't be read."""
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as data:
        if name == member.filename or not data.read(len(_MAGIC)).startswith(_MAGIC):
            raise BadInput(f"it holds {shown(name)}, which is no array", where=where, hint=again)
        version = tuple(data.read(2))
        if version not in _HEADERS:  # 3.0 is for names of fields alone, and an array of fields is no tensor
            raise ValueError(f"{shown(name)} is of the version {'.'.join(map(str, version))} of .npy")
        shape, _, dtype = _HEADERS[version](data)
        if dtype.hasobject:
            raise ValueError(f"{shown(name)} holds Python objects")
        wanted = data.tell() + math.prod(shape) * dtype.itemsize
    if wanted != member.file_size:
        raise BadInput(
            f"{shown(name)} has {member.file_size} bytes, its type {dtype} and shape {shape} need {wanted}",
            where=where, hint=again,
        )  # fmt: skip
    return dtype, shape


_MAGIC = b"\x93NUMPY"
_HEADERS: Mapping[tuple[int, ...], Callable[[Any], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0,
}  # fmt: skip
"""What reads a header, behind its magic and version."""
