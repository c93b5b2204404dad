"""The verb `predict`: run a bundle on the inputs of its task."""

from __future__ import annotations

import json as jsonlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import (
    Bundle,
    Device,
    JsonLines,
    Keys,
    Runtime,
    Threads,
    Trust,
    Variant,
    named,
    policy,
    variants,
)
from edge_sdk.counted import counted, listed
from edge_sdk.errors import BadInput, BadUsage, EdgeError
from edge_sdk.shown import shortened, shown, url_of

if TYPE_CHECKING:
    from edge_sdk.tasks.base import Given, Task


def predict(
    bundle: Bundle,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="What the bundle's task takes, such as picture files or .npz files of arrays, and folders of them.",
            show_default=False,
        ),
    ],
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt", metavar="NAME=VALUE",
            help="What the bundle's task takes beside the inputs, for all of them, such as point=100,50 or "
            "box=20,30,90,80 on a picture; may be repeated. edge-sdk inspect lists the names.",
        ),
    ] = None,
    runtime: Runtime = None, variant: Variant = None, device: Device = None, threads: Threads = None,
    json: JsonLines = False, trust: Trust = "if-present", keys: Keys = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for the result files, one per input, in subfolders as the inputs have them. The bundle's task "
            "decides what a file shows or holds, and its suffix.",
        ),
    ] = None,
    save: Annotated[
        list[str] | None,
        typer.Option(
            "--save", metavar="NAME",
            help="Which files to write to --out, by the names of the bundle's task, such as plot or json; may be "
            "repeated. edge-sdk inspect lists them; the first is the default.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of these names in --out.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Also show what runs and why, on stderr.")] = False,
) -> None:  # fmt: skip
    """Print one result per input. Unreadable inputs are listed, and the exit code is then 3.

    Example: edge-sdk predict line3.edge photos/ --out results/
    """
    from edge_sdk import atomic
    from edge_sdk.bundle import store
    from edge_sdk.cli.inputs import note_left_out
    from edge_sdk.loading import checked_task, load
    from edge_sdk.tasks.base import task_code

    inputs = named(inputs, "an input")
    if out is not None:
        atomic.folder(out)
    failed, places = 0, dict[int, list[Path]]()
    trusted = policy(trust, keys)
    # What is wrong with the command is said before anything is compiled, which takes seconds.
    with store.Bundle.open(bundle, trust=trusted, lazy=True) as opened:
        task = checked_task(opened)
        prompts, suffixes = _prompts(prompt or (), task), _suffixes(save or (), task, out)
        with task_code(task, "given", where=str(bundle)):
            given = _once(task.given(inputs, opened))
            if prompts:
                given = [task.prompted(one, prompts) for one in given]
    note_left_out(task, inputs, where=str(bundle))
    if out is not None:
        _check_folders(given, out)
    with load(
        bundle, runtime=runtime, variant=variants(variant), device=device, threads=threads, trust=trusted
    ) as predictor:
        if explain:
            terminal.note(predictor.explain())
        for one in given:
            try:
                with task_code(task, "predict", where=shown(one.name)):
                    result = task.answer(predictor, one.source)
            except BadInput as exc:
                failed += 1
                _refused(exc, one.name, json)
                continue
            if out is not None and not places:  # the first result tells how the files will be called
                places = _places(given, out, suffixes or [result.suffix], overwrite=overwrite)
            # Before saving: a full disk hides no result.
            with task_code(task, "its result", where=shown(one.name)):
                text = result.to_json() if json else result.line()
            if json:
                terminal.out_json(text)
            else:
                terminal.out(text)
            if out is not None:
                for place in places[id(one)]:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    with task_code(task, "saving its result", where=shown(place)):
                        result.save(place)
    if failed:
        terminal.note(f"{failed} of {counted(len(given), 'input')} gave no result")
    raise typer.Exit(3 if failed else 0)


def _prompts(words: Iterable[str], task: Task) -> list[tuple[str, str]]:
    """(name, value) of each --prompt. Raises BadUsage for a name that the task does not know."""
    pairs = []
    for word in words:
        name, sign, value = word.partition("=")
        if name not in task.prompts:
            known = "; ".join(f"{one}={kind.form} ({kind.about})" for one, kind in task.prompts.items())
            raise BadUsage(
                f"the task {task.name} has no prompt {shown(name)}", where="--prompt",
                hint=f"Prompts are: {known}" if known else "Leave it out",
            )  # fmt: skip
        if not (sign and value):
            form = task.prompts[name]
            raise BadUsage(
                f"the prompt {shown(name)} has no value", where="--prompt",
                hint=f"Write {name}={form.form}, such as {name}={form.example}",
            )  # fmt: skip
        pairs.append((name, value))
    return pairs


