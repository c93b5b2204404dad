"""Command options from dataclass fields, and dataclasses from the values given. Knows no verb."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from edge_sdk.cli import terminal

if TYPE_CHECKING:
    from edge_sdk.export.option import OptionSpec

Options = TypeVar("Options")
_TYPES = {"int": int, "float": float, "flag": bool, "path": Path, "texts": list[str]}


def parameters(options: type[Any], *, but: Sequence[str] = ()) -> list[inspect.Parameter]:
    """Keyword parameters for typer: one for each field made by `option`, except those in `but`."""
    from edge_sdk.export.option import defaults_of, specs_of

    defaults = defaults_of(options)
    return [_parameter(spec, defaults[name]) for name, spec in specs_of(options).items() if name not in but]


def _parameter(spec: OptionSpec, default: Any) -> inspect.Parameter:
    kind: Any = _TYPES.get(spec.kind, str)
    shown = typer.Option(
        spec.name, help=spec.help, min=spec.least, max=spec.most, show_default=default not in (None, ())
    )
    if spec.kind == "texts":
        default = list(default)
    if default is None:
        kind = kind | None
    return inspect.Parameter(
        spec.field, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, shown]
    )


def made(options: type[Options], given: Mapping[str, Any]) -> Options:
    """The dataclass built from the options of a command line. Raises BadUsage for an invalid value."""
    from edge_sdk.export.option import specs_of

    values = {}
    for name, spec in specs_of(options).items():
        value = given[name]
        if spec.kind == "texts":
            value = tuple(value)
        values[name] = terminal.seconds(value) if spec.kind == "seconds" and isinstance(value, str) else value
    return options(**values)
