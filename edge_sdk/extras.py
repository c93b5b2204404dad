"""Optional imports and foreign exceptions: the two places where another package's failure becomes ours.

Vendors' telemetry ends here too: OpenVINO's at its import, ONNX Runtime's by a variable in `edge_sdk/__init__.py`.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from types import MappingProxyType, ModuleType

from edge_sdk.errors import BadInput, EdgeError, NotThere

UPDATE = "Install a newer edge-sdk, from where this one came"
"""Never "pip install edge-sdk": on the package index that name is another company's."""


def how_to_install(extra: str) -> str:
    """The command that brings what the extra needs, by the names of those packages; read from this installation."""
    try:
        asked = metadata.requires("edge-sdk") or []
    except metadata.PackageNotFoundError:  # run from a folder without being installed
        asked = []
    found = [f'"{one.split(";")[0].strip()}"' for one in asked if f'extra == "{extra}"' in one.replace("'", '"')]
    return f"pip install {' '.join(found)}" if found else f"Install edge-sdk with its extra {extra}"


def need(module: str, *, extra: str) -> ModuleType:
    """Import `module` on first use, or raise NotThere that says which extra brings it. Installs nothing, ever."""
    try:
        package = module.partition(".")[0]
        with _without(_TELEMETRY.get(package, "")), _with_variables(_VARIABLES.get(package, {})):
            return importlib.import_module(module)
    except (ImportError, OSError) as exc:
        missing = exc.name if isinstance(exc, ModuleNotFoundError) else None
        ours = module.startswith("edge_sdk.")  # which is here: what it imports is not
        if missing and (ours or f"{module}.".startswith(f"{missing}.")):
            raise NotThere(f"{missing} is not installed", hint=how_to_install(extra)) from exc
        raise NotThere(
            f"{module} is installed but does not load: {exc}", hint=f"Install it again: {how_to_install(extra)}"
        ) from exc


_TELEMETRY = {"openvino": "openvino_telemetry", "nncf": "openvino_telemetry"}
"""Packages that, on import or use and unasked, send a usage event through another package and write to the home folder
(openvino 2024.6 to 2026.4: ~/intel; nncf 3.4); without that other package they take a stub of their own."""


@contextmanager
def _without(hidden: str) -> Iterator[None]:
    """Imports inside the block don't find the package `hidden` ("": none), unless the user has imported it before."""
    if not hidden or hidden in sys.modules:
        yield
        return
    # None makes its import fail; the stubs of `sys` leave that use out
    sys.modules[hidden] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.pop(hidden, None)  # of two threads the second finds it gone


_VARIABLES: Mapping[str, Mapping[str, str]] = MappingProxyType({"diffusers": {"HF_HUB_DISABLE_TELEMETRY": "1"}})
"""Variables that packages, or what they are made of, read once, on import (huggingface_hub, of diffusers): whatever a
user's own code asks of them later in this process stays without telemetry, too."""


@contextmanager
def _with_variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """Environment variables inside the block, unless the user has set them; after it they are as before."""
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


QUANTIZING = ("onnx", "onnxruntime", "onnxscript", "onnx_ir")
TRAINING = (*QUANTIZING, "torch", "safetensors", "scipy", "jinja2")


def need_exporting(modules: Sequence[str] = TRAINING, *, extra: str = "export") -> None:
    """Raise NotThere unless models can be trained and exported here: before the training, not in the middle of it.

    extra: that brings `modules`. Finds the packages without importing them: torch takes seconds, and other errors of a
    command come first.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise NotThere(f"{module} is not installed", hint=how_to_install(extra))


@contextmanager
def vendor_errors(
    vendor: str,
    *,
    where: str,
    hint: str = "",
    raises: type[EdgeError] = BadInput,
    catch: tuple[type[Exception], ...] = (Exception,),
) -> Iterator[None]:
    """Whatever `vendor`'s library raises inside the block leaves it as `raises`, with its `first_sentence`."""
    try:
        yield
    except EdgeError:
        raise
    except catch as exc:
        raise raises(f"{vendor} refused: {first_sentence(exc)}", where=where, hint=hint) from exc


def first_sentence(exc: Exception) -> str:
    """What another library's exception says first, without a full stop: the hint follows behind one of its own.

    Lines that say where in its sources it was raised are left out. A line that ends in a colon goes with the one that
    it leads to (OpenVINO's), and one that goes on in lower case with the one before it (those of onnx 1.23's checker).
    """
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()] or [type(exc).__name__]
    lines = [line for line in lines if not line.startswith(("Exception from ", "Check '"))] or lines[-1:]
    end = 1
    while end < len(lines) and (lines[end - 1].endswith(":") or _goes_on(lines[end - 1], lines[end])):
        end += 1
    return " ".join(lines[:end])[:400].rstrip(" .:")


def _goes_on(line: str, behind: str) -> bool:
    return not line.endswith(".") and behind[:1].islower()
