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
from edge_sdk.shown import shown

if TYPE_CHECKING:
    from edge_sdk.decision import Decision
    from edge_sdk.export.build import Built, Plan


def train(
    pictures: Annotated[Path, typer.Argument(help="Folder of good parts, or one with train/good.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The bundle to write, NAME.edge.", show_default=False)],
    family: Annotated[str, typer.Option(help="Family of models.")] = "efficientad",
    size: Annotated[str, typer.Option(help="xs (two cores, minutes), s or m (for a GPU; m needs --teacher).")] = "xs",
    width: Annotated[
        int | None,
        typer.Option(min=1, help="Pictures are scaled to it, px; xs: a multiple of 32. Default: 320 (xs), 256 (s, m)."),
    ] = None,
    height: Annotated[int | None, typer.Option(min=1, help="As width; s and m add a border of 16 px around.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Train so many steps. Default: by time (xs), 70000 (s, m).")
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(help="Train so long, such as 10min; with --steps, whichever comes first. Default: 12min (xs)."),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Several photos a part: a regular expression naming it, or TABLE.csv:COLUMN.")
    ] = None,
    bit_depth: Annotated[int, typer.Option(help="Of 16-bit pictures: 10, 12 or 16, what the camera's white is.")] = 16,
    turns: Annotated[bool, typer.Option("--turns", help="Parts lie in any direction, or mirrored.")] = False,
    rate: Annotated[
        str | None,
        typer.Option(help="Good parts wrongly rejected. Default: 1%, or the lowest that your pictures support."),
    ] = None,
    confidence: Annotated[str | None, typer.Option(help="Hold the rate with this confidence, such as 95%.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of all that is random.")] = 0,
    penalty: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures of other things, for int8 ranges and to train s, m. Default: textures."),
    ] = None,
    teacher: Annotated[Path | None, typer.Option(help="Teacher (s, m) or trunk (xs) weights; default: ours.")] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder with checkpoints; default: OUT.run beside OUT.")] = None,
    key: Annotated[Path | None, typer.Option(help="Sign the bundle with this .key file (edge-sdk keygen).")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: the physical cores we may use.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Lose what stands at OUT, whatever it is.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything that the run needs, show the plan, train nothing.")
    ] = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Train on photos of good parts, quantize, find the threshold, and write one bundle.

    Stopped by Ctrl-C it keeps a checkpoint; the same command goes on from it.
    Example: edge-sdk train photos/good --out line3.edge --time-budget 10min
    """
    if out.suffix != ".edge":
        raise BadUsage(f"--out {out} does not end in .edge", do=f"Write --out {out.with_suffix('.edge')}")
    if shown(out) != str(out) or shown(run or "") != str(run or ""):  # libraries that write weights take text alone
        raise BadUsage(f"--out {shown(out)} or --run is no plain UTF-8 name", do="Use a name that is")
    if bit_depth not in (10, 12, 16):
        raise BadUsage(f"--bit-depth is 10, 12 or 16, not {bit_depth}")
    if not out.parent.is_dir():  # before the training, not after it
        raise BadUsage(f"the folder of --out {out} is not there", do=f"mkdir -p {out.parent}")
    budget = terminal.seconds(time_budget) if time_budget else None
    need_exporting()
    from edge_sdk.decision import parse_rate
    from edge_sdk.export import build as library
    from edge_sdk.export import registry
    from edge_sdk.export.family import TrainOptions
    from edge_sdk.export.pictures import read_pictures

    options = TrainOptions(
        size=size, width=width, height=height, steps=steps, time_budget_s=budget, seed=seed, turns=turns,
        penalty=penalty, teacher=teacher, bit_depth=bit_depth, threads=threads,
    )  # fmt: skip
    sure = None if confidence is None else float(parse_rate(confidence, "confidence"))
    wanted = library.BuildOptions(
        name=out.stem, out=out, rate=rate, confidence=sure,
        key=terminal.signing_key(key) if key else None, overwrite=overwrite,
    )  # fmt: skip
    data = read_pictures(pictures, group=group)  # before the family, whose packages take seconds to load
    maker = registry.family(family)
    for file, why in data.unreadable:
        terminal.note(f"left out: {shown(file)}: {why}")
    for note in data.notes:
        terminal.note(f"note: {note}")
    plan = library.plan(maker, data, options, wanted, folder=run or out.with_suffix(".run"))
    if dry_run:
        terminal.emit(_planned(plan), as_json=json, text=_plan_text(plan))
        return
    for told in (f"training: {_ending(plan)}", *_short_of_default(plan)):
        terminal.note(told)
    with terminal.progress() as progress:
        built = library.make(plan, progress=progress)
    terminal.emit(_told(built), as_json=json, text=_text(built, plan))


def _planned(plan: Plan) -> dict[str, object]:
    training, options, shares = plan.training, plan.options, plan.shares
    promised = ("requested_rate", "confidence", "parts", "rank", "expected_rate", "rate_interval", "lowest_rate")
    return {
        **shares.facts(), "group": plan.data.group, "test_pictures": len(plan.data.test),
        "unreadable": len(plan.data.unreadable), "size": options.size, "width": options.width,
        "height": options.height, "steps": training.steps, "time_budget_s": training.time_budget_s,
        "threads": plan.threads, "promise": {name: getattr(plan.promise, name) for name in promised},
        "run": str(plan.folder), "kept_step": training.kept_step, "finished": training.finished,
        "bundle": str(plan.wanted.out), "replaces": plan.replaces,
    }  # fmt: skip


def _plan_text(plan: Plan) -> str:
    shares, options, training, out = plan.shares, plan.options, plan.training, plan.wanted.out
    parts = len({p.part for p in plan.data.train})
    grouped = f"of {parts} parts, by {plan.data.group}" if plan.data.group else "each taken for a part, no --group"
    rows = [
        ("good pictures", f"{len(plan.data.train)} ({grouped})"),
        ("  to train on", str(len(shares.training))),
        ("  to scale the map", str(len(shares.scaling))),
        ("  for the threshold", str(len(shares.held_out))),
        ("test pictures", str(len(plan.data.test) or "none: the threshold will be set, not judged")),
        ("unreadable", str(len(plan.data.unreadable))),
        ("network", f"{plan.family.title} {options.size}, pictures scaled to {options.width} x {options.height} px"),
        ("training", _ending(plan)),
        ("threads", str(plan.threads)),
        ("false-reject rate", _promise(plan.promise)),
        ("run folder", f"{plan.folder}: {_kept(training.kept_step)}"),
        ("bundle", f"{out}: {'made of the same run, is written anew' if plan.replaces else 'will be written'}"),
    ]
    return "\n".join([*(f"{name:<20} {text}" for name, text in rows), *_short_of_default(plan)])


def _promise(made: Decision) -> str:
    """What the threshold will promise; its value, and so the record's own words, are not known yet."""
    sure = "" if made.confidence is None else f" with {100 * made.confidence:g} % confidence"
    (low, high), unit = made.rate_interval or (0.0, 1.0), "parts" if made.grouped_by else "pictures"
    return (
        f"{100 * (made.requested_rate or 0.0):.4g} %{sure}, by score {made.rank} of {made.parts} good {unit}; from so "
        f"many, the true rate lies between {100 * low:.2f} % and {100 * high:.2f} % (90 % interval)"
    )


