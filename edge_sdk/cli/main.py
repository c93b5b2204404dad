"""The command line: verbs, exit codes, error output. Each verb has its own file in this folder."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys

import typer

from edge_sdk import __version__
from edge_sdk.cli import (
    KEPT,
    demo,
    devices,
    export,
    generate,
    inspect,
    lint,
    predict,
    profile,
    quantize,
    sign,
    terminal,
    threshold,
    train,
    verify,
)
from edge_sdk.errors import BadUsage, CantWrite, EdgeError, Stopped
from edge_sdk.shown import shortened

# Typer carries click inside itself or depends on it, by version; its own names lead to the classes either way.
CLICK_ERROR: type[Exception] = typer.BadParameter.__mro__[2]  # BadParameter, UsageError, ClickException

app = typer.Typer(
    name="edge-sdk",
    help="Bring a model, get one file; bring the file to a device, get the same answer there, fast.",
    epilog="Exit codes: 0 success, 1 a check failed, 2 wrong usage, 3 bad input, 4 runtime or device not available, "
    "5 stopped; train resumes from its checkpoint. Start with: edge-sdk demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"edge-sdk {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    log_level: str = typer.Option("warning", help="debug, info, warning or error; to stderr."),
) -> None:
    level = logging.getLevelName(log_level.upper())
    if not isinstance(level, int):
        raise typer.BadParameter(f"{log_level!r} is not a level", param_hint="--log-level")
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


app.add_typer(train.GROUP, name="train")
for _verb in (demo, quantize, export, verify, predict, generate, threshold, profile, inspect, lint, devices, sign):
    for _command in _verb.COMMANDS:
        _class = getattr(_verb, "CLASSES", {}).get(_command.__name__)
        app.command(name=_command.__name__.replace("_", "-"), cls=_class)(_command)


_INTERRUPTED = 130
"""What Typer makes of a KeyboardInterrupt, which it does not let through; no verb exits with it."""


def run(arguments: list[str] | None = None) -> None:
    """Entry point: runs one verb and exits with its code."""
    words = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in words
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # read when cv2 is imported; our own error names the file
    try:
        code = app(args=words, standalone_mode=False)
    except EdgeError as exc:
        _show(exc, as_json=as_json)
        code = exc.exit_code
    except typer.Exit as exc:
        code = exc.exit_code
    except CLICK_ERROR as exc:
        if as_json:  # stderr stays what Typer prints: the usage line, and what is wrong in more than one line
            what = " ".join(exc.format_message().split())  # type: ignore[attr-defined]
            _print_json(BadUsage(what.rstrip("."), hint="--help lists the options of a command"))
        exc.show()  # type: ignore[attr-defined]
        code = BadUsage.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = _INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        code = 0
    except OSError as exc:  # the last net: a file or folder that no step had looked at before
        reason = exc.strerror or str(exc)
        long = exc.errno == errno.ENAMETOOLONG
        where = (shortened if long else str)(exc.filename or "")
        hint = "Check the path" if long else "Check that it is there, and its permissions"
        failed = CantWrite(reason, where=where, hint=hint)
        _show(failed, as_json=as_json)
        code = failed.exit_code
    if code == _INTERRUPTED:
        if as_json:
            _print_json(Stopped("stopped", hint=KEPT))
        terminal.note(f"Stopped. {KEPT}.")
        code = Stopped.exit_code
    sys.exit(code if isinstance(code, int) else 0)


def _show(exc: EdgeError, *, as_json: bool) -> None:
    if as_json:
        _print_json(exc)
    terminal.error(exc)


def _print_json(exc: EdgeError) -> None:
    terminal.out_json(json.dumps(exc.to_json(), ensure_ascii=False))
