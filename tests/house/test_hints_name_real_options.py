"""Messages and documents send people to options of the command line: each must exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from edge_sdk.cli.export import of_family
from edge_sdk.cli.main import app
from edge_sdk.export import registry
from edge_sdk.export.option import as_is_of

ROOT = Path(__file__).resolve().parents[2]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
OF_OTHERS = {"--index-url", "--preload", "--side", "--standalone", "--nproc-per-node"}
"""Of programs that are not ours: pip, gunicorn, torchrun, the family of docs/add-a-family.md (its test runs it)."""


def _known() -> set[str]:
    exported = [name for name in registry.names() if as_is_of(registry.described(name).options) is not None]
    commands = [*_with_those_below(typer.main.get_command(app)), *map(of_family, exported)]
    return {
        name for command in commands for option in command.params for name in (*option.opts, *option.secondary_opts)
    }


def _with_those_below(command: Any) -> list[Any]:
    """The command and all that its groups list, those that are made when they are asked for too."""
    names = command.list_commands(None) if hasattr(command, "list_commands") else []
    below = [_with_those_below(command.get_command(None, name)) for name in names]
    return [command, *(one for some in below for one in some)]


def _texts() -> Iterator[tuple[str, str]]:
    for folder in ("edge_sdk", "runtimes", "calibration", "export"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")


def test_every_option_that_a_message_or_a_document_names_exists() -> None:
    known = _known() | OF_OTHERS | {"--help"}
    assert len(known) > 30
    wrong = [(where, name) for where, text in _texts() for name in OPTION.findall(text) if name not in known]
    assert wrong == []
