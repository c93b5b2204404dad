"""What anomaly families learn from: pictures, what they are for, and the trained model's scores. Knows no network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from edge_sdk import grouping
from edge_sdk.export.family import Trained
from edge_sdk.export.pictures.store import PictureStore
from edge_sdk.grouping import content
from edge_sdk.shown import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture file. part: name of the physical part that it shows (its own name where no group was stated).

    label: "good" or the kind of defect. mask: file with the defect's pixels > 0, at the picture's size. content: sha256
    of the file in hex (`grouping.content`), "" = it was not read yet.
    """

    path: Path
    part: str
    label: str = "good"
    mask: Path | None = None
    content: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PictureSet:
    """Pictures to train on and, where there are labels, to test on.

    group: how the pictures of one part were named (see `Grouping`); "" = not stated, one picture a part is assumed.
    unreadable: (file, why) left out. notes: what else was left out, in words. store: where they lie decoded.
    """

    train: tuple[Picture, ...]
    test: tuple[Picture, ...] = ()
    group: str = ""
    unreadable: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()
    store: PictureStore = field(default_factory=PictureStore)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Good pictures by what they are for; no part is in two of them. training: the network learns them. scaling: the
    map quantiles. held_out: the threshold. holdout, quantiles: the shares that were asked for, 0..1."""

    training: tuple[Picture, ...]
    scaling: tuple[Picture, ...]
    held_out: tuple[Picture, ...]
    holdout: float
    quantiles: float

    def facts(self) -> dict[str, int]:
        """How many pictures and parts each share has, for the provenance."""
        return {
            "pictures": len(self.training),
            "parts": len({p.part for p in self.training}),
            "quantile_pictures": len(self.scaling),
            "quantile_parts": len({p.part for p in self.scaling}),
            "held_out_pictures": len(self.held_out),
            "held_out_parts": len({p.part for p in self.held_out}),
        }


@dataclass(frozen=True, kw_only=True, eq=False)  # no slots: `digest` is kept
class AnomalyData:
    """What `ExportTask.read` of the anomaly task answers: pictures, divided once."""

    pictures: PictureSet
    shares: Shares

    @property
    def train(self) -> tuple[Picture, ...]:
        """All good pictures, whatever they are for."""
        return self.pictures.train

    @property
    def test(self) -> tuple[Picture, ...]:
        return self.pictures.test

    @property
    def group(self) -> str:
        return self.pictures.group

    @property
    def store(self) -> PictureStore:
        return self.pictures.store

    @cached_property
    def digest(self) -> str:
        """`data_digest` of the good pictures; a run's identity and the provenance both hold it."""
        return data_digest(self.train)

    def learned(self, trained: AnomalyTrained) -> tuple[Picture, ...]:
        """The good pictures that the model saw in any way: all but those held out for its threshold."""
        held_out = {picture.path for picture in trained.held_out}
        return tuple(picture for picture in self.train if picture.path not in held_out)


@dataclass(frozen=True, kw_only=True, eq=False)
class AnomalyTrained(Trained):
    """held_out: good pictures that neither training nor map quantiles saw, for the threshold. scores: their raw fp32
    scores, same order; scored_by: what computed them, such as "torch"."""

    held_out: tuple[Picture, ...]
    scores: tuple[float, ...]
    scored_by: str


def data_identity(data: AnomalyData) -> dict[str, str]:
    """Of the training pictures, for a run's identity: digest and shares, and names, which tell what changed."""
    return {
        "holdout": f"{data.shares.holdout:g}", "quantiles": f"{data.shares.quantiles:g}",
        "data": data.digest[:16], "pictures": "\n".join(shown(p.path.name) for p in data.train),
    }  # fmt: skip


def data_digest(pictures: Iterable[Picture]) -> str:
    """sha256 over pictures: contents, parts and labels, whatever folder they lie in."""
    return grouping.data_digest((p.path.name, p.part, p.label, content_of(p)) for p in pictures)


def content_of(picture: Picture) -> str:
    """`grouping.content`, read again only where nobody has. Raises BadInput for a file that is gone."""
    return picture.content or content(picture.path)
