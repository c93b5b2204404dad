"""Run by a fresh environment that has no torch: the device side imports, and says what is missing where it is asked."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys

import edge_sdk
from edge_sdk.errors import NotThere
from edge_sdk.extras import need

EXPORT_SIDE = ("edge_sdk.export", "edge_sdk.calibration")


def _broken(name: str) -> None:
    if not name.startswith(EXPORT_SIDE):  # walking enters packages by importing them, the export side's too
        raise AssertionError(f"{name} does not import")


def _refusal() -> str:
    try:
        need("torch", extra="export")
    except NotThere as exc:
        return str(exc)
    raise AssertionError("torch was found")


def main() -> None:
    """Imports every device module; none may have brought torch, onnx or nncf along."""
    for absent in ("torch", "onnx", "nncf"):
        assert importlib.util.find_spec(absent) is None, f"{absent} is installed: this proves nothing"
    found = pkgutil.walk_packages(edge_sdk.__path__, "edge_sdk.", onerror=_broken)
    names = [m.name for m in found if not m.name.startswith(EXPORT_SIDE)]
    for name in names:
        importlib.import_module(name)
    assert not {"torch", "onnx", "nncf"} & set(sys.modules)
    assert "edge-sdk[export]" in _refusal()
    sys.stdout.write(f"{len(names)} device modules import without torch, onnx, nncf\n")


if __name__ == "__main__":
    main()
