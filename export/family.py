"""What a family of models must offer to become a bundle: named steps that the command line, build and demo drive.

Knows no task, no network and no runtime. A new family is a folder beside this file and a line in `registry.py`; one of
another package is an entry point of the group `edge_sdk.families`, a callable without arguments that makes a `Family`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.calibration.trials import ONE, Trials
from edge_sdk.errors import BadUsage
from edge_sdk.export import option as described
from edge_sdk.export.option import option
from edge_sdk.progress import Progress
from edge_sdk.tensors import Array

if TYPE_CHECKING:
    from importlib.abc import Traversable

    from edge_sdk.calibration.range_search import RangeSearch

DeviceWanted = Literal["auto", "cpu", "cuda"]
MAX_BATCH = 256
"""Rows of the batch axis "N" that a graph is exported for where its family states no other number."""


@dataclass(frozen=True, kw_only=True)
class FamilyOptions:
    """Options of one training that every family has; a family adds fields of its own in a subclass.

    A field made by `option` becomes an option of `edge-sdk train FAMILY`, and its default stands here and nowhere else.
    Define the subclass in a module that imports no training framework, so that `edge-sdk train FAMILY --help` is fast.
    steps and time_budget_s: of the training steps, whichever ends first; None = the family's own default. seed: of all
    random numbers. threads: None = the physical cores that this process may use. device: "auto" = a GPU if there is
    one. Raises BadUsage for a value that its field does not allow. export_help: what `edge-sdk export FAMILY --help`
    says, with an example; "" = that of trained weights.
    """

    export_help: ClassVar[str] = ""

    steps: int | None = option(
        None, kind="int", least=1, training=True, help="Number of training steps. Default: the family's own."
    )
    time_budget_s: float | None = option(
        None, kind="seconds", name="--time-budget", training=True,
        help="Time for the training steps, such as 10min; with --steps, whichever ends first. Default: the family's.",
    )  # fmt: skip
    seed: int = option(0, kind="int", least=0, most=2**32 - 1, help="Seed of all random numbers.")
    threads: int | None = option(
        None, kind="int", least=1, help="Number of threads. Default: one per available physical core."
    )
    device: DeviceWanted = option(
        "auto", choices=("auto", "cpu", "cuda"), training=True,
        help="Where to train: auto, cpu or cuda. auto: a GPU if there is one.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        described.check(self)

    def preprocessing(self) -> Preprocessing | None:
        """How a picture becomes the network's input, where the options alone tell it. None: not known before the
        training, or there are no pictures.

        Only a hint, so that each picture is prepared as it is read and decoded once: the device takes
        `Exported.preprocessing`. Where the two differ the result is right all the same, and pictures are decoded again.
        """
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Data that ship with a family, for `edge-sdk demo`. folder: in a layout that the family's task reads.

    name: of the bundle. licence: a sentence for the page that names the works, their authors and licences. changes:
    what was done to them, as licences such as CC BY require to be said, "" = nothing; the note in the folder says the
    same. about: what the demo does and how long it takes, for `--help`. options, task_options: of the family and of its
    task; the user sets seed and time budget. A demo may train a smaller model than the defaults would. trains: False
    where `options` take weights as they are, so that there is no training step and no time budget.
    calibration_samples: of each role, None = as many as in any build; fewer where somebody would wait minutes for a
    little less error.
    """

    folder: Traversable
    name: str
    licence: str
    options: FamilyOptions
    task_options: Any
    changes: str = ""
    about: str = ""
    trains: bool = True
    calibration_samples: int | None = None

    @property
    def credit(self) -> str:
        """Licence and changes, for page and bundle."""
        return f"{self.licence} Changes: {self.changes}." if self.changes else self.licence


