"""The verb `demo`: every step on data that ship with a family."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Json
from edge_sdk.errors import Stopped
from edge_sdk.extras import need_exporting


class Demos(TyperCommand):
    """Its help says what the named family's demo does, or lists the families where none is named."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        from edge_sdk.export import registry

        named = next((word for word in args if word in registry.names()), None)
        if named is not None and "--help" in args:
            about = registry.demo_about(named) or registry.abouts()[named]
            self.help = f"{about}\n\n{_STEPS}\n\nExample: edge-sdk demo {named} --out demo-report"
        return super().make_context(info_name, args, parent, **extra)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        from edge_sdk.export import registry

        with formatter.section("Families"):
            formatter.write_dl(list(registry.abouts().items()))


_STEPS = (
    "Exports, quantizes, verifies, evaluates and profiles the model, offline, and writes a bundle and report.html. "
    "Exit 1 if a runtime on this machine fails verification."
)


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
            help="Time limit for the training steps alone, such as 90s. Default: 5min. Refused where the demo trains "
            "nothing.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of all random numbers.")] = 0,
    json: Json = False,
) -> None:
    """Run every step on data that ship with a family: train a model or take shipped weights, export, quantize, verify,
    evaluate, profile, and write a report page. Works offline.

    edge-sdk demo FAMILY --help says what the demo of a family does and how long it takes. Exit 1 if a runtime on this
    machine fails verification.

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
CLASSES = {"demo": Demos}
