"""COCO instances: one JSON file as pictures with their segments, every form checked. Opens no picture."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from edge_sdk import plain_file
from edge_sdk.errors import BadInput
from edge_sdk.export.tasks.segmentation.annotations import Segment, size_problem
from edge_sdk.shown import shortened, shown
from edge_sdk.tasks.segmentation import rle

MOST_COORDINATE = 1e6
"""px, from the corner of the picture: beyond it, differences of coordinates lose the fractions that decide a pixel."""
FORM = 'It has "images" (id, file_name, height, width) and "annotations" (image_id, segmentation)'
_SEGMENTS = "Write polygons, [[x0, y0, x1, y1, ...], ...] in px, or a run-length encoding with size and counts"
_POLYGON = "A polygon is [x0, y0, x1, y1, ...], x and y of 3 points or more, in px of the picture"

Id: TypeAlias = int | str
"""Of an image: files have numbers, some have names."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CocoPicture:
    """One of the images that a file lists. name: file_name, as the file states it. height, width: px, as the file
    states them. segments: of its annotations, without crowds. content: hex digest of what is marked. where: of errors.
    """

    name: str
    height: int
    width: int
    segments: tuple[Segment, ...]
    content: str
    where: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CocoFile:
    """crowds: annotations that are left out as such (iscrowd). strays: annotations of images that the file does not
    list."""

    pictures: tuple[CocoPicture, ...]
    crowds: int
    strays: int


def read(file: Path) -> CocoFile:
    """The instances of one file, the images in its order. Raises BadInput for whatever can't be trained on, with the
    image or annotation and what to write instead."""
    where = shown(file)
    data = plain_file.read(file, what="COCO instances")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as exc:  # of bytes that are no text, too; and of a thousand brackets
        raise BadInput(f"this is not JSON: {shown(exc)}", where=where, hint=FORM) from exc
    if not isinstance(found, dict):
        raise BadInput(f"this is not COCO: its top level is {_said(found)}, not an object", where=where, hint=FORM)
    images = _images(_entries(found, "images", where), where)
    marked: dict[Id, list[Any]] = defaultdict(list)
    segments: dict[Id, list[Segment]] = defaultdict(list)
    crowds = strays = 0
    for place, one in enumerate(_entries(found, "annotations", where)):
        at = f"{where}: annotation {_named(one, place)}"
        if _crowd(one, at):
            crowds += 1
            continue
        image = images.get(_id(one, "image_id", at))
        if image is None:
            strays += 1
            continue
        id_, _, height, width = image
        given = one.get("segmentation")
        segments[id_].append(_segment(given, height, width, at))
        marked[id_].append(given)
    pictures = tuple(
        CocoPicture(
            name=name, height=height, width=width, segments=tuple(segments[id_]),
            content=hashlib.sha256(json.dumps(marked[id_], sort_keys=True).encode()).hexdigest(),
            where=f"{where}: image {shortened(id_)}",
        )
        for id_, name, height, width in images.values()
    )  # fmt: skip
    return CocoFile(pictures=pictures, crowds=crowds, strays=strays)


def _entries(found: Mapping[str, Any], key: str, where: str) -> list[Mapping[str, Any]]:
    """The list of objects that stands at `key`."""
    if not isinstance(entries := found.get(key), list):
        state = f"{_said(entries)}, not a list" if key in found else "missing"
        raise BadInput(f'this is not COCO: "{key}" is {state}', where=where, hint=FORM)
    for place, one in enumerate(entries):
        if not isinstance(one, dict):
            raise BadInput(f'entry {place} of "{key}" is {_said(one)}, not an object', where=where, hint=FORM)
    return entries


def _images(entries: list[Mapping[str, Any]], where: str) -> dict[Id, tuple[Id, str, int, int]]:
    """(id, file_name, height, width) of each image, by its id."""
    out: dict[Id, tuple[Id, str, int, int]] = {}
    for place, one in enumerate(entries):
        at = f"{where}: image {_named(one, place)}"
        id_ = _id(one, "id", at)
        if id_ in out:
            raise BadInput("two images have this id", where=at, hint="Give each image an id of its own")
        name = one.get("file_name")
        if not isinstance(name, str) or not name:
            raise BadInput(
                f"its file_name is {_state(one, 'file_name')}", where=at,
                hint="Write the picture's file name as text, such as a.jpg",
            )  # fmt: skip
        out[id_] = (id_, name, _side(one, "height", at), _side(one, "width", at))
    return out


