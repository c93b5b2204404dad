"""The verb `train`: from a folder of good parts to a bundle."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Json
from edge_sdk.errors import BadUsage
from edge_sdk.extras import need_exporting
from edge_sdk.text_table import text_table

if TYPE_CHECKING:
    from edge_sdk.export.build import Built
    from edge_sdk.export.family import Family, PictureSet, TrainOptions


def train(
    pictures: Annotated[Path, typer.Argument(help="Folder of good parts, or one with train/good.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The bundle to write.", show_default=False)],
    family: Annotated[str, typer.Option(help="Family of models.")] = "efficientad",
    size: Annotated[str, typer.Option(help="xs (two cores, minutes), s or m (a GPU; need --teacher).")] = "xs",
    width: Annotated[
        int | None, typer.Option(min=1, help="Pictures are scaled to it, px. Default: 320 (xs), 256 (s, m).")
    ] = None,
    height: Annotated[int | None, typer.Option(min=1, help="As width; s and m add a border of 16 px around.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps; default: the size's own.")] = None,
    time_budget: Annotated[str | None, typer.Option(help="Stop training after, for example, 10min.")] = None,
    group: Annotated[
        str | None, typer.Option(help="Several photos a part: a regular expression naming it, or TABLE.csv:COLUMN.")
    ] = None,
    bit_depth: Annotated[int, typer.Option(help="Of 16-bit pictures: 10, 12 or 16, what the camera's white is.")] = 16,
    turns: Annotated[bool, typer.Option("--turns", help="Parts lie in any direction.")] = False,
    rate: Annotated[
        str | None, typer.Option(help="False-reject rate. Default: 1%, or the lowest that your pictures support.")
    ] = None,
    confidence: Annotated[str | None, typer.Option(help="Hold the rate with this confidence, such as 95%.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    penalty: Annotated[Path | None, typer.Option(help="Folder of foreign pictures; default: textures.")] = None,
    teacher: Annotated[Path | None, typer.Option(help="Teacher weights (s, m), or trunk weights (xs).")] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder with checkpoints; default: OUT.run beside OUT.")] = None,
    key: Annotated[Path | None, typer.Option(help="A .key file: sign the bundle.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: the physical cores given to us.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read the pictures and show the plan only.")] = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Train on photos of good parts, quantize, find the threshold, and write one verified bundle.

    Stopped by Ctrl-C it keeps a checkpoint; the same command goes on from it.
    Example: edge-sdk train photos/good --out line3.edge --time-budget 10min --rate 1%
    """
    need_exporting()
    from edge_sdk.decision import parse_rate
    from edge_sdk.export import registry
    from edge_sdk.export.family import TrainOptions
    from edge_sdk.export.pictures import read_pictures

    if out.suffix != ".edge":
        raise BadUsage(f"--out {out} does not end in .edge", do=f"Write --out {out.with_suffix('.edge')}")
    if bit_depth not in (10, 12, 16):
        raise BadUsage(f"--bit-depth is 10, 12 or 16, not {bit_depth}")
    if not out.parent.is_dir():  # before the training, not after it
        raise BadUsage(f"the folder of --out {out} is not there", do=f"mkdir -p {out.parent}")
    budget = terminal.seconds(time_budget) if time_budget else None
    maker = registry.family(family)
    options = maker.completed(TrainOptions(
        size=size, width=width, height=height, steps=steps, time_budget_s=budget, seed=seed, turns=turns,
        penalty=penalty, teacher=teacher, bit_depth=bit_depth, threads=threads,
    ))  # fmt: skip
    if rate is not None:
        parse_rate(rate)  # before the pictures are read
    sure = None if confidence is None else float(parse_rate(confidence, "confidence"))
    data = read_pictures(pictures, group=group)
    for file, why in data.unreadable:
        terminal.note(f"left out: {file}: {why}")
    for note in data.notes:
        terminal.note(f"note: {note}")
    plan = _plan(data, options, out)
    if dry_run:
        terminal.emit(plan, as_json=json, text="\n".join(f"{k}: {v}" for k, v in plan.items()))
        return
    built = _build(maker, data, options, out, run, rate, sure, key)
    terminal.emit(_told(built), as_json=json, text=_text(built))


def _plan(data: PictureSet, options: TrainOptions, out: Path) -> dict[str, object]:
    parts = len({p.part for p in data.train})
    return {
        "good pictures": len(data.train), "parts": parts,
        "grouped": f"by {data.group}" if data.group else "no: one picture a part is assumed",
        "test pictures": len(data.test), "unreadable": len(data.unreadable), "size": options.size,
        "pictures scaled to": f"{options.width} x {options.height} px", "bundle": str(out),
    }  # fmt: skip


def _build(
    family: Family, data: PictureSet, options: TrainOptions, out: Path, run: Path | None, rate: str | None,
    confidence: float | None, key: Path | None,
) -> Built:  # fmt: skip
    from edge_sdk.bundle.signing import SigningKey
    from edge_sdk.export import build as library

    wanted = library.BuildOptions(
        name=out.stem, out=out, rate=rate, confidence=confidence,
        key=SigningKey.load(key) if key else None,
    )  # fmt: skip
    folder = run or out.with_suffix(".run")
    return library.make(family, data, options, wanted, folder=folder, progress=terminal.on_stderr())


def _told(built: Built) -> dict[str, object]:
    import msgspec

    return {
        "bundle": str(built.path), "decision": msgspec.to_builtins(built.decision),
        "rows": [row.to_json() for row in built.rows], "unjudged": built.unjudged,
    }  # fmt: skip


def _text(built: Built) -> str:
    from edge_sdk.export import table

    told = table.quality(built.rows, "picture")
    lines = [f"by picture: {table.unit_words(built.rows, 'picture')}", text_table(told.header, told.rows)]
    if not built.rows:
        lines = [f"quality was not measured: {built.unjudged}"]
    elif built.unjudged:
        lines.append(f"note: {built.unjudged}")
    elif built.group:
        told = table.quality(built.rows, "part")
        lines += ["", f"by part: {table.unit_words(built.rows, 'part')}", text_table(told.header, told.rows)]
    size = built.path.stat().st_size / 1e6
    return "\n".join([
        *lines, *(f"note: {note}" for note in table.notes(built.rows)), "",
        f"threshold: score > {built.decision.threshold:.4g}. {built.decision.words}",
        *(f"warning: {w}" for w in built.decision.warnings),
        f"wrote {built.path} ({size:.1f} MB). Next: edge-sdk verify {shlex.quote(str(built.path))}",
    ])  # fmt: skip


COMMANDS = (train,)
