"""What a family of models must offer to become a bundle: named steps that the command line and the demo drive.

Knows no network and no runtime. A new family is a folder beside this file and a line in `registry.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edge_sdk.bundle.manifest import MapGrid, Preprocessing
from edge_sdk.errors import BadUsage
from edge_sdk.progress import Progress
from edge_sdk.tensors import Array

if TYPE_CHECKING:
    from importlib.abc import Traversable


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSet:
    """Pictures to train on and, where there are labels, to test on.

    group: how the pictures of one part were named (see `Grouping`); "" = not stated, one picture a part is assumed.
    unreadable: (file, why) left out. notes: what else was left out, in words.
    """

    train: tuple[Picture, ...]
    test: tuple[Picture, ...] = ()
    group: str = ""
    unreadable: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPictures:
    """Pictures that ship with a family, for `demo`. folder: in a layout that `read_pictures` understands.

    name: of the bundle. licence: a sentence for the page. holdout, rate: share of the good parts kept for the
    threshold, and the false-reject rate that so few support. side: px of the network's input, None = the size's own:
    what is shown in a minute may be smaller than what is used. steps: of training, enough to show what the family can;
    None = the size's own.
    """

    folder: Traversable
    name: str
    licence: str
    holdout: float
    rate: str
    side: int | None = None
    steps: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What a user states about one training run; every default stands here and nowhere else.

    size: the family's own name of a network ("xs", "s", "m"). width, height: what a picture is scaled to, px, None =
    the size's own; "s" and "m" then add a border of 16 px on each side, so their network's input is 32 px wider and
    higher. steps and time_budget_s: whichever ends first; None = the size's own default. turns: parts lie in any
    direction. penalty: folder with foreign pictures; None = shipped textures. teacher: weights file; None = what ships.
    holdout: share of the good parts that training, map quantiles and calibration never see: for the threshold.
    quantiles: share of the good parts kept from training for the map quantiles; the two sets never share a part.
    bit_depth: of 16-bit pictures, 10, 12 or 16: what the camera's white is.
    """

    size: str = "xs"
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    time_budget_s: float | None = None
    seed: int = 0
    turns: bool = False
    penalty: Path | None = None
    teacher: Path | None = None
    holdout: float = 0.2
    quantiles: float = 0.1
    bit_depth: int = 16
    threads: int | None = None

    @property
    def sides(self) -> tuple[int, int]:
        """(width, height), px. BadUsage where they were left open: `Family.completed` fills them in."""
        if self.width is None or self.height is None:
            raise BadUsage("width and height were left open", do="Take the options that Family.completed answers")
        return self.width, self.height


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FloatGraph:
    """The merged float32 graph of a trained model: uint8 NHWC "image" in, float32 "map" (N, h, w) and "score" (N,) out.

    onnx: a serialized model, standard domain, inline weights, free axis 0 called "N". float_tail: names of the nodes
    that must stay float32 in every variant; float_in_int8: those that stay float in the int8 variants; matched: those
    of the tail that make unscaled maps, whose mean and spread the int8 variants get back. reduction: how score comes of
    map, in words.
    """

    onnx: bytes
    preprocessing: Preprocessing
    grid: MapGrid
    reduction: str
    float_tail: tuple[str, ...] = ()
    float_in_int8: tuple[str, ...] = ()
    matched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """A trained model on disk and in figures. folder: its run folder, from which `Family.graph` builds the graph.

    held_out: good pictures that neither training nor map quantiles saw, for the threshold.
    scores: raw fp32 scores of `held_out`, same order; scored_by: what computed them, such as "torch".
    run: see `TrainingPlan`. steps, training_s: of the training with all resumes, the latter in seconds. pictures: how
    many it learnt from. history: (step, {loss name: value}). facts: what else of it the provenance should keep, by the
    family's own names.
    """

    folder: Path
    options: TrainOptions
    held_out: tuple[Picture, ...]
    scores: tuple[float, ...]
    scored_by: str
    run: str
    steps: int
    training_s: float
    pictures: int
    history: tuple[tuple[int, Mapping[str, float]], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """For provenance and page: the figures that every family has, then the family's own."""
        every = {"run": self.run, "steps": self.steps, "training_s": self.training_s, "pictures": self.pictures}
        return {**every, **self.facts}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What a training will do, its files and sizes looked at. steps, time_budget_s: whichever comes first ends it.

    run: digest of what is learnt from what (pictures, options, weights); whatever goes on from it has the same, and so
    has `Trained.run`. kept_step: of the checkpoint that it goes on from, None = there is none. finished: that
    checkpoint is at the end, and nothing will be trained.
    """

    run: str
    steps: int | None
    time_budget_s: float | None
    kept_step: int | None = None
    finished: bool = False


class Family(Protocol):
    """The named steps. Each is a function of its arguments alone; state lives in the run folder."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str:
        """The family's name as people write it, such as "EfficientAD"."""

    @property
    def task(self) -> str: ...
    @property
    def demo_pictures(self) -> DemoPictures: ...
    def completed(self, options: TrainOptions) -> TrainOptions:
        """`options` with the size's own width and height where they were left open. BadUsage for an unknown size."""

    def planned(self, data: PictureSet, options: TrainOptions, *, folder: Path) -> TrainingPlan:
        """What `train` would do with the same arguments. Within a second, and whatever is wrong with them is raised
        here: a size that can't be, a weights file or a folder that isn't there, a checkpoint of another run."""

    def train(self, data: PictureSet, options: TrainOptions, *, folder: Path, progress: Progress) -> Trained:
        """Trains, or goes on from the checkpoint that `folder` holds for the same data and options."""

    def graph(self, trained: Trained) -> FloatGraph:
        """The merged graph, exact against the training model."""

    def calibration(self, data: PictureSet, trained: Trained, *, count: int) -> CalibrationFeeds:
        """Good training pictures, foreign pictures and synthetic damage, prepared: never test pictures."""


class CalibrationFeeds(Protocol):
    """Feeds for one graph, as often as asked: iterating twice gives the same arrays."""

    def __len__(self) -> int: ...
    def __iter__(self) -> FeedIterator: ...


class FeedIterator(Protocol):
    def __next__(self) -> Mapping[str, Array]: ...
    def __iter__(self) -> FeedIterator: ...
