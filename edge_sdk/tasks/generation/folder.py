"""Pictures drawn into a folder, batch by batch: a PNG file each, in a subfolder for each class, and a manifest.

What is written is whole at any moment: a full disk or a kill leaves pictures that are complete, and the same call goes
on behind them. The manifest says how the pictures were made, and lists them once all are there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_sdk import atomic
from edge_sdk.errors import BadUsage
from edge_sdk.progress import Progress, silent
from edge_sdk.shown import shown
from edge_sdk.tasks.generation.asked import Asked, Label
from edge_sdk.tasks.generation.generator import BATCH_ROWS, Generator
from edge_sdk.tasks.generation.result import png

MANIFEST = "manifest.json"
SCHEMA = "edge-sdk.generated/1"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+-]{0,79}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """folder: where the pictures are. count: how many. already: of them, those that an earlier call had written."""

    folder: Path
    count: int
    already: int


def draw_into(
    folder: Path, generator: Generator, n: int, *, seed: int = 0, labels: Label | Sequence[Label] | None = None,
    first: int = 0, overwrite: bool = False, progress: Progress = silent,
) -> Written:  # fmt: skip
    """Draw pictures `first` to `first + n - 1` of `seed` into `folder`, as `Generator.generate` does.

    A folder that holds a part of the same pictures is completed. Raises BadUsage for one that holds anything else,
    unless `overwrite`; BadInput, CantWrite (full disk, no permission), after which nothing is half written.
    """
    asked = generator.asked(n, seed=seed, labels=labels, first=first)
    places = [_place(one, generator.labels) for one in asked]
    made = _made(generator, asked)
    atomic.folder(folder)
    there = _there(folder, places, made, overwrite=overwrite)
    atomic.write(folder / MANIFEST, _text({**made, "complete": False}))
    for name in sorted({place.parent for place in places} - {Path()}):
        atomic.folder(folder / name)
    listed: list[dict[str, Any]] = []
    for at in range(0, n, BATCH_ROWS):
        rows = range(at, min(at + BATCH_ROWS, n))
        wanted = [row for row in rows if places[row] not in there]
        drawn = dict(zip(wanted, generator.draw([asked[row] for row in wanted]), strict=True)) if wanted else {}
        for row in rows:
            place = folder / places[row]
            data = png(drawn[row].pixels) if row in drawn else place.read_bytes()
            if row in drawn:
                atomic.write(place, data)
            listed.append(_entry(asked[row], places[row], generator.labels, data))
        progress(rows.stop, n, "drawing")
    atomic.write(folder / MANIFEST, _text({**made, "complete": True, "pictures": listed}))
    return Written(folder=folder, count=n, already=len(there))


def _made(generator: Generator, asked: Sequence[Asked]) -> dict[str, Any]:
    """What tells these pictures from others."""
    height, width, channels = generator.shape
    labels = [one.label for one in asked]
    digest = hashlib.sha256(json.dumps(labels).encode()).hexdigest()[:16]
    ran = {role: f"{e.runtime} {e.version}, {e.device}" for role, e in generator.explanations.items()}
    return {
        "schema": SCHEMA, "bundle": generator.bundle.digest, "variant": generator.variant, "ran": ran,
        "seed": asked[0].seed, "first": asked[0].index, "count": len(asked), "labels": digest, "width": width,
        "height": height, "channels": channels,
    }  # fmt: skip


def _there(folder: Path, places: Sequence[Path], made: dict[str, Any], *, overwrite: bool) -> set[Path]:
    """The pictures that an earlier call of the same kind has written. Raises BadUsage for another folder's contents."""
    kept = folder / MANIFEST
    if kept.is_file() and not overwrite:
        try:
            found = json.loads(kept.read_text("utf-8"))
        except ValueError:
            found = None
        if isinstance(found, dict) and {name: found.get(name) for name in made} == made:
            return {place for place in places if (folder / place).is_file()}
    others = [one.name for one in folder.iterdir() if not one.name.startswith(".")]
    if others and not overwrite:
        raise BadUsage(
            f"the folder holds other files, the first is {shown(sorted(others)[0])}", where=f"--out {shown(folder)}",
            hint="Name another folder, or give --overwrite",
        )  # fmt: skip
    return set()


def _place(asked: Asked, labels: Sequence[str]) -> Path:
    name = Path(f"{asked.index:06d}.png")
    return name if asked.label is None else Path(class_folder(labels, asked.label)) / name


def class_folder(labels: Sequence[str], label: int) -> str:
    """The subfolder of a class: its name where that is plain, and no other class's in other capitals."""
    name = labels[label]
    alone = sum(one.lower() == name.lower() for one in labels) == 1
    return name if alone and _PLAIN.fullmatch(name) and not name.endswith((".", " ")) else f"class-{label}"


def _entry(asked: Asked, place: Path, labels: Sequence[str], data: bytes) -> dict[str, Any]:
    label = {} if asked.label is None else {"label": labels[asked.label]}
    return {"file": place.as_posix(), "index": asked.index, **label, "sha256": hashlib.sha256(data).hexdigest()}


def _text(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, indent=1) + "\n"