def _suffixes(names: Iterable[str], task: Task, out: Path | None) -> list[str]:
    """The suffix of each --save; [] = none was given. Raises BadUsage for a name that the task does not know."""
    found = []
    for name in dict.fromkeys(names):
        if name not in task.files:
            raise BadUsage(
                f"the task {task.name} saves no file called {shown(name)}", where="--save",
                hint=f"Give {listed(task.files)}" if task.files else "Leave it out",
            )  # fmt: skip
        found.append(task.files[name])
    if found and out is None:
        raise BadUsage("--save says what is written to --out, which is not given", hint="Name a folder with --out")
    return found


def _check_folders(given: Iterable[Given], out: Path) -> None:
    """Raise BadUsage, before anything is run, if something that is no folder stands where results need a subfolder."""
    for folder in sorted({out / parent for one in given for parent in one.place.parents}):
        if os.path.lexists(folder) and not os.path.isdir(folder):  # a link that leads nowhere is in the way, too
            raise BadUsage(
                f"results need the folder {shown(folder)}, which is there and is not a folder",
                where=f"--out {shown(out)}", hint="Name another folder",
            )  # fmt: skip


def _places(given: Iterable[Given], out: Path, suffixes: Sequence[str], *, overwrite: bool) -> dict[int, list[Path]]:
    """Where the result of each input goes, by the input's id; a file for each of `suffixes`.

    Raises BadUsage before anything is printed or written, if a result would replace an input or a folder, or would
    stand where others need a folder, or, without `overwrite`, would replace any other file.
    """
    given = list(given)
    by_input = {id(one): [out / one.place.with_name(one.place.name + end) for end in suffixes] for one in given}
    places = [place for of_one in by_input.values() for place in of_one]
    if len(set(places)) < len(places):
        twice = next(place for place in places if places.count(place) > 1)
        raise BadUsage(
            f"two results would be written to {shown(twice)}", where=f"--out {shown(out)}",
            hint="Give the inputs in several calls",
        )  # fmt: skip
    inputs = {os.path.realpath(one.comes_from) for one in given if one.comes_from is not None}
    if lost := [place for place in places if os.path.realpath(place) in inputs]:
        raise BadUsage(
            f"the result of an input would replace the input {shown(lost[0])}", where=f"--out {shown(out)}",
            hint="Name another folder",
        )  # fmt: skip
    folders = {parent for place in places for parent in place.parents}  # a.jpg beside a.png/b.jpg: both a.png
    if blocked := [place for place in places if place in folders or place.is_dir()]:
        raise BadUsage(
            f"the result of an input would stand at {shown(blocked[0])}, where a folder is, or is needed",
            where=f"--out {shown(out)}", hint="Name another folder, or give the inputs in several calls",
        )  # fmt: skip
    there = [place for place in places if place.exists()]
    if there and not overwrite:
        raise BadUsage(
            f"{counted(len(there), 'file')} would be replaced, the first is {shown(there[0])}",
            where=f"--out {shown(out)}", hint="Name another folder, or give --overwrite",
        )  # fmt: skip
    return by_input


def _once(given: Iterable[Given]) -> list[Given]:
    """Each file once, under the name that it was found by first; the others are named on stderr."""
    first: dict[object, Given] = {}
    for one in given:
        # A folder and a link inside it lead to the same files. Only the real path tells that.
        file = one.comes_from
        seen = first.setdefault(id(one) if file is None else os.path.realpath(file), one)
        if seen is not one:
            again = "named twice" if one.name == seen.name else f"the same file as {shown(seen.name)}"
            terminal.note(f"{shown(one.name)}: left out, {again}")
    return list(first.values())


def _refused(exc: EdgeError, name: str, as_json: bool) -> None:
    written = url_of(name) or name
    if not any(one in exc.where for one in (shown(written), shortened(written))):  # a runtime names its graph, no file
        where = ", ".join(filter(None, (shown(name), exc.where)))
        exc = type(exc)(str(exc.args[0]), where=where, hint=exc.hint)
    if as_json:
        terminal.out_json(jsonlib.dumps({"source": name, "error": str(exc)}, ensure_ascii=False))
    terminal.error(exc)


COMMANDS = (predict,)
