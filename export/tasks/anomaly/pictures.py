"""Folders of pictures: which are for training, which for tests, what part each shows. Knows no network, no family."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from edge_sdk.errors import BadInput
from edge_sdk.export.anomaly.data import Picture, PictureSet
from edge_sdk.export.pictures.store import PictureStore
from edge_sdk.export.tasks.base import Reading
from edge_sdk.folders import broken_links_in, folders_in, left_out, pictures_in
from edge_sdk.grouping import Grouping
from edge_sdk.shown import not_a_folder, shown
from edge_sdk.tasks.anomaly.folder_names import GOOD, GOOD_FOLDERS, GOOD_TEST_FOLDERS, MASK_FOLDERS

LAYOUTS = (
    "Understood: pictures of good parts directly in the folder; train/good with test/<defect> and "
    "ground_truth/<defect>/<name>_mask.png; or good (normal, ok) beside folders named after defects"
)
"""What to tell a user whose folder was not understood."""

ANY = Reading()
"""Nothing is known of what the pictures are for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """Pictures by the folder they lie in, before anything is read."""

    train: list[tuple[Path, str]]
    test: list[tuple[Path, str]]
    notes: list[str]


def read_pictures(folder: Path, *, group: str | None = None, how: Reading = ANY) -> PictureSet:
    """The pictures of `folder`, in a fixed order; every one is decoded once, and those that can't be are listed.
    Where `how` says how they will be prepared, what was prepared is kept in their store.

    Files with the same content are one picture of one part: the first counts, the others are left out and noted, so
    that no copy is in two shares, or in training and test.
    group: how pictures of one part are known. A regular expression, searched in the path below `folder` (with /),
    whose first group, or whole match, names the part; or "FILE.csv:COLUMN", a table in `folder` whose column "file"
    names the picture (columns "split" and "class", if there, its folders) and whose COLUMN names the part.
    Raises BadInput where there is nothing to train on or one picture is good and defective, BadUsage for a group that
    does not fit every picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise not_a_folder(folder, "Name a folder with pictures of good parts")
    part_of = Grouping(folder, group)  # a pattern or table that is wrong fails before pictures are looked for
    found = _scan(folder)
    store = PictureStore(scratch=how.scratch)
    good = [Picture(path=p, part=part_of(p), label=label) for p, label in found.train]
    others = [_with_mask(folder, p, label, part_of(p)) for p, label in found.test]
    train, bad_train = _readable(good, store, how, source=True)
    test, bad_test = _readable(others, store, how, source=False)
    unreadable = (*bad_train, *bad_test)
    if not train:
        why = "; ".join((_none_of(len(unreadable)), *found.notes))
        raise BadInput(why, where=str(folder), hint=unreadable[0][1] if unreadable else LAYOUTS)
    train, test, copies = _once(folder, train, test)
    notes = (*found.notes, *copies)
    return PictureSet(train=train, test=test, group=group or "", unreadable=unreadable, notes=notes, store=store)


def _none_of(unreadable: int) -> str:
    if not unreadable:
        return "there are no pictures in it"
    return "its only picture can't be read" if unreadable == 1 else f"none of its {unreadable} pictures can be read"


def _scan(folder: Path) -> _Found:
    if (folder / "train").is_dir():
        return _scan_mvtec(folder)
    good = _first_folder(folder, GOOD_FOLDERS)
    return _scan_by_name(folder, good) if good is not None else _scan_flat(folder)


def _scan_mvtec(folder: Path) -> _Found:
    notes: list[str] = []
    good = _first_folder(folder / "train", GOOD_FOLDERS) or folder / "train"
    train = [(p, GOOD) for p in _pictures(good, notes)]
    return _Found(train=train, test=_kinds(folder / "test", notes), notes=notes)


def _scan_by_name(folder: Path, good: Path) -> _Found:
    notes: list[str] = []
    test = _kinds(folder, notes, but=good)
    return _Found(train=[(p, GOOD) for p in _pictures(good, notes)], test=test, notes=notes)


def _kinds(folder: Path, notes: list[str], *, but: Path | None = None) -> list[tuple[Path, str]]:
    """Test pictures with their labels: folders are kinds of defects, unless their name says good parts or masks."""
    test: list[tuple[Path, str]] = []
    notes += [f"{shown(link.name)}: a link that leads nowhere, left out" for link in broken_links_in(folder)]
    for kind in folders_in(folder):
        name = kind.name.lower()
        if kind == but or name in MASK_FOLDERS:
            continue
        label = GOOD if name in (*GOOD_FOLDERS, *GOOD_TEST_FOLDERS) else shown(kind.name)  # it goes into JSON
        test += [(p, label) for p in _pictures(kind, notes)]
    return test


def _scan_flat(folder: Path) -> _Found:
    notes = [
        f"{shown(inner.name)}/: left out, only the pictures directly in the folder were taken"
        for inner in folders_in(folder)
    ]
    return _Found(train=[(p, GOOD) for p in _pictures(folder, notes)], test=[], notes=notes)


def _first_folder(folder: Path, names: Sequence[str]) -> Path | None:
    by_name = {p.name.lower(): p for p in folders_in(folder)}
    return next((by_name[name] for name in names if name in by_name), None)


def _pictures(folder: Path, notes: list[str]) -> list[Path]:
    found = pictures_in(folder, recursive=False, at_least=0)
    if words := left_out(folder, recursive=False):
        notes.append(f"{shown(folder.name)}/: {words}")
    return list(found)


def _with_mask(folder: Path, path: Path, label: str, part: str) -> Picture:
    masks = [
        folder / name / inner / f"{path.stem}{ending}.png"
        for name in MASK_FOLDERS
        for inner in (path.parent.name, ".")
        for ending in ("_mask", "")
    ]
    mask = None if label == GOOD else next((m for m in masks if m.is_file()), None)
    return Picture(path=path, part=part, label=label, mask=mask)


def _readable(
    pictures: Sequence[Picture], store: PictureStore, how: Reading, *, source: bool
) -> tuple[tuple[Picture, ...], tuple[tuple[Path, str], ...]]:
    """Those that can be decoded, with the sums of their files, and (file, why) of the others."""

    def taken(picture: Picture) -> Picture | tuple[Path, str]:
        content, problem = store.take(picture.path, how.preprocessing, source=source)
        return (picture.path, problem) if problem else replace(picture, content=content)

    good: list[Picture] = []
    bad: list[tuple[Path, str]] = []
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="decode") as pool:  # cv2 decodes outside the GIL
        for done, one in enumerate(pool.map(taken, pictures)):
            how.progress(done, len(pictures), "reading pictures")
            if isinstance(one, Picture):
                good.append(one)
            else:
                bad.append(one)
    how.progress(len(pictures), len(pictures), "reading pictures")
    return tuple(good), tuple(bad)


def _once(
    folder: Path, train: tuple[Picture, ...], test: tuple[Picture, ...]
) -> tuple[tuple[Picture, ...], tuple[Picture, ...], list[str]]:
    """Each content once, training pictures before test pictures, and a note on the copies left out."""
    first: dict[str, Picture] = {}
    copies: list[tuple[Picture, Picture]] = []
    for picture in (*train, *test):
        kept = first.setdefault(picture.content, picture)
        if kept is picture:
            continue
        copies.append((picture, kept))
        if (kept.label == GOOD) != (picture.label == GOOD):
            here, there = (shown(p.path.relative_to(folder).as_posix()) for p in (picture, kept))
            raise BadInput(
                f"{here} ({picture.label}) and {there} ({kept.label}) are the same picture", where=str(folder),
                hint="Decide what it shows, and remove the other one",
            )  # fmt: skip
    if not copies:
        return train, test, []
    out = {id(picture) for picture, _ in copies}
    here, there = (shown(p.path.relative_to(folder).as_posix()) for p in copies[0])
    note = (
        f"copies left out, since a part counts once: {len(copies)} of {len(train) + len(test)} pictures "
        f"{'has' if len(copies) == 1 else 'have'} the content of another one, such as {here} that of {there}"
    )
    return tuple(p for p in train if id(p) not in out), tuple(p for p in test if id(p) not in out), [note]
