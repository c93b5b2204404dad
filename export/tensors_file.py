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

    try:
        with safe_open(path, framework="pt") as handle:
            described: dict[str, Any] = json.loads((handle.metadata() or {})[DESCRIPTION])
            if described["format"] != kind:
                raise ValueError(f"its format is {described['format']}, not {kind}")
            yield TensorsFile(described, handle)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as exc:
        reason = f"it holds no {exc}" if isinstance(exc, KeyError) else _first_line(exc)
        raise BadInput(f"{what}: {reason}", where=str(path), hint=hint) from exc


def kind_of(path: Path) -> str:
    """The `kind` that `write` stored a file under; "" for any other file, readable or not."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as handle:
            return str(json.loads((handle.metadata() or {})[DESCRIPTION])["format"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError):
        return ""


_IF_PICKLED = "Save its state_dict() where you trust it, and name that file"


def weights_of(path: Path, *, mapped: bool = False, if_pickled: str = _IF_PICKLED) -> Mapping[str, Tensor]:
    """The named tensors of a safetensors file, a PyTorch state dict, or a checkpoint that wraps one. Raises BadInput.

    mapped: leave them in the file until they are read, where its format allows. if_pickled: the hint for a file that
    holds more than tensors.
    """
    if path.suffix == ".safetensors":
        return _safetensors(path)
    try:
        mapped = mapped and zipfile.is_zipfile(path)  # the format before torch 1.6 can't be mapped
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # of bytes that may be no pickle
            found: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as exc:
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
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise BadInput("the file holds no state dict", where=str(path), hint="Save the network's state_dict()")
    return found


def _safetensors(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as exc:
        raise BadInput(f"the weights can't be read: {exc}", where=str(path), hint="Copy the file again") from exc


_JUNK = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, struct.error)
"""What an unpickler raises for bytes that are no pickle, besides its own error."""


def _reason(exc: Exception) -> str:
    """What the reader says, as the end of a sentence; "" for what tells nobody anything, such as a bare number."""
    return f": {_first_line(exc)}" if isinstance(exc, (RuntimeError, EOFError, OSError)) else ""


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0]
