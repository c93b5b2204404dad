"""The verb `predict`: pictures through a bundle."""

from __future__ import annotations

import json as jsonlib
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Bundle, Device, Json, Keys, Runtime, Threads, Trust, Variant, policy
from edge_sdk.errors import BadInput, EdgeError
from edge_sdk.shown import shown

if TYPE_CHECKING:
    from edge_sdk.results import AnomalyResult


def predict(
    bundle: Bundle,
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, or folders of them.", show_default=False)],
    runtime: Runtime = None, variant: Variant = None, device: Device = None, threads: Threads = None,
    json: Json = False, trust: Trust = "if-present", keys: Keys = None,
    overlays: Annotated[
        Path | None, typer.Option(help="Folder to write pictures with their maps and regions to, by their folders.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Also tell what runs and why (stderr).")] = False,
) -> None:  # fmt: skip
    """Judge pictures: score, verdict and regions of each. Unreadable pictures are named; then the exit code is 3.

    Example: edge-sdk predict line3.edge photos/ --overlays out/
    """
    from edge_sdk import atomic
    from edge_sdk.loading import load

    if overlays is not None:
        atomic.folder(overlays)
    files = _files(pictures)
    places = _places(files)
    failed = 0
    with load(
        bundle, runtime=runtime, variant=variant, device=device, threads=threads, trust=policy(trust, keys)
    ) as detector:
        if explain:
            terminal.note(detector.explain())
        for file, place in zip(files, places, strict=True):
            try:
                result = detector.predict(file)
            except BadInput as exc:
                failed += 1
                _refused(exc, file, json)
                continue
            told, show = (result.to_json(), terminal.out_json) if json else (_line(result), terminal.out)
            show(told)  # before the plot: a full disk hides no verdict
            if overlays is not None:
                (overlays / place).parent.mkdir(parents=True, exist_ok=True)
                result.save_plot(overlays / place)
    if failed:
        terminal.note(f"{failed} of {len(files)} pictures could not be judged")
    raise typer.Exit(3 if failed else 0)


def _files(given: list[Path]) -> list[Path]:
    from edge_sdk.folders import pictures_in

    files: list[Path] = []
    for path in given:
        if path.is_dir():
            files += pictures_in(path, recursive=True)
            terminal.left_out(path)
        else:
            files.append(path)
    return files


def _places(files: list[Path]) -> list[Path]:
    """Where each picture's overlay goes, below the folder for them: in the order of folders that the pictures have,
    from the one on that all of them share, and never two in one place."""
    whole = [Path(os.path.realpath(file)) for file in files]  # resolve() raises for a link to itself
    shared: Path | None = None
    with suppress(ValueError):  # on two drives
        shared = Path(os.path.commonpath([file.parent for file in whole])).parent
    places: dict[Path, None] = {}
    for file in whole:
        below = file.relative_to(shared or file.anchor)
        place, number = below.with_suffix(".png"), 2
        while place in places:  # part.png and part.jpg, or one picture named twice
            place, number = below.with_name(f"{below.stem}_{number}.png"), number + 1
        places[place] = None
    return list(places)


def _line(result: AnomalyResult) -> str:
    regions = ", ".join(
        f"{r.box[2] - r.box[0]}x{r.box[3] - r.box[1]} px at ({r.box[0]}, {r.box[1]})" for r in result.regions[:3]
    )
    more = f" and {len(result.regions) - 3} more" if len(result.regions) > 3 else ""
    notes = "".join(f" [{n}]" for n in result.notes)
    return f"{result.verdict.label:9s} {result.score:9.4f}  {shown(result.source)}  {regions}{more}{notes}".rstrip()


def _refused(exc: EdgeError, file: Path, as_json: bool) -> None:
    if as_json:
        terminal.out_json(jsonlib.dumps({"source": str(file), "error": str(exc)}, ensure_ascii=False))
    terminal.error(exc)


COMMANDS = (predict,)
