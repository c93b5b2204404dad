"""Files of named tensors: ours, with what is said of them, and weights of others. Knows no network.

Ours are safetensors files whose metadata holds one JSON object; they appear whole or not at all. Nothing in any file is
ever executed.
"""

from __future__ import annotations

import json
import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge_sdk import atomic
from edge_sdk.errors import BadInput
from edge_sdk.shown import shown

DESCRIPTION = "edge-sdk"
"""Key of the metadata entry that holds the JSON object."""


@dataclass(frozen=True, slots=True, eq=False)
class TensorsFile:
    """described: the JSON object, its "format" included. The tensors are read when asked for."""

    described: Mapping[str, Any]
    _handle: Any

    @property
    def tensors(self) -> dict[str, Tensor]:
        """By name, on the CPU, read anew each time."""
        return {name: self._handle.get_tensor(name) for name in self._handle.keys()}  # noqa: SIM118 (a handle is no mapping)


def write(
    path: Path, tensors: Mapping[str, Tensor], *, kind: str = "", described: Mapping[str, Any] | None = None
) -> None:
    """Replaces `path`, durably. kind: name and version of what is written, which `opened` asks for; "" = tensors alone.

    Raises CantWrite, and what stood there is untouched.
    """
    from safetensors.torch import save  # not save_file: that writes to another file and renames, with other permissions

    metadata = {DESCRIPTION: json.dumps({"format": kind, **(described or {})})} if kind else None
    atomic.write(path, save({name: t.detach().contiguous() for name, t in tensors.items()}, metadata))


@contextmanager
def opened(path: Path, *, kind: str, what: str, hint: str) -> Iterator[TensorsFile]:
    """What `write` stored under that `kind`. Whatever fails in reading it, and in the block that takes it apart, is
    raised as BadInput: `what` is wrong with the file, and what to `do`."""
    from safetensors import SafetensorError, safe_open

    if path.is_dir():  # safetensors calls it a missing device
        raise BadInput(f"{what}: this is a folder", where=str(path), hint=hint)
    try:
        with safe_open(path, framework="pt") as handle:
            described: dict[str, Any] = json.loads((handle.metadata() or {})[DESCRIPTION])
            if described["format"] != kind:
                raise ValueError(f"its format is {described['format']}, not {kind}")
            yield TensorsFile(described, handle)
    except (SafetensorError, *_JUNK) as exc:
        reason = f"it holds no {exc}" if isinstance(exc, KeyError) else _first_line(exc)
        raise BadInput(f"{what}: {reason}", where=str(path), hint=hint) from exc


def kind_of(path: Path) -> str:
    """The `kind` that `write` stored a file under; "" for any other file, readable or not."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as handle:
            return str(json.loads((handle.metadata() or {})[DESCRIPTION])["format"])
    except (SafetensorError, *_JUNK):
        return ""


_IF_PICKLED = "Save its state_dict() where you trust it, and name that file"


def weights_of(path: Path, *, mapped: bool = False, if_pickled: str = _IF_PICKLED) -> Mapping[str, Tensor]:
    """The named tensors of a safetensors file, a PyTorch state dict, or a checkpoint that wraps one. Raises BadInput.

    mapped: leave them in the file until they are read, where its format allows. if_pickled: the hint for a file that
    holds more than tensors.
    """
    if path.is_dir():
        raise BadInput("this is a folder", where=str(path), hint="Name a .pth or .safetensors file")
    if path.suffix == ".safetensors":
        return _safetensors(path)
    try:
        mapped = mapped and zipfile.is_zipfile(path)  # the format before torch 1.6 can't be mapped
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # of bytes that may be no pickle
            found: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as exc:
        if not _may_be_torch(path):  # any text is a pickle that breaks at its first byte
            raise BadInput("not a PyTorch file", where=str(path), hint="Name a .pth or .safetensors file") from exc
        raise BadInput(
            "the file holds more than tensors (a whole pickled module?), and loading that would run its code",
            where=str(path), hint=if_pickled,
        ) from exc  # fmt: skip
    except _JUNK as exc:
        raise BadInput(
            f"not a PyTorch file{_reason(exc)}", where=str(path), hint="Name a .pth or .safetensors file"
        ) from exc
    for wrapper in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if wrong := _no_state_dict(found):
        what = f"the file holds no state dict: {wrong}"
        raise BadInput(what, where=str(path), hint="Save the network's state_dict()")
    state: Mapping[str, Tensor] = found
    return state


def unlike(tensor: Tensor, wanted: Tensor) -> str:
    """What of a stored tensor is not as in `wanted`, the network's own: "has the shape (2,), not (3,)". "" = nothing.
    Floats of any width stand for floats, whole numbers for whole numbers; no value is looked at."""
    if tensor.shape != wanted.shape:
        return f"has the shape {tuple(tensor.shape)}, not {tuple(wanted.shape)}"
    kinds = (_FLOATS, "floats") if wanted.is_floating_point() else (_WHOLE, "whole numbers")
    return "" if tensor.dtype in kinds[0] else f"holds {str(tensor.dtype).removeprefix('torch.')}, not {kinds[1]}"


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinity."""
    return bool(torch.isfinite(tensor).all())


def misfit(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Why `found` can't be the weights of a network with the state dict `wanted`, with the key; "" = it can: the same
    keys, shapes and kinds of numbers, none of them NaN or infinity."""
    for name in sorted({*found, *wanted}):
        if name not in found:
            return f"{name} is missing"
        if name not in wanted:
            return f"{shown(name)} is not known"
        if wrong := unlike(found[name], wanted[name]):
            return f"{name} {wrong}"
    bad = next((name for name, tensor in found.items() if not is_finite(tensor)), "")
    return f"{bad} holds NaN or infinity" if bad else ""


def _may_be_torch(path: Path) -> bool:
    """Whether a file begins as `torch.save` writes it: a zip, or before torch 1.6 a pickle of protocol 2."""
    with path.open("rb") as file:
        return file.read(2)[:1] == b"\x80" or zipfile.is_zipfile(path)


def _no_state_dict(found: object) -> str:
    """What is not as in a state dict; "" = it is one, of dense tensors."""
    if not isinstance(found, Mapping):
        return f"it is {_a(found)}"
    for name, value in found.items():
        if not isinstance(name, str):
            return f"its key {shown(repr(name))} is {_a(name)}, not a str"
        if not isinstance(value, Tensor):
            return f"{shown(name)} is {_a(value)}, not a tensor"
        if value.layout != torch.strided or value.is_nested or value.is_quantized or value.device.type != "cpu":
            return f"{shown(name)} is no dense tensor with values"  # sparse, quantized, or saved from "meta"
    return ""


def _a(value: object) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _safetensors(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as exc:
        raise BadInput(f"the weights can't be read: {exc}", where=str(path), hint="Copy the file again") from exc


_JUNK = (
    RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
    AssertionError, struct.error,
)  # fmt: skip
"""What an unpickler raises for bytes that are no pickle, besides its own error; and what code that takes a file apart
raises where something else stands in it than was written."""
_FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
_WHOLE = frozenset({torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})


def _reason(exc: Exception) -> str:
    """What the reader says, as the end of a sentence; "" for what tells nobody anything, such as a bare number."""
    return f": {_first_line(exc)}" if isinstance(exc, (RuntimeError, EOFError, OSError)) else ""


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0]
