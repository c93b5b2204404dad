"""Selects the pictures for a threshold fitted on site: which count, and which are left out and why.

Parts must be new, counted once, and either good or defective. Knows files, names and contents; decodes no picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_sdk.counted import counted
from edge_sdk.decision.evidence import LeftOut, Sample, Tally, check_apart, learned, once, samples_of
from edge_sdk.errors import BadInput
from edge_sdk.folders import pictures_in
from edge_sdk.grouping import SEEN, seen_in
from edge_sdk.shown import shown
from edge_sdk.tasks.anomaly.folder_names import GOOD_FOLDERS, GOOD_TEST_FOLDERS, MASK_FOLDERS

GOOD_OPTION, DEFECTS_OPTION = "--good", "--defects"
_NO_DEFECTS = frozenset((*GOOD_FOLDERS, *GOOD_TEST_FOLDERS, *MASK_FOLDERS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The pictures that count, by name; what was left out; warnings for the record beside those."""

    good: Sequence[Sample]
    defects: Sequence[Sample]
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...] = ()

    def good_left_out(self) -> str:
        """How many good pictures were given, and how many of them don't count, by reason; "" if all count."""
        gone = [one for one in self.left_out if one.option == GOOD_OPTION]
        count = sum(len(one.files) for one in gone)
        if not count:
            return ""
        reasons = "; ".join(f"{len(one.files)}: {one.reason}" for one in gone) if len(gone) > 1 else gone[0].reason
        return f"{counted(count + len(self.good), 'picture')} given, {count} left out: {reasons}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A good picture and its score, among those behind a threshold."""

    path: Path
    score: float

    def __str__(self) -> str:
        return f"{shown(self.path)} ({self.score:.6g})"

    def to_json(self) -> dict[str, object]:
        """Both, as JSON types."""
        return {"file": str(self.path), "score": self.score}


LOOKED_AT = 3
"""How many of the good pictures with the highest scores are shown after a fit."""


def highest(paths: Iterable[Path], scores: Iterable[float]) -> tuple[Scored, ...]:
    """The good pictures with the highest scores, highest first. A defective part among them makes the threshold too
    high, and only a person can see that."""
    scored = [Scored(path=path, score=float(score)) for path, score in zip(paths, scores, strict=True)]
    return tuple(sorted(scored, key=lambda one: -one.score)[:LOOKED_AT])


def look_at(pictures: Sequence[Scored]) -> str:
    """The advice to look at `highest`; "" for none."""
    if not pictures:
        return ""
    return (
        f"look at the good pictures with the highest scores: {', '.join(map(str, pictures))}. If one shows a defect, "
        "the threshold is too high: remove the picture, and fit again"
    )


def gather(good: Path, defects: Path | None, *, group: str, notes: Mapping[str, str]) -> Gathered:
    """Select the pictures of both folders before anything is scored.

    good: its own pictures are taken, not those of folders in it, which may hold anything. defects: folders in it are
    kinds of defects, but for those whose name says good parts or masks. group: as in `Grouping`, "" = not stated.
    notes: of the bundle's provenance. Raises BadUsage for a group that is wrong or does not fit, BadInput for a folder
    that is no such folder, and for a picture that is in both.
    """
    tally = Tally()
    sound = samples_of(_good_files(good, tally), good, group, GOOD_OPTION, tally)
    broken: list[Sample] = []
    if defects is not None:
        broken = samples_of(_defect_files(defects, tally), defects, group, DEFECTS_OPTION, tally)
    check_apart(sound, broken, (GOOD_OPTION, DEFECTS_OPTION))
    sound, broken = once(sound, GOOD_OPTION, tally), once(broken, DEFECTS_OPTION, tally)
    if SEEN not in notes:
        untold = "the bundle does not list its training pictures, so it was not checked whether these are new"
        return Gathered(good=sound, defects=broken, left_out=tuple(tally.left_out), warnings=(untold,))
    seen = seen_in(notes[SEEN])
    _check_not_learned(broken, seen)
    return Gathered(good=_fresh(sound, seen, good, tally), defects=broken, left_out=tuple(tally.left_out))


def _good_files(folder: Path, tally: Tally) -> Sequence[Path]:
    own = pictures_in(folder, recursive=False, at_least=0)
    inside = [path for path in pictures_in(folder, recursive=True) if path.parent != folder]
    if not own:
        names = sorted({path.relative_to(folder).parts[0] for path in inside})
        sound = next((p.parent for p in inside if p.parent.name.lower() in GOOD_FOLDERS), None)
        raise BadInput(
            f"no pictures lie in it, only in the folders {', '.join(names)} inside, which may hold anything",
            where=f"{GOOD_OPTION} {folder}",
            hint=f"Name one folder of good parts{f', such as {sound}' if sound else ''}",
        )  # fmt: skip
    tally.add(inside, GOOD_OPTION, "in subfolders, which may hold anything")
    return own


def _defect_files(folder: Path, tally: Tally) -> Sequence[Path]:
    everything = pictures_in(folder, recursive=True)
    kept: list[Path] = []
    wrong: list[Path] = []
    for path in everything:
        named = {name.lower() for name in path.relative_to(folder).parts[:-1]}
        (wrong if named & _NO_DEFECTS else kept).append(path)
    tally.add(wrong, DEFECTS_OPTION, "the name of their folder says good parts or masks")
    if not kept:
        raise BadInput(
            "no pictures of defects are in it", where=f"{DEFECTS_OPTION} {folder}", hint="Name a folder of defects"
        )
    return kept


def _fresh(samples: Sequence[Sample], seen: frozenset[str], folder: Path, tally: Tally) -> list[Sample]:
    """Without the parts used in training: a part is known from any of its pictures."""
    known = {sample.part for sample in learned(samples, seen)}
    kept = [sample for sample in samples if sample.part not in known]
    why = "the model was trained on these parts, so they score lower than new ones"
    if samples and not kept:
        none = "its only picture is not" if len(samples) == 1 else f"none of the {len(samples)} pictures is"
        raise BadInput(
            f"{none} new: {why}. A threshold from them would reject too many good parts",
            where=f"{GOOD_OPTION} {folder}",
            hint="Give pictures of good parts that were not used in training",
        )
    tally.add((sample.path for sample in samples if sample.part in known), GOOD_OPTION, why)
    return kept


def _check_not_learned(defects: Sequence[Sample], seen: frozenset[str]) -> None:
    if known := learned(defects, seen):
        raise BadInput(
            f"the model was trained on {len(known)} of the pictures in {DEFECTS_OPTION}, as good parts, such as "
            f"{shown(known[0].path)}",
            hint="Train again without them: the model has learned these defects as good",
        )  # fmt: skip
