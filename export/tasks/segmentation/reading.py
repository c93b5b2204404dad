"""Reads annotated pictures: a folder with label maps, or COCO instances. Decodes no picture; knows no family.

Layouts, by what is in the folder:
  images/{train,val,test} with labels/... or segmentation/...: for the picture STEM.jpg the label map STEM.png, or one
  of each of several annotators, STEM_1.png, STEM_2.png.
  annotations/*.json, or *.json: COCO instances; the split is the one of train, val, test that the name holds. Pictures
  are looked for in images/SPLIT, SPLIT*, images and beside.
Pictures of `val` are trained on if there are test pictures, else they are the test pictures.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_sdk import encoded, plain_file, preprocess
from edge_sdk.counted import counted
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.tasks.segmentation import coco
from edge_sdk.export.tasks.segmentation.annotations import (
    AnnotatedPicture,
    Annotator,
    CocoSegments,
    LabelMap,
    SegmentationData,
    check_labels,
    size_problem,
)
from edge_sdk.export.tasks.segmentation.options import SegmentationOptions, pattern_of
from edge_sdk.folders import pictures_in
from edge_sdk.grouping import Grouping
from edge_sdk.progress import Progress, silent
from edge_sdk.shown import not_a_folder, shortened, shown

SPLITS = ("train", "val", "test")
LABEL_FOLDERS = ("labels", "segmentation")
LAYOUTS = (
    "Understood: images/train and labels/train with a PNG label map for each picture, or COCO instances in annotations/"
)
_MOST_NAMED = 5
_QUARTER_TURN = re.compile(
    rb"\x12\x01\x03\x00\x01\x00\x00\x00[\x05-\x08]|\x01\x12\x00\x03\x00\x00\x00\x01\x00[\x05-\x08]"
)
"""EXIF's entry for an orientation that swaps the sides, in either byte order. Other bytes may look like it: it says
which pictures to decode, since decoding each takes long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One picture before its file is read. labels: label maps. coco: instances of COCO."""

    path: Path
    labels: tuple[Path, ...] = ()
    coco: CocoSegments | None = None


def read_data(folder: Path, options: SegmentationOptions, *, progress: Progress = silent) -> SegmentationData:
    """The annotated pictures of `folder`, in a fixed order; every file is read once, for its digest and size.

    Pictures that can't be read are left out and noted; annotations of another size than their picture are refused, both
    named. There may be no pictures to train on: whoever trains asks `training_problem`. Raises BadInput (no such
    folder, no pictures at all), BadUsage (a pattern that does not fit).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise not_a_folder(folder, LAYOUTS)
    notes: list[str] = []
    splits = _label_maps(folder, notes) if (folder / "images").is_dir() and _labels_of(folder) else _coco(folder, notes)
    if not any(splits.values()):
        raise BadInput("; ".join(("there are no annotated pictures in it", *notes)), where=shown(folder), hint=LAYOUTS)
    part_of, kind_of = Grouping(folder, options.group), _Kinds(folder, options.kind)
    total, done = sum(map(len, splits.values())), 0
    read: dict[str, list[AnnotatedPicture]] = {split: [] for split in SPLITS}
    for split, found in splits.items():
        for one in found:
            progress(done, total, "reading annotated pictures")
            done += 1
            try:
                content, maps = _checked(one)
            except _Unreadable as exc:
                notes.append(f"left out: {shown(one.path.relative_to(folder))}: {exc}")
                continue
            annotators: tuple[Annotator, ...] = (one.coco,) if one.coco is not None else maps
            read[split].append(
                AnnotatedPicture(
                    path=one.path, part=part_of(one.path), kind=kind_of(one.path), content=content,
                    annotators=annotators,
                )
            )  # fmt: skip
    data = _divided(read, group=options.group or "", notes=notes)
    if not data.train and not data.test:
        raise BadInput("; ".join(("none of its annotated pictures can be read", *notes)), where=shown(folder))
    return data


def training_problem(data: SegmentationData) -> BadInput | None:
    """The error for data that a training can't use; None if it can. Decodes label maps up to the first segment. Raises
    BadInput for a label map that can't be decoded."""
    if any(one.any() for picture in data.train for one in picture.annotators):
        return None
    if data.train:
        return BadInput(
            f"no segment is marked on {counted(len(data.train), 'training picture')}: every label map is 0 everywhere",
            where=shown(data.train[0].path.parent),
            hint="Give each segment a number from 1 on, as grey value; 0 is what is not marked",
        )
    what = "; ".join(("there is no picture to train on", *data.notes))
    return BadInput(what, where=shown(data.test[0].path.parent), hint=LAYOUTS)


