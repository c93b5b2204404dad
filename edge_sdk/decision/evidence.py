"""Pictures that a site decision rests on: each content once, by part, and what was left out and why.

Knows files, names and contents; no label, no task; decodes no picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_sdk.counted import counted
from edge_sdk.errors import BadInput
from edge_sdk.grouping import SEEN_DIGITS, Grouping, content
from edge_sdk.shown import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One picture. part: name of the physical part, the picture's own name where no group was stated. content: sha256
    of the file."""

    path: Path
    part: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Pictures that don't count. option: of the folder that was given. reason: such as "can't be read"."""

    option: str
    reason: str
    files: tuple[Path, ...]

    @property
    def why(self) -> str:
        """A sentence with their number, for the record."""
        return f"{counted(len(self.files), 'picture')} of {self.option} left out: {self.reason}"

    def __str__(self) -> str:
        names = ", ".join(shown(path) for path in self.files[:3])
        return f"{self.why}: {names}" + (f" and {len(self.files) - 3} more" if len(self.files) > 3 else "")


@dataclass(slots=True)
class Tally:
    """Collects what is left out while pictures are selected."""

    left_out: list[LeftOut] = field(default_factory=list)

    def add(self, files: Iterable[Path], option: str, reason: str) -> None:
        """Nothing is added for no files."""
        listed = tuple(files)
        if listed:
            self.left_out.append(LeftOut(option=option, reason=reason, files=listed))


def samples_of(files: Sequence[Path], folder: Path, group: str, option: str, tally: Tally) -> list[Sample]:
    """The files that can be read, in order, with part and content. group: as in `Grouping`, "" = not stated.

    Raises BadUsage for a group that is wrong or does not fit, before anything is read.
    """
    part_of = Grouping(folder, group or None)
    parts = [part_of(path) for path in files]
    out, gone = [], []
    for path, part in zip(files, parts, strict=True):
        try:
            out.append(Sample(path=path, part=part, content=content(path)))
        except BadInput:
            gone.append(path)
    tally.add(gone, option, "can't be read")
    return out


def check_apart(first: Sequence[Sample], second: Sequence[Sample], options: tuple[str, str]) -> None:
    """Raise BadInput for a content that is on both sides. options: of the two folders."""
    known = {sample.content: sample.path for sample in first}
    both = [sample for sample in second if sample.content in known]
    if both:
        raise BadInput(
            f"{len(both)} of the pictures in {options[1]} are in {options[0]} too, with the same content: "
            f"{shown(both[0].path)} is {shown(known[both[0].content])}",
            hint="Decide what such a picture shows, and take it out of the other folder",
        )


def once(samples: Sequence[Sample], option: str, tally: Tally) -> list[Sample]:
    """Each content once, the first of it."""
    first: dict[str, Sample] = {}
    for sample in samples:
        first.setdefault(sample.content, sample)
    copies = [sample.path for sample in samples if first[sample.content] is not sample]
    tally.add(copies, option, "duplicates of others, and a part counts once")
    return list(first.values())


def learned(samples: Sequence[Sample], seen: frozenset[str]) -> list[Sample]:
    """Those that a model was trained on. seen: of `grouping.seen_in`."""
    return [sample for sample in samples if sample.content[:SEEN_DIGITS] in seen]
