"""Samples for the evaluation of a classifier: of class folders, of a folder without labels, or of calibration.

Knows files and feeds; no runtime and no family.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Protocol

from edge_sdk import npz
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.counted import counted
from edge_sdk.errors import BadInput
from edge_sdk.export.family import Samples
from edge_sdk.export.pictures.store import PictureStore
from edge_sdk.folders import folders_in, left_out, pictures_in
from edge_sdk.grouping import Grouping, content
from edge_sdk.progress import Progress, silent
from edge_sdk.shown import not_a_folder, shown
from edge_sdk.tasks.base import MODEL, Setup
from edge_sdk.tasks.images import picture_inputs
from edge_sdk.tensors import Array, TensorSpec, batch_size

MOST_UNLABELLED = 256
"""Calibration samples that an evaluation without labels answers with every graph on every runtime."""


class EvaluationSamples(Protocol):
    """Feeds of one sample each, as often as asked. truth: index of each sample's class, None without labels.

    parts: name of the physical part of each sample; () = not stated, each is taken for a part of its own. where: what
    they are, in words. notes: what was left out.
    """

    @property
    def truth(self) -> tuple[int, ...] | None: ...
    @property
    def parts(self) -> tuple[str, ...]: ...
    @property
    def where(self) -> str: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Mapping[str, Array]]: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CalibrationSamples:
    """The first MOST_UNLABELLED samples of a calibration, a row each."""

    samples: Samples
    truth: None = None
    parts: tuple[str, ...] = ()
    where: str = "calibration samples, to which the int8 ranges were fitted"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return min(len(self.samples), MOST_UNLABELLED)

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        return islice(iter(self.samples), MOST_UNLABELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFile:
    """One file of one sample. label: index of its class, -1 = not labelled. part: see `Grouping`. content: sha256."""

    path: Path
    label: int
    part: str
    content: str = ""


class Reader(Protocol):
    """Makes feeds of files. `check` reads one once and keeps what it can: (sha256, "") or ("", why not)."""

    def files(self, folder: Path) -> tuple[Sequence[Path], str]:
        """Its files in a folder, and what else is there in words, "" = nothing."""

    def check(self, path: Path) -> tuple[str, str]: ...
    def feeds(self, path: Path) -> Mapping[str, Array]: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PictureReader:
    """Pictures, prepared as the device will see them, each decoded once. image: name of the input that takes them."""

    record: Preprocessing
    image: str
    store: PictureStore

    def files(self, folder: Path) -> tuple[Sequence[Path], str]:
        return pictures_in(folder, recursive=True, at_least=0), left_out(folder, recursive=True)

    def check(self, path: Path) -> tuple[str, str]:
        return self.store.take(path, self.record)

    def feeds(self, path: Path) -> Mapping[str, Array]:
        return {self.image: self.store.prepared(path, self.record).tensor}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayReader:
    """Files of named arrays, .npz, one sample each."""

    inputs: tuple[TensorSpec, ...]

    def files(self, folder: Path) -> tuple[Sequence[Path], str]:
        found = npz.npz_in(folder)
        others = len(list(folder.iterdir())) - len(found)
        return found, f"left out: {counted(others, 'entry', 'entries')} that are no .npz files" if others else ""

    def check(self, path: Path) -> tuple[str, str]:
        try:
            self.feeds(path)
            return content(path), ""
        except BadInput as exc:
            return "", str(exc.args[0])

    def feeds(self, path: Path) -> Mapping[str, Array]:
        arrays = npz.read_npz(path)
        for spec in self.inputs:
            if spec.name not in arrays:
                raise BadInput(f"it holds no array {shown(spec.name)}", where=shown(path))
            if wrong := spec.accepts(arrays[spec.name]):
                raise BadInput(wrong, where=shown(path))
        if (rows := batch_size(arrays, self.inputs)) not in (None, 1):
            raise BadInput(f"it holds {rows} rows, one sample a file is read", where=shown(path))
        return {spec.name: arrays[spec.name] for spec in self.inputs}


def reader_of(setup: Setup, *, scratch: Path | None = None) -> Reader:
    """What makes feeds for a bundle of this setup. scratch: see `PictureStore`."""
    if setup.preprocessing is None:
        return ArrayReader(inputs=setup.inputs[MODEL])
    ((_, spec),) = picture_inputs(setup.inputs, setup.preprocessing)  # `TensorTask.check` found one
    if len(setup.inputs[MODEL]) > 1:
        raise BadInput("the graph takes more than a picture, so that folders of pictures can't be evaluated")
    return PictureReader(record=setup.preprocessing, image=spec.name, store=PictureStore(scratch=scratch))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FolderSamples:
    """Files of a folder, in order; what can't be read is in the notes. Iterating reads each when its turn comes."""

    folder: Path
    files: tuple[SampleFile, ...]
    reader: Reader
    group: str = ""
    notes: tuple[str, ...] = ()

    @property
    def truth(self) -> tuple[int, ...] | None:
        labels = tuple(one.label for one in self.files)
        return None if -1 in labels else labels

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(one.part for one in self.files) if self.group else ()

    @property
    def where(self) -> str:
        return f"the samples of {shown(self.folder.name)}"

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        for one in self.files:
            yield self.reader.feeds(one.path)


