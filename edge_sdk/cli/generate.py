"""The verb `generate`: pictures of a generator into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Bundle, Device, Json, Keys, Runtime, Threads, Trust, Variant, policy, variants
from edge_sdk.counted import counted
from edge_sdk.errors import BadUsage
from edge_sdk.shown import shown


def generate(
    bundle: Bundle,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the pictures, one subfolder a class.", show_default=False)
    ],
    count: Annotated[int, typer.Option("--count", "-n", help="How many pictures.")] = 64,
    seed: Annotated[
        str, typer.Option("--seed", help="Whole number from 0 to 2^64 - 1. One seed has 2^64 pictures.")
    ] = "0",
    first: Annotated[int, typer.Option("--first", help="Number of the first picture of the seed.")] = 0,
    label: Annotated[
        str | None,
        typer.Option("--label", help="Class of all pictures, by name or number. Default: the classes in turn."),
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Also write grid.png: the first 64 in one picture.")] = False,
    values: Annotated[
        bool, typer.Option("--values", help="Also write a .npy file beside each picture: what it was rounded from.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write into a folder that holds other files.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and draw nothing.")] = False,
    runtime: Runtime = None, variant: Variant = None, device: Device = None, threads: Threads = None,
    json: Json = False, trust: Trust = "if-present", keys: Keys = None,
) -> None:  # fmt: skip
    """Draw pictures into a folder, with a manifest of what drew them. The same seed gives the same pictures in every
    runtime: fp32 within one grey level. A call that was stopped is resumed by the same command.

    Example: edge-sdk generate parts.edge -n 64 --seed 7 --out drawn/
    """
    from edge_sdk import atomic
    from edge_sdk.loading import load_as
    from edge_sdk.tasks.generation.asked import label_of, seed_of
    from edge_sdk.tasks.generation.folder import draw_into, require_values
    from edge_sdk.tasks.generation.generator import Generator
    from edge_sdk.tasks.generation.result import png

    number = seed_of(seed)
    if count < 1:
        raise BadUsage(f"-n is a number of pictures, 1 or more, not {count}", hint="Write -n 64")
    if first < 0:
        raise BadUsage(f"--first is 0 or more, not {first}")
    with load_as(
        Generator, bundle, runtime=runtime, variant=variants(variant), device=device, threads=threads,
        trust=policy(trust, keys),
    ) as generator:  # fmt: skip
        wanted: int | str | None = (
            int(label) if label is not None and label.isdigit() and label not in generator.labels else label
        )
        label_of(wanted, generator.labels)
        require_values(generator, wanted=values)
        if dry_run:
            text = f"would draw {counted(count, 'picture')} of seed {number} into {shown(out)}"
            terminal.emit({"count": count, "seed": number, "out": str(out)}, as_json=json, text=text)
            return
        with terminal.progress() as progress:
            written = draw_into(
                out, generator, count, seed=number, labels=wanted, first=first, values=values, overwrite=overwrite,
                progress=progress,
            )  # fmt: skip
        if grid:
            sheet = generator.generate(min(count, 64), seed=number, labels=wanted, first=first).grid()
            atomic.write(out / "grid.png", png(sheet))
    before = f", {written.already} of them by an earlier call" if written.already else ""
    terminal.emit(
        {"out": str(written.folder), "count": written.count, "already": written.already, "seed": number},
        as_json=json, text=f"drew {counted(written.count, 'picture')} of seed {number} into {shown(out)}{before}",
    )  # fmt: skip


COMMANDS = (generate,)
