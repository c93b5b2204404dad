"""The verb `demo`: every step on data that ship with a family."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Json
from edge_sdk.errors import Stopped
from edge_sdk.extras import need_exporting


def _shown_first() -> str:
    from edge_sdk.export import registry

    return registry.names()[0]


def demo(
    family: Annotated[
        str,
        typer.Argument(
            help="Family of models to show.", default_factory=_shown_first, show_default="the first of edge-sdk train"
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the bundle and report.html.")] = Path("demo-report"),
    time_budget: Annotated[
        str | None,
        typer.Option(
            help="End the training steps after this time, such as 90s; all else takes its own time. Default: 5min. A "
            "family whose demo trains nothing has no use for it.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of all random numbers.")] = 0,
    json: Json = False,
) -> None:
    """Train, export, quantize, verify, evaluate and profile on shipped data, offline, in about 4 minutes.

    A family whose trained weights ship takes those and trains nothing. The 4 minutes are those of an idle machine with
    two cores; a busy one takes longer. The time budget covers the training steps alone, not what comes before and after
    them: reading the pictures, their features, quantization, evaluation, verification, timing. Exit 1 if a runtime on
    this machine fails verification.

    Example: edge-sdk demo efficientad --out demo-report
    """
    budget = None if time_budget is None else terminal.seconds(time_budget)
    need_exporting()
    from edge_sdk.export import demo as library
    from edge_sdk.export import registry

    try:
        with terminal.progress() as progress:
            shown = library.demo(out, registry.family(family), time_budget_s=budget, seed=seed, progress=progress)
    except (KeyboardInterrupt, Stopped) as exc:
        raise Stopped(
            "the demo was stopped", where=str(out), hint="The same command starts from the beginning"
        ) from exc
    terminal.emit(shown.to_json(), as_json=json, text=shown.text())
    raise typer.Exit(0 if shown.verified else 1)


COMMANDS = (demo,)
