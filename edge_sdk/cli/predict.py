"""The verb `predict`: run a bundle on the inputs of its task."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Bundle, Device, Json, Keys, Runtime, Threads, Trust, Variant, policy, variants
from edge_sdk.errors import BadInput, EdgeError


def predict(
    bundle: Bundle,
    inputs: Annotated[
        list[str], typer.Argument(help="Inputs of the bundle: pictures, .npz files, or folders.", show_default=False)
    ],
    runtime: Runtime = None, variant: Variant = None, device: Device = None, threads: Threads = None,
    json: Json = False, trust: Trust = "if-present", keys: Keys = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "--overlays",
            help="Folder to write each result to, by its folders: a picture with its map, or an .npz of all outputs.",
        ),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Also show what runs and why, on stderr.")] = False,
) -> None:  # fmt: skip
    """Print one result per input. Unreadable inputs are listed, and the exit code is then 3.

    Example: edge-sdk predict line3.edge photos/ --out overlays/
    """
    from edge_sdk import atomic, tasks
    from edge_sdk.loading import load

    if out is not None:
        atomic.folder(out)
    failed = 0
    with load(
        bundle, runtime=runtime, variant=variants(variant), device=device, threads=threads, trust=policy(trust, keys)
    ) as predictor:
        task = tasks.task(predictor.bundle.manifest.task)
        given = task.given(inputs, predictor.bundle)
        for line in task.left_out(inputs):
            terminal.note(line)
        if explain:
            terminal.note(predictor.explain())
        for one in given:
            try:
                result = predictor.predict(one.source)
            except BadInput as exc:
                failed += 1
                _refused(exc, one.name, json)
                continue
            # Before saving: a full disk hides no result.
            if json:
                terminal.out_json(result.to_json())
            else:
                terminal.out(result.line())
            if out is not None:
                place = out / one.place.with_name(one.place.name + result.suffix)
                place.parent.mkdir(parents=True, exist_ok=True)
                result.save(place)
    if failed:
        terminal.note(f"{failed} of {len(given)} inputs gave no result")
    raise typer.Exit(3 if failed else 0)


def _refused(exc: EdgeError, name: str, as_json: bool) -> None:
    if as_json:
        terminal.out_json(jsonlib.dumps({"source": name, "error": str(exc)}, ensure_ascii=False))
    terminal.error(exc)


COMMANDS = (predict,)