def _divided(read: Mapping[str, Sequence[AnnotatedPicture]], *, group: str, notes: list[str]) -> SegmentationData:
    """By purpose. A copy of a training picture is no test picture."""
    train, test = list(read["train"]), list(read["test"])
    if test:
        train += read["val"]
    else:
        test = list(read["val"])
    seen = {one.content for one in train}
    parts = {one.part for one in train} if group else set()
    kept = [one for one in test if one.content not in seen and one.part not in parts]
    if len(kept) < len(test):
        copies = counted(len(test) - len(kept), "test picture")
        notes.append(f"left out: {copies} that the training has, too, or that show a part that it has")
    return SegmentationData(train=tuple(train), test=tuple(kept), group=group, notes=tuple(notes))


class _Unreadable(Exception):
    """A picture file that is left out."""


def _checked(one: _Found) -> tuple[str, tuple[LabelMap, ...]]:
    """sha256 of the picture file, and its label maps. Raises BadInput for sizes that differ."""
    try:
        data = plain_file.read(one.path, what="a picture")
        width, height = encoded.size(data, where=shown(one.path))
    except BadInput as exc:
        raise _Unreadable(str(exc.args[0])) from exc
    maps = []
    for path in one.labels:
        labels = plain_file.read(path, what="a label map")
        _check_size(data, one.path, (height, width), path, encoded.size(labels, where=shown(path))[::-1])
        check_labels(labels, where=shown(path))
        maps.append(LabelMap(path=path, content=hashlib.sha256(labels).hexdigest()))
    if one.coco is not None:
        _check_size(data, one.path, (height, width), one.coco.where, (one.coco.height, one.coco.width))
    return hashlib.sha256(data).hexdigest(), tuple(maps)


def _check_size(data: bytes, path: Path, size: tuple[int, int], marked: Path | str, wanted: tuple[int, int]) -> None:
    """size: as the file's header says; a camera's note on its orientation may swap them."""
    if size != wanted[::-1] and size != wanted:
        raise size_problem(marked, wanted, path, size)
    if size != wanted or (size[0] != size[1] and _QUARTER_TURN.search(data)):
        turned = preprocess.decode(data, where=shown(path)).shape[:2]
        if turned != wanted:
            raise size_problem(marked, wanted, path, turned)


class _Kinds:
    """What a picture shows, by a regular expression searched in the path below the folder: its first group, or the
    whole match. Raises BadUsage for one that is none, or that does not fit a picture."""

    def __init__(self, folder: Path, pattern: str | None) -> None:
        self._folder, self._pattern = folder, None if pattern is None else pattern_of(pattern)

    def __call__(self, path: Path) -> str:
        if self._pattern is None:
            return ""
        below = path.relative_to(self._folder).as_posix()
        found = self._pattern.search(below)
        if found is None:
            raise BadUsage(
                f"the pattern of kinds, {self._pattern.pattern}, does not fit {shown(below)}",
                hint="Write one that is found in each path below the folder, or leave --kind out",
            )
        first = found.group(1) if self._pattern.groups else None  # None: a group that took no part in the match
        return shown(found.group(0) if first is None else first)


def _labels_of(folder: Path) -> Path | None:
    return next((folder / name for name in LABEL_FOLDERS if (folder / name).is_dir()), None)


def _label_maps(folder: Path, notes: list[str]) -> dict[str, list[_Found]]:
    home = _labels_of(folder)
    assert home is not None
    out: dict[str, list[_Found]] = {}
    for split in SPLITS:
        pictures = pictures_in(folder / "images" / split, recursive=False, at_least=0) if (
            folder / "images" / split
        ).is_dir() else ()  # fmt: skip
        maps = pictures_in(home / split, recursive=False, at_least=0) if (home / split).is_dir() else ()
        by_stem = _by_picture({path.stem for path in pictures}, maps)
        out[split] = [_Found(path=path, labels=tuple(by_stem[path.stem])) for path in pictures if by_stem[path.stem]]
        if bare := [path.name for path in pictures if not by_stem[path.stem]]:
            notes.append(_left_out(split, bare, "picture", "without a label map"))
        used = {path for found in by_stem.values() for path in found}
        if spare := [path.name for path in maps if path not in used]:
            notes.append(_left_out(split, spare, "label map", "without a picture"))
    return out


