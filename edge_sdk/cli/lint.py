"""The verb `lint`: what a runtime would refuse, misread or run in float."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Json, Keys, Trust, policy
from edge_sdk.shown import unreadable

Graph = Annotated[Path, typer.Argument(help="An .onnx file, or a .edge file: all its graphs.", show_default=False)]
For = Annotated[
    list[str] | None,
    typer.Option("--for", help="onnxruntime, openvino or tensorrt; several times. Default: all, layout not checked."),
]


def lint(graph: Graph, target: For = None, json: Json = False, trust: Trust = "if-present", keys: Keys = None) -> None:
    """Check graphs against the portable int8 contract, without running them. Exit 1 if a rule is broken.

    Example: edge-sdk lint model.onnx --for openvino --for tensorrt
    """
    from edge_sdk.extras import need

    need("onnx", extra="quantize")
    from edge_sdk.calibration.lint import lint as check

    found = [
        (name, fault.rule, fault.node, fault.what, fault.hint)
        for name, data, targets in _graphs(graph, tuple(target or ()), trust, keys)
        for fault in check(data, targets, where=str(graph))
    ]
    info = {
        "graph": str(graph), "for": list(target or ()),
        "faults": [dict(zip(("graph", "rule", "node", "what", "hint"), row, strict=True)) for row in found],
    }  # fmt: skip
    text = terminal.table(("graph", "rule", "node", "what", "what to do"), found) if found else f"{graph}: portable"
    terminal.emit(info, as_json=json, text=text)
    raise typer.Exit(1 if found else 0)


def _graphs(
    path: Path, asked: tuple[str, ...], trust: str, keys: Path | None
) -> Iterator[tuple[str, bytes, tuple[str, ...]]]:
    """Name, bytes and what to check for; a bundle's graph is checked for each runtime that its layout is meant for."""
    from edge_sdk.bundle.store import Bundle
    from edge_sdk.calibration.lint import RUNTIMES
    from edge_sdk.runtimes import targets

    if path.suffix != ".edge":
        try:
            yield path.name, path.read_bytes(), asked
        except OSError as exc:
            raise unreadable(path, exc) from exc
        return
    with Bundle.open(path, trust=policy(trust, keys)) as bundle:
        for graph in bundle.manifest.graphs:
            for runtime in asked or RUNTIMES:
                if runtime not in RUNTIMES or targets.takes(runtime, graph):
                    yield f"{graph.name} for {runtime}", bundle.graph(graph.name), (runtime,)


COMMANDS = (lint,)
