"""Run by a fresh environment that has no torch: the device side imports, and says what is missing where it is asked."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import subprocess
import sys

import edge_sdk
from edge_sdk.errors import NotThere
from edge_sdk.extras import need

CALL = "import sys; from edge_sdk.cli.main import run; run(sys.argv[1:])"
VERBS = (
    ("devices",), ("demo", "--out", "no-demo"), ("train", ".", "--out", "x.edge"), ("lint", "x.onnx"),
    ("verify", "x.edge"), ("predict", "x.edge", "x.png"), ("threshold", "x.edge"), ("profile", "x.edge"),
    ("inspect", "x.edge"), ("keygen", "key"), ("sign", "x.edge", "--key", "x.key"),
)  # fmt: skip
"""Each verb once, as someone calls it who has nothing installed for it and no file for it."""
EXPORT_SIDE = ("edge_sdk.export", "edge_sdk.calibration")


def _broken(name: str) -> None:
    if not name.startswith(EXPORT_SIDE):  # walking enters packages by importing them, the export side's too
        raise AssertionError(f"{name} does not import")


def _refusal(module: str) -> str:
    try:
        need(module, extra="export")
    except NotThere as exc:
        return str(exc)
    raise AssertionError(f"{module} was found")


def _called(words: tuple[str, ...]) -> None:
    """The verb answers with one of our exit codes and no traceback."""
    done = subprocess.run([sys.executable, "-c", CALL, *words], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, f"{words}: {done.stderr[-800:]}"
    assert done.returncode in (0, 2, 3, 4), f"{words}: exit code {done.returncode}"


def main() -> None:
    """Imports every device module; none may have brought torch, onnx or nncf along."""
    for absent in ("torch", "onnx", "nncf"):
        assert importlib.util.find_spec(absent) is None, f"{absent} is installed: this proves nothing"
    found = pkgutil.walk_packages(edge_sdk.__path__, "edge_sdk.", onerror=_broken)
    names = [m.name for m in found if not m.name.startswith(EXPORT_SIDE)]
    for name in names:
        importlib.import_module(name)
    assert not {"torch", "onnx", "nncf"} & set(sys.modules)
    for module in ("torch", "edge_sdk.export.efficientad.family"):  # theirs, and ours that needs theirs
        said = _refusal(module)
        assert " is not installed" in said, said
        assert 'pip install "torch>=' in said, said
    for verb in VERBS:
        _called(verb)
    sys.stdout.write(f"{len(names)} device modules import without torch, onnx, nncf\n")


if __name__ == "__main__":
    main()
