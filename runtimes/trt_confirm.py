"""Does TensorRT take this graph? Asked of TensorRT-RTX in a child process, without a GPU. Knows no engine's use.

A child, because some graphs kill the builder, and because a process has one TensorRT logger. A build proves acceptance,
never a result: nothing runs here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edge_sdk.errors import EdgeError
from edge_sdk.runtimes import trt_build

RUNTIME = "tensorrt-rtx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """accepted: parsed, built, and no warning about types. errors: why not, with node names. crashed: the builder died
    or did not end in time. version: of TensorRT-RTX. engine_bytes: the size of what was built, 0 if nothing was."""

    accepted: bool
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    engine_bytes: int = 0
    crashed: bool = False
    version: str = ""


def confirm(
    graph: bytes, *, capabilities: Sequence[str] = ("SM86",), axes: Mapping[str, int] = MappingProxyType({}),
    timeout_s: float = 60.0,
) -> Confirmation:  # fmt: skip
    """Parse and build `graph` for `capabilities`. axes: as in CompileOptions. Raises NotThere if TensorRT-RTX is not
    installed; a graph that is not taken, or that kills the builder, is an answer, not an exception."""
    version = str(trt_build.load(RUNTIME).__version__)
    with tempfile.TemporaryDirectory(prefix="edge-sdk-") as folder:
        file = Path(folder) / "graph.onnx"
        file.write_bytes(graph)
        command = (sys.executable, "-m", __name__, str(file), json.dumps(dict(axes)), *capabilities)
        try:
            child = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired:
            return Confirmation(
                accepted=False, errors=(f"no answer within {timeout_s:g} s",), crashed=True, version=version
            )
    try:
        reply = json.loads(child.stdout.splitlines()[-1]) if child.returncode == 0 else None
    except (ValueError, IndexError):
        reply = None
    if reply is None:
        last = (child.stderr.decode(errors="replace").strip().splitlines() or [""])[-1][:300]
        errors = (f"the builder died (exit code {child.returncode}) {last}".strip(),)
        return Confirmation(accepted=False, errors=errors, crashed=True, version=version)
    warnings = tuple(reply["warnings"])
    about_types = tuple(text for text in warnings if trt_build.ABOUT_TYPES.search(text))
    errors = (*reply["errors"], *(f"another type than the graph's: {text}" for text in about_types))
    return Confirmation(
        accepted=not errors, warnings=warnings, errors=errors, engine_bytes=reply["engine_bytes"], version=version
    )


def answer(arguments: Sequence[str]) -> str:
    """The child's side: one line of JSON for (file, JSON of the axes, capabilities...)."""
    file, axes, *capabilities = arguments
    try:
        trt = trt_build.load(RUNTIME)
        built = trt_build.build(
            trt, Path(file).read_bytes(), where="graph", axes=json.loads(axes), capabilities=capabilities
        )
    except EdgeError as exc:
        problems = exc.problems if isinstance(exc, trt_build.Refused) and exc.problems else (str(exc),)
        return json.dumps({"errors": list(problems), "warnings": [], "engine_bytes": 0})
    return json.dumps({"errors": [], "warnings": list(built.warnings), "engine_bytes": len(built.engine)})


if __name__ == "__main__":
    sys.stdout.write(answer(sys.argv[1:]) + "\n")
