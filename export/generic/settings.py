"""Which task a model of the user's becomes a bundle of, and that task's settings. Knows no graph and no task's meaning.

A task is resolved by name through the registry of tasks; what a user may state of it are fields of its settings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from edge_sdk import plain_file, tasks
from edge_sdk.counted import listed
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.shown import shown

TENSOR = "tensor"
"""The task of a model of which nothing is stated."""
MAX_LABELS, MAX_LABEL, MAX_FILE_BYTES = 100_000, 200, 2**24
OPTIONS = {"labels": "--labels", "scores": "--scores"}
"""The options that state a field of settings, by field; all others are stated by SETTING."""
SETTING = "--setting"


def settings_of(task: str, fields: Mapping[str, Any]) -> msgspec.Struct:
    """The settings of a task from plain values by field, or their text as a command line gives it: `top` may be "3".

    Raises BadUsage: no such task, a field that its settings don't have, one that it needs and nobody stated, a value
    that a field can't have.
    """
    if task not in tasks.names():
        names = ", ".join(tasks.names())
        raise BadUsage(f"there is no task {shown(task)[:80]}", where="--task", hint=f"One of {names}")
    kind, known = tasks.task(task).settings, fields_of(task)
    for name in fields:
        if name not in known:
            option = OPTIONS.get(name, SETTING)
            others = f"; its settings are {', '.join(known)}" if known and option == SETTING else ""
            raise BadUsage(
                f"the task {task} has no {shown(name)[:80]}{others}", where=option,
                hint=other_task(option, name, fields_of),
            )  # fmt: skip
    missing = [name for name, field in known.items() if field.required and name not in fields]
    if missing:
        options = listed((OPTIONS.get(name, f"{SETTING} {name}=...") for name in missing), "and")
        hint = f"Give {options}, or name another --task"
        raise BadUsage(f"the task {task} needs {listed(missing, 'and')}", where="--task", hint=hint)
    values = {name: _value(value, known[name].type) for name, value in fields.items()}
    try:
        made: msgspec.Struct = msgspec.convert(values, kind)
    except msgspec.ValidationError as exc:
        raise _unfit(kind, fields) or BadUsage(
            f"the settings of the task {task} can't be: {exc}", where="--task"
        ) from exc
    return made


def _value(value: Any, kind: Any) -> Any:
    """A value of a field of this type: of text the text itself or the number it is, else what it is as JSON."""
    if not isinstance(value, str):
        return value
    with suppress(msgspec.ValidationError):
        return msgspec.convert(value, kind, strict=False)
    with suppress(msgspec.DecodeError, RecursionError):
        return msgspec.json.decode(value, type=kind)
    return value  # `settings_of` says what is wrong with it


def _unfit(kind: type[msgspec.Struct], fields: Mapping[str, Any]) -> BadUsage | None:
    """An error that names the option whose value is none of the field's choices; None where that is not the fault."""
    for name, hint in get_type_hints(kind).items():
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        if name in fields and choices and fields[name] not in choices:
            return BadUsage(f"{OPTIONS.get(name, name)} {shown(fields[name])[:80]}: {' or '.join(map(str, choices))}")
    return None


def other_task(what: str, name: str, options: Callable[[str], Container[str]]) -> str:
    """The hint to leave `what` out, and before it the product's own tasks that take it, if there are any.

    name: of the option or setting; options: those of a task, by its name.
    """
    found = listed((task for task in tasks.OWN if name in options(task)), "or")
    return f"Add --task {found}, or leave {what} out" if found else f"Leave {what} out"


def fields_of(task: str) -> dict[str, msgspec.structs.FieldInfo]:
    """The fields of a task's settings, by name."""
    return {field.name: field for field in msgspec.structs.fields(tasks.task(task).settings)}


def labels_of(path: Path) -> tuple[str, ...]:
    """The labels of a file, in the order of the classes: one a line, or a JSON list of text. Raises BadInput."""
    data = plain_file.read(path, what="a file of labels")
    where, hint = shown(path), "Write one label a line, in the order of the classes, or a JSON list"
    if len(data) > MAX_FILE_BYTES:
        raise BadInput(f"it has {len(data):,} bytes, at most {MAX_FILE_BYTES:,} are read", where=where, hint=hint)
    try:
        text = data.decode("utf-8-sig")
        found = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
    except (UnicodeDecodeError, ValueError, RecursionError) as exc:
        raise BadInput(f"these are no labels: {exc}", where=where, hint=hint) from exc
    if problem := problem_with_labels(found):
        raise BadInput(problem, where=where, hint=hint)
    return tuple(one.strip() for one in found)


def problem_with_labels(labels: Sequence[Any]) -> str:
    """What is wrong with labels, "" = nothing."""
    if not 1 <= len(labels) <= MAX_LABELS:
        return f"it holds {len(labels):,} labels, 1 to {MAX_LABELS:,} are read"
    for number, label in enumerate(labels):
        if not isinstance(label, str) or not 1 <= len(label.strip()) <= MAX_LABEL or shown(label) != label:
            return f"label {number} is not plain text of 1 to {MAX_LABEL} characters: {shown(label)[:40]!r}"
    return ""