def _by_picture(stems: set[str], maps: Sequence[Path]) -> dict[str, list[Path]]:
    """Label maps by the stem of their picture: their own, or what is before their last underscore."""
    out: dict[str, list[Path]] = defaultdict(list)
    for path in maps:
        stem = path.stem if path.stem in stems else path.stem.rpartition("_")[0]
        if stem in stems:
            out[stem].append(path)
    return out


def _left_out(split: str, names: Sequence[str], noun: str, what: str) -> str:
    listed = ", ".join(map(shown, names[:_MOST_NAMED])) + ", ..." * (len(names) > _MOST_NAMED)
    return f"left out: {split}: {counted(len(names), noun)} {what} ({listed})"


def _coco(folder: Path, notes: list[str]) -> dict[str, list[_Found]]:
    files = [*sorted((folder / "annotations").glob("*.json")), *sorted(folder.glob("*.json"))]
    out: dict[str, list[_Found]] = {split: [] for split in SPLITS}
    for file in files:
        split = next((one for one in SPLITS if one in file.stem.lower()), "train" if len(files) == 1 else "")
        if not split:
            notes.append(
                f"left out: {shown(file.name)}: its name holds neither {', '.join(SPLITS[:-1])} nor {SPLITS[-1]}"
            )
            continue
        out[split] += _instances(file, folder, split, notes)
    for found in out.values():
        _check_once(found)
    return out


def _instances(file: Path, folder: Path, split: str, notes: list[str]) -> list[_Found]:
    read = coco.read(file)
    if read.crowds:
        notes.append(f"left out: {shown(file.name)}: {counted(read.crowds, 'crowd')} (iscrowd): not single objects")
    if read.strays:
        strays = counted(read.strays, "annotation")
        notes.append(f"left out: {shown(file.name)}: {strays} of images that the file does not list")
    homes = [folder / "images" / split, *sorted(folder.glob(f"{split}*/")), folder / "images", folder, file.parent]
    out: list[_Found] = []
    missing, bare = [], []
    for one in read.pictures:
        path = _picture_file(one, homes, folder)
        if path is None:
            missing.append(one.name)
        elif not one.segments:
            bare.append(one.name)
        else:
            segments = CocoSegments(
                segments=one.segments, height=one.height, width=one.width, content=one.content,
                where=f"{shown(file)}: {shown(one.name)}",
            )  # fmt: skip
            out.append(_Found(path=path, coco=segments))
    if missing:
        notes.append(_left_out(split, missing, "picture", "not found"))
    if bare:
        notes.append(_left_out(split, bare, "picture", "without an annotation"))
    return sorted(out, key=lambda one: one.path)


def _picture_file(one: coco.CocoPicture, homes: Sequence[Path], folder: Path) -> Path | None:
    """Where the picture lies below `folder`; None where it is in none of the homes. Raises BadInput for a name that
    leads out of the folder from all of them: parts, kinds and notes are of names below the folder."""
    top = os.path.abspath(folder)
    places = [os.path.abspath(os.path.join(home, one.name)) for home in homes]
    inside = [Path(os.path.relpath(place, top)) for place in places if place.startswith(os.path.join(top, ""))]
    if not inside:
        raise BadInput(
            f"its file_name {shortened(one.name)} leads out of the folder {shown(folder)}", where=one.where,
            hint="Move the picture into the folder, and write its file_name relative to it",
        )  # fmt: skip
    # os.path answers for names that are too long or hold a null, where Path.is_file raises
    return next((folder / place for place in inside if os.path.isfile(folder / place)), None)


def _check_once(found: Sequence[_Found]) -> None:
    """Raises BadInput for a picture that two images are of: each would show the other's objects as background."""
    first: dict[Path, CocoSegments] = {}
    for one in found:
        assert one.coco is not None
        other = first.setdefault(one.path, one.coco)
        if other is not one.coco:
            raise BadInput(
                f"the picture {shown(one.path)} has annotations twice, in {other.where} and in {one.coco.where}",
                hint="Put them under one image of one file, or take one of the files away",
            )
