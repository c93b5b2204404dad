"""Pictures drawn into a folder, batch by batch: a PNG file each, in a subfolder for each class, and a manifest.

What is written is whole at any moment: a full disk or a kill leaves pictures that are complete, and the same call goes
on behind them. The manifest says how the pictures were made, and lists them once all are there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_sdk import atomic
from edge_sdk.errors import BadUsage
from edge_sdk.progress import Progress, silent
from edge_sdk.shown import shown
from edge_sdk.tasks.generation.asked import Asked, Label
from edge_sdk.tasks.generation.generator import BATCH_ROWS, Generator
from edge_sdk.tasks.generation.result import Drawn, npy, png

MANIFEST = "manifest.json"
SCHEMA = "edge-sdk.generated/1"
VALUES_SUFFIX = ".npy"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+-]{0,79}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """folder: where the pictures are. count: how many. already: of them, those that an earlier call had written."""

    folder: Path
    count: int
    already: int


def draw_into(
    folder: Path, generator: Generator, n: int, *, seed: int = 0, labels: Label | Sequence[Label] | None = None,
    first: int = 0, values: bool = False, overwrite: bool = False, progress: Progress = silent,
) -> Written:  # fmt: skip
    """Draw pictures `first` to `first + n - 1` of `seed` into `folder`, as `Generator.generate` does. values: also what
    each was rounded from, as a .npy file beside it.

    A folder that holds a part of the same pictures is completed. Raises BadUsage for one that holds anything else,
    unless `overwrite`, and for values that the bundle does not keep; BadInput, CantWrite (full disk, no permission),
    after which nothing is half written.
    """
    require_values(generator, wanted=values)
    asked = generator.asked(n, seed=seed, labels=labels, first=first)
    places = [_place(one, generator.labels) for one in asked]
    made = _made(generator, asked, values=values)
    atomic.folder(folder)
    there = _there(folder, places, made, values=values, overwrite=overwrite)
    atomic.write(folder / MANIFEST, _text({**made, "complete": False}))
    for name in sorted({place.parent for place in places} - {Path()}):
        atomic.folder(folder / name)
    listed: list[dict[str, Any]] = []
    for at in range(0, n, BATCH_ROWS):
        rows = range(at, min(at + BATCH_ROWS, n))
        wanted = [row for row in rows if places[row] not in there]
        drawn = dict(zip(wanted, generator.draw([asked[row] for row in wanted]), strict=True)) if wanted else {}
        for row in rows:
            if row in drawn:
                for place, data in _files(drawn[row], places[row], values=values).items():
                    atomic.write(folder / place, data)
            names = _names(places[row], values=values)
            digests = {place: hashlib.sha256((folder / place).read_bytes()).hexdigest() for place in names}
            listed.append(_entry(asked[row], generator.labels, digests))
        progress(rows.stop, n, "drawing")
    atomic.write(folder / MANIFEST, _text({**made, "complete": True, "pictures": listed}))
    return Written(folder=folder, count=n, already=len(there))


def require_values(generator: Generator, *, wanted: bool) -> None:
    """Raises BadUsage for values that the bundle does not keep."""
    if wanted and not generator.has_values:
        raise BadUsage(
            "this bundle keeps no values beside its pictures", where=shown(generator.bundle.path),
            hint="Export the graph again with --values",
        )  # fmt: skip


def _names(place: Path, *, values: bool) -> tuple[Path, ...]:
    """The files of one picture; the picture comes last, so that one that is there is complete."""
    return (place.with_suffix(VALUES_SUFFIX), place) if values else (place,)


def _files(drawn: Drawn, place: Path, *, values: bool) -> dict[Path, bytes]:
    """What they hold."""
    parts = (npy(drawn.values),) if values and drawn.values is not None else ()
    return dict(zip(_names(place, values=values), (*parts, png(drawn.pixels)), strict=True))


def _made(generator: Generator, asked: Sequence[Asked], *, values: bool) -> dict[str, Any]:
    """What tells these pictures from others."""
    height, width, channels = generator.shape
    labels = [one.label for one in asked]
    digest = hashlib.sha256(json.dumps(labels).encode()).hexdigest()[:16]
    ran = {role: f"{e.runtime} {e.version}, {e.device}" for role, e in generator.explanations.items()}
    return {
        "schema": SCHEMA, "bundle": generator.bundle.digest, "variant": generator.variant, "ran": ran,
        "seed": asked[0].seed, "first": asked[0].index, "count": len(asked), "labels": digest, "width": width,
        "height": height, "channels": channels, **({"values": "float32"} if values else {}),
    }  # fmt: skip


def _there(folder: Path, places: Sequence[Path], made: dict[str, Any], *, values: bool, overwrite: bool) -> set[Path]:
    """The pictures that an earlier call of the same kind has written. Raises BadUsage for another folder's contents."""
    kept = folder / MANIFEST
    if kept.is_file() and not overwrite:
        try:
            found = json.loads(kept.read_text("utf-8"))
        except ValueError:
            found = None
        same = isinstance(found, dict) and {name: found.get(name) for name in made} == made
        if same and ("values" in found) == values:
            names = {place: _names(place, values=values) for place in places}
            return {place for place, files in names.items() if all((folder / one).is_file() for one in files)}
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


def _entry(asked: Asked, labels: Sequence[str], digests: Mapping[Path, str]) -> dict[str, Any]:
    """digests: sha256 of each file of the picture; the picture comes last."""
    label = {} if asked.label is None else {"label": labels[asked.label]}
    *values, (place, digest) = digests.items()
    beside = {"values": values[0][0].as_posix(), "values_sha256": values[0][1]} if values else {}
    return {"file": place.as_posix(), "index": asked.index, **label, "sha256": digest, **beside}


def _text(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, indent=1) + "\n"