def _ending(plan: Plan) -> str:
    training = plan.training
    if training.finished:
        return "done before: nothing is trained, the bundle is made of what was learnt"
    ends = [f"{training.steps} steps"] if training.steps is not None else []
    ends += [terminal.clock(training.time_budget_s)] if training.time_budget_s is not None else []
    first = ", whichever comes first" if len(ends) > 1 else ""
    return f"{' or '.join(ends)}{first}; then int8, threshold and figures, some minutes more"


def _kept(step: int | None) -> str:
    return "new" if step is None else f"holds a checkpoint of this run at step {step}"


def _short_of_default(plan: Plan) -> list[str]:
    """What to say where nobody asked for a rate and the parts do not support the usual one."""
    from edge_sdk.export import build as library

    told = "" if plan.wanted.rate is not None else library.short_of_default(plan.promise, plan.options.holdout)
    return [f"note: {told}"] if told else []


def _told(built: Built) -> dict[str, object]:
    import msgspec

    return {
        "bundle": str(built.path), "decision": msgspec.to_builtins(built.decision),
        "rows": [row.to_json() for row in built.rows], "unjudged": built.unjudged,
        "highest": [one.to_json() for one in built.highest],
    }  # fmt: skip


def _text(built: Built, plan: Plan) -> str:
    from edge_sdk.evidence import look_at
    from edge_sdk.export import table

    told = table.quality(built.rows, "picture")
    lines = [f"by picture: {table.unit_words(built.rows, 'picture')}", terminal.table(told.header, told.rows)]
    if not built.rows:
        lines = [f"quality was not measured: {built.unjudged}"]
    elif built.unjudged:
        lines.append(f"note: {built.unjudged}")
    elif built.group:
        told = table.quality(built.rows, "part")
        lines += ["", f"by part: {table.unit_words(built.rows, 'part')}", terminal.table(told.header, told.rows)]
    size, name = built.path.stat().st_size / 1e6, shlex.quote(str(built.path))
    return "\n".join([
        *lines, *(f"note: {note}" for note in table.notes(built.rows)), "",
        _trained(built, plan),
        f"threshold: a picture is rejected when its score is above {built.decision.threshold:.6g}",
        f"  {built.decision.words}",
        f"  {look_at(built.highest)}",
        *_short_of_default(plan),
        *(f"warning: {w}" for w in built.decision.warnings),
        "",
        f"wrote {built.path} ({size:.1f} MB). Next:",
        f"  edge-sdk verify {name}",
        f"  edge-sdk predict {name} FOLDER_OF_NEW_PHOTOS --overlays OUT_FOLDER",
    ])  # fmt: skip


def _trained(built: Built, plan: Plan) -> str:
    done, training = built.trained, plan.training
    text = f"{done.steps} steps in {terminal.clock(done.training_s)} on {done.pictures} good pictures"
    if training.finished:
        return f"trained before: {text}; nothing was trained by this command"
    text = f"trained: {text}"
    if training.steps is not None and done.steps < training.steps:
        return f"{text}; the time budget ended it before the {training.steps} steps"
    return text


COMMANDS = (train,)