def read_samples(
    folder: Path, labels: Sequence[str], reader: Reader, *, group: str | None = None, progress: Progress = silent
) -> FolderSamples:
    """The samples of a folder that has one folder for each class, named by its label; or of one without folders, and
    then without labels. Each is read once here, and each content counts once.

    group: as in `Grouping`. Raises BadInput: no such folder, a folder that is no label, no sample, two labels for one
    content; BadUsage for a group that does not fit.
    """
    if not folder.is_dir():
        raise not_a_folder(folder, "Name a folder of samples")
    kinds = class_folders(folder, labels) or {folder: -1}
    part_of, notes = Grouping(folder, group), []
    found: list[SampleFile] = []
    for kind, label in kinds.items():
        files, others = reader.files(kind)
        notes += [f"{shown(kind.name)}/: {others}"] if others else []
        found += [SampleFile(path=path, label=label, part=part_of(path)) for path in files]
    readable = []
    for done, one in enumerate(found):
        progress(done, len(found), "reading samples")
        digest, problem = reader.check(one.path)
        if problem:
            notes.append(f"left out: {shown(one.path.relative_to(folder))}: {problem}")
        else:
            readable.append(replace(one, content=digest))
    if not readable:
        raise BadInput("; ".join(("there are no samples in it", *notes)), where=shown(folder))
    files_once = _once(folder, readable, labels, notes)
    there = {one.label for one in files_once}
    missing = [label for number, label in enumerate(labels) if number not in there]
    if missing and -1 not in there:
        notes.append(f"no samples of {counted(len(missing), 'class', 'classes')}, such as {shown(missing[0])}")
    return FolderSamples(folder=folder, files=tuple(files_once), reader=reader, group=group or "", notes=tuple(notes))


def check_folder(folder: Path, labels: Sequence[str], reader: Reader, *, group: str | None = None) -> None:
    """What `read_samples` would refuse minutes later, but for single files: folders that are called by no label, no
    sample that can be read, a group that does not fit. Raises BadInput, BadUsage."""
    files = [file for kind in class_folders(folder, labels) or {folder: -1} for file in reader.files(kind)[0]]
    part_of = Grouping(folder, group)
    for file in files:
        part_of(file)
    problem = ""
    for file in files:
        if not (problem := reader.check(file)[1]):
            return
    of_last = (f"{shown(files[-1].relative_to(folder))}: {problem}",) if files else ()
    raise BadInput("; ".join(("there are no samples in it", *of_last)), where=f"--test {shown(folder)}")


def class_folders(folder: Path, labels: Sequence[str]) -> dict[Path, int]:
    """Folder -> index of the label that it is called by; {} where `folder` has no folders in it.

    Raises BadInput for a folder whose name is no label, or one that two classes have.
    """
    out = {}
    for kind in folders_in(folder):
        count = labels.count(kind.name)
        if count == 0:
            near = difflib.get_close_matches(kind.name, labels, n=1)
            raise BadInput(
                f"the folder {shown(kind.name)} is called by no label", where=shown(folder),
                hint=f"Did you mean {shown(near[0])}?" if near else f"Labels are {', '.join(map(shown, labels[:5]))}",
            )  # fmt: skip
        if count > 1:
            raise BadInput(
                f"{count} classes are called {shown(kind.name)}, so its folder names none", where=shown(folder),
                hint="Give the classes different labels",
            )  # fmt: skip
        out[kind] = labels.index(kind.name)
    return out


def _once(folder: Path, files: Sequence[SampleFile], labels: Sequence[str], notes: list[str]) -> list[SampleFile]:
    """Each content once. Raises BadInput for one with two labels: its answer could only be half right."""
    first: dict[str, SampleFile] = {}
    for one in files:
        kept = first.setdefault(one.content, one)
        if kept.label != one.label:
            here, there = (shown(file.path.relative_to(folder)) for file in (one, kept))
            raise BadInput(
                f"{here} and {there} are the same file", where=shown(folder),
                hint=f"Decide whether it is {shown(labels[one.label])} or {shown(labels[kept.label])}",
            )  # fmt: skip
    if copies := len(files) - len(first):
        notes.append(f"left out: {counted(copies, 'copy', 'copies')} of other samples, since a sample counts once")
    return list(first.values())