class Samples(Protocol):
    """Feeds of one graph by input name, as often as asked: iterating again gives the same arrays."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Mapping[str, Array]]: ...


SamplesOf: TypeAlias = Callable[[str], Samples]
"""Calibration samples by role."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FloatGraph:
    """One float32 graph of a trained model.

    onnx: a serialized model, standard domain, inline weights; a free batch axis is called "N". keep_fp32: names of the
    nodes that stay float32 in every variant; keep_fp32_in_int8: those that stay float in the int8 variants;
    output_correction: nodes inside `keep_fp32` whose output's mean and spread the int8 variants get back by one gain
    and one shift each. axes: largest size of each free axis; "N": MAX_BATCH unless it is stated. variants: those to
    make besides fp32, () = fp32 alone, None = all that calibration makes. trials: what is tried for int8, of
    which the best is kept. range_search: makes a search of the family's own for the ranges, one more candidate; it is
    given `samples_of(role)`, the calibration samples of each role. measured: whether the task measures every variant
    and refuses those that fall apart, so that one which is far from the float graph is left out and ends no build.
    """

    onnx: bytes
    keep_fp32: tuple[str, ...] = ()
    keep_fp32_in_int8: tuple[str, ...] = ()
    output_correction: tuple[str, ...] = ()
    axes: Mapping[str, int] = field(default_factory=dict)
    variants: tuple[str, ...] | None = None
    trials: Trials = ONE
    range_search: Callable[[SamplesOf], RangeSearch] | None = None
    measured: bool = False

    def __post_init__(self) -> None:
        if self.variants is not None and "fp32" in self.variants:
            raise BadUsage("fp32 is in every bundle", hint="Name the variants to make besides it, () for none")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exported:
    """What a trained model becomes: its graphs by role, in the task's order, and what the task keeps in the manifest.

    settings: of the task's own type. preprocessing: None for tasks without pictures.
    """

    graphs: Mapping[str, FloatGraph]
    settings: msgspec.Struct
    preprocessing: Preprocessing | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A trained model: its files and the facts of its training.

    folder: its run folder, from which `Family.graphs` builds the graphs. run: see `TrainingPlan`. steps, training_s: of
    the training with all resumes, the latter in seconds. samples: how many it learned from. history: (step, {loss name:
    value}). facts: what else the provenance should keep, by the family's own names. A task may want a subclass with
    fields of its own.
    """

    folder: Path
    options: FamilyOptions
    run: str
    steps: int
    training_s: float
    samples: int
    history: tuple[tuple[int, Mapping[str, float]], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """For provenance and report: the facts that every family has, then the family's own."""
        every = {"run": self.run, "steps": self.steps, "training_s": self.training_s, "samples": self.samples}
        return {**every, **self.facts}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What a training will do, its files and sizes looked at. steps, time_budget_s: whichever comes first ends it.

    run: digest of what is learned from what (data, options, weights; not the device); whatever resumes it has the same,
    and so has `Trained.run`. kept_step: of the checkpoint that is resumed, None = there is none. finished: that
    checkpoint is at the end, and nothing will be trained. processes: that train it together, see `training.launch`;
    a family that trains in one process leaves it at 1. trains: False where there is no training at all and the weights
    are exported as they are; such a plan is `finished`, too. after: long steps of the family's own between the training
    and the quantization, as phrases. rows: (name, text) of the network for a person; facts: the same for JSON, by the
    family's own names.
    """

    run: str
    steps: int | None = None
    time_budget_s: float | None = None
    kept_step: int | None = None
    finished: bool = False
    trains: bool = True
    processes: int = 1
    after: tuple[str, ...] = ()
    rows: tuple[tuple[str, str], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Family(Protocol):
    """The steps from data to graphs. Each depends on its arguments alone; state lives in the run folder.

    data: what `ExportTask.read` of the family's task returned. options: an instance of `options`.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str:
        """The family's name as people write it, such as "EfficientAD"."""

    @property
    def task(self) -> str:
        """Name of the task whose bundles it makes (`edge_sdk.tasks`)."""

    @property
    def options(self) -> type[FamilyOptions]: ...
    @property
    def demo(self) -> Demo | None:
        """Data that ship with it, None = there are none."""

    def plan(self, data: Any, options: Any, *, folder: Path) -> TrainingPlan:
        """What `train` would do with the same arguments, found out within a second. Raises for whatever is wrong with
        them: an impossible size, a missing weights file, folder or device, a checkpoint of another run."""

    def train(self, data: Any, options: Any, *, planned: TrainingPlan, folder: Path, progress: Progress) -> Trained:
        """Train, or resume from the checkpoint that `folder` holds for the same data and options. planned: what `plan`
        returned for the same arguments, so that nothing is computed twice; a family may return a subclass of its own.
        """

    def graphs(self, trained: Any) -> Exported:
        """The float graphs by role, exact against the trained model."""

    def samples(self, data: Any, trained: Any, exported: Exported, count: int) -> SamplesOf:
        """About `count` calibration samples by role: never test data. exported: what `graphs` returned, for roles whose
        samples are what the graphs before them answer; what roles share is made once."""
