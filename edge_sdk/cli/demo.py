"""The verb `demo`: the whole path on real pictures that ship."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Json
from edge_sdk.extras import need_exporting


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the bundle and report.html.")] = Path("demo-report"),
    family: Annotated[str, typer.Option(help="Family of models to show.")] = "efficientad",
    time_budget: Annotated[str, typer.Option(help="Training ends after it, done or not.")] = "5min",
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    json: Json = False,
) -> None:
    """Train, export, quantize, verify, judge and profile on shipped pictures, offline, in about 4 minutes.

    Example: edge-sdk demo --out demo-report
    """
    need_exporting()
    from edge_sdk.export import demo as library
    from edge_sdk.export import registry

    shown = library.demo(
        out, registry.family(family), time_budget_s=terminal.seconds(time_budget), seed=seed,
        progress=terminal.on_stderr(),
    )  # fmt: skip
    terminal.emit(shown.to_json(), as_json=json, text=shown.text())


COMMANDS = (demo,)