def _id(one: Mapping[str, Any], key: str, at: str) -> Id:
    value = one.get(key)
    id_ = value if isinstance(value, str) else _whole(value)
    if id_ is None:
        raise BadInput(f"its {key} is {_state(one, key)}", where=at, hint="Write a whole number or a text")
    return id_


def _side(one: Mapping[str, Any], key: str, at: str) -> int:
    side = _whole(one.get(key))
    if side is None or side < 1:
        raise BadInput(f"its {key} is {_state(one, key)}", where=at, hint="Write px of the picture, a whole number")
    return side


def _crowd(one: Mapping[str, Any], at: str) -> bool:
    value = one.get("iscrowd")
    if value is None or (isinstance(value, (bool, int, float)) and value in (0, 1)):
        return bool(value)
    raise BadInput(f"its iscrowd is {_said(value)}", where=at, hint="Write 0 for one object, 1 for a crowd")


def _segment(given: Any, height: int, width: int, at: str) -> Segment:
    """Runs or polygons of a picture of this size."""
    if isinstance(given, dict):
        try:
            runs = rle.read(given)
        except BadInput as exc:
            raise BadInput(str(exc.args[0]), where=at, hint=exc.hint) from exc
        if (runs.height, runs.width) != (height, width):
            raise size_problem(at, (runs.height, runs.width), "the picture", (height, width))
        return runs
    if given is None:
        raise BadInput("it has no segmentation", where=at, hint=f"{_SEGMENTS}: a box alone marks no pixels")
    if not isinstance(given, list) or not given:
        raise BadInput(f"its segmentation is {_said(given)}", where=at, hint=_SEGMENTS)
    for place, flat in enumerate(given):
        if problem := _polygon_problem(flat, height, width):
            raise BadInput(f"polygon {place} of its segmentation {problem}", where=at, hint=_POLYGON)
    return tuple(given)


def _polygon_problem(flat: Any, height: int, width: int) -> str:
    """What is wrong with one polygon, as the end of a sentence; "" if nothing."""
    if not isinstance(flat, list):
        return f"is {_said(flat)}, not a list of numbers"
    if other := [one for one in flat if type(one) not in (int, float)]:  # true and false are none
        return f"holds {_said(other[0])}, which is not a number"
    if len(flat) < 6 or len(flat) % 2:
        return f"has {len(flat)} numbers"
    if far := [one for one in flat if not abs(one) <= MOST_COORDINATE]:  # NaN is in no range
        return f"holds the coordinate {_said(far[0])}"
    xs, ys = flat[::2], flat[1::2]
    if min(xs) > width or max(xs) < 0 or min(ys) > height or max(ys) < 0:
        extent = f"x from {min(xs):g} to {max(xs):g}, y from {min(ys):g} to {max(ys):g}"
        return f"lies outside the picture of {width} x {height} px: {extent}"
    return ""


def _whole(value: Any) -> int | None:
    """A whole number, also one that is written 7.0; None for anything else, true and false among it."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _named(one: Mapping[str, Any], place: int) -> str:
    """An entry for people: its id, or its place in the list where it has none."""
    id_ = one.get("id")
    return shortened(id_) if type(id_) in (int, str) and id_ != "" else f"at place {place}, without an id"


def _state(one: Mapping[str, Any], key: str) -> str:
    return _said(one[key]) if key in one else "missing"


def _said(value: Any) -> str:
    """A value of JSON in a sentence."""
    if isinstance(value, (dict, list)):
        kind = "object" if isinstance(value, dict) else "list"
        return f"{'an' if kind == 'object' else 'a'} {kind}" if value else f"an empty {kind}"
    return shown(f"{json.dumps(value, ensure_ascii=False):.40}")
