"""The verb `verify`: replay the golden samples on every runtime present."""

from __future__ import annotations

import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Bundle, Device, Json, Keys, Runtimes, Trust, Variants, policy


def verify(
    bundle: Bundle, runtime: Runtimes = None, variant: Variants = None, json: Json = False,
    trust: Trust = "if-present", keys: Keys = None,
    device: Device = None,
) -> None:  # fmt: skip
    """Replay the golden samples on every runtime present, singly and in batches, twice. Exit 1 if an answer is wrong.

    Example: edge-sdk verify line3.edge --runtime openvino
    """
    from edge_sdk import verify as library

    with terminal.progress() as progress:
        report = library.verify(
            bundle, runtimes=runtime or (), variants=variant or (), device=device, trust=policy(trust, keys),
            progress=progress,
        )  # fmt: skip
    terminal.emit(report.to_json(), as_json=json, text=report.text(terminal.table))
    raise typer.Exit(0 if report.passed else 1)


COMMANDS = (verify,)
