"""What exporting a task adds to a family: data, golden samples, site records, evaluation, report. Knows no family.

A task's export part is a folder beside this file and a line in `export/tasks/__init__.py`; one of another package is an
entry point of the group `edge_sdk.export_tasks`, a callable without arguments that makes an `ExportTask`. A task that
has none is exported by `ExportTask` as it stands: nothing is decided and nothing evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from edge_sdk.bundle.manifest import Preprocessing, Tolerance
from edge_sdk.calibration import Quantized, Variant
from edge_sdk.decision.record import Record
from edge_sdk.errors import BadUsage
from edge_sdk.export.family import Exported, Family, Trained
from edge_sdk.export.option import TaskOptions
from edge_sdk.export.sections import Card, Section, Table
from edge_sdk.progress import Progress, silent
from edge_sdk.tasks.base import MODEL
from edge_sdk.tensors import Array
from edge_sdk.verify import VerifyReport

ANY_OUTPUT = "*"
"""The outputs that `tolerances` does not name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a task must know to read its data, besides its own options. seed: of how the data are divided.

    preprocessing: how the family will prepare pictures, where that is known. scratch: a folder, which need not be there
    yet, near which what is too large for memory may be written; nothing stays there. progress: for long reads.
    """

    seed: int = 0
    preprocessing: Preprocessing | None = None
    scratch: Path | None = None
    progress: Progress = silent


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a task found in its data before anything is trained. rows: (name, text) for the plan that a person reads;
    facts: the same for JSON; left_out: what does not count, and why, a line each; notes: what to know of the rest."""

    rows: tuple[tuple[str, str], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What the provenance says of the data. digest: of the data trained on, whatever folder they lie in. samples: how
    many. notes: what else belongs there, by name."""

    digest: str = ""
    samples: int = 0
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Golden:
    """One golden sample to be packed. source: what a user would give, in the stored form that `Task.feeds` takes."""

    source: Mapping[str, Array]
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Made:
    """A trained model and all its graphs, before anything is decided or evaluated. options: the task's own.

    quantized: by role. threads: of everything that runs. evaluate: whether quality was asked for.
    """

    family: Family
    data: Any
    options: Any
    trained: Any
    exported: Exported
    quantized: Mapping[str, Quantized]
    threads: int
    evaluate: bool = True

    def variants(self, role: str = MODEL) -> tuple[Variant, ...]:
        """All graphs of a role, fp32 first."""
        return (float_variant(self.exported.graphs[role].onnx), *self.quantized[role].variants)


def float_variant(onnx: bytes) -> Variant:
    """A float graph as the variant "fp32"."""
    return Variant(variant="fp32", layout="plain", graph=onnx, int8_convolutions=0)


@runtime_checkable
class Evaluation(Protocol):
    """What a task measured. It goes into report.json of the bundle and of the report page as it is."""

    def to_json(self) -> dict[str, Any]:
        """Plain values: members of one JSON object."""

    def lines(self) -> Sequence[str | Table]:
        """Lines and tables for a terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotEvaluated:
    """The evaluation of a task that has none."""

    why: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"unjudged": self.why} if self.why else {}

    def lines(self) -> Sequence[str | Table]:
        return (f"quality was not measured: {self.why}",) if self.why else ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Built:
    """A bundle and what was measured while it was made. records: as they stand in the file."""

    path: Path
    made: Made
    records: tuple[Record, ...]
    evaluation: Any

    @property
    def trained(self) -> Trained:
        trained: Trained = self.made.trained
        return trained


@runtime_checkable
class OffersGolden(Protocol):
    """A family that names golden samples itself: needed where the task's export part does not."""

    def golden(self, data: Any, trained: Any) -> Sequence[Golden]:
        """Two or more sources in the form that `Task.feeds` takes, different from each other."""


TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(absolute=1e-6, relative=1e-4),
    "fp16": Tolerance(absolute=1e-3, relative=2e-2),
    "int8": Tolerance(absolute=1e-6, relative=0.1),
    "int8-w7": Tolerance(absolute=1e-6, relative=0.1),
}
"""How far a runtime may be from ONNX semantics to the letter, by variant; relative to the largest golden value. int8:
kernels break ties of a rounding their own way, and a network carries each step on: up to 10 % in a single value of any
graph's output (docs/results/random_graphs.json). A task whose outputs are calmer states less."""


class ExportTask:
    """The export part of one task. Every step has a default that decides nothing and evaluates nothing.

    name: of the task, as manifests write it. options: whose fields made by `option` become options of `edge-sdk train
    FAMILY`, beside the family's own; it lives in a light module, as a family's does.
    """

    name: ClassVar[str] = ""
    options: ClassVar[type[TaskOptions]] = TaskOptions

    def read(self, path: Path | None, options: Any, how: Reading) -> Any:
        """The data at `path`, divided once by what they are for. Every file is decoded once, here or later through what
        this answers. Raises BadInput, BadUsage. Default: the path itself, for families that read it their own way."""
        return path

    def check(self, data: Any, options: Any) -> Checked:
        """Looks at everything that would stop the build after the training. Raises BadInput, BadUsage, BoundNotMet."""
        return Checked()

    def sources(self, data: Any, trained: Any) -> Sources:
        """For the provenance."""
        return Sources(samples=trained.samples)

    def golden(self, made: Made) -> Sequence[Golden]:
        """Two or more golden samples. Default: what the family offers. Raises BadUsage where it offers none."""
        if isinstance(made.family, OffersGolden):
            return made.family.golden(made.data, made.trained)
        raise BadUsage(
            f"neither the task {made.family.task} nor the family {made.family.name} names golden samples",
            hint="Give the family a method golden(data, trained), or the task an ExportTask of its own",
        )

    def tolerances(self, role: str, variant: str) -> Mapping[str, Tolerance]:
        """How far a runtime may be from golden answers, by output, ANY_OUTPUT = all others."""
        return {ANY_OUTPUT: TOLERANCES[variant]}

    def decide(self, made: Made, *, progress: Progress = silent) -> tuple[Record, ...]:
        """The site records that the bundle is packed with, oldest first."""
        return ()

    def evaluate(self, made: Made, records: Sequence[Record], *, progress: Progress = silent) -> Evaluation:
        """What the graphs do on data that training never saw. Never raises for data that went away since."""
        return NotEvaluated()

    def lines(self, built: Built) -> Sequence[str]:
        """What a person should read of a bundle just made: the records, what to look at, warnings."""
        return ()

    def facts(self, built: Built) -> Mapping[str, Any]:
        """What JSON says beside the evaluation."""
        return {}

    def next_steps(self, bundle: str) -> Sequence[str]:
        """Commands to go on with, after `edge-sdk verify`. bundle: quoted for a shell."""
        return ()

    def headline(self, built: Built) -> str:
        """One sentence of what it does, for the end of a demo; "" = nothing was evaluated."""
        return ""

    def cards(self, built: Built) -> Sequence[Card]:
        """Headline metrics for the report page."""
        return ()

    def sections(self, built: Built, verified: VerifyReport) -> Sequence[Section]:
        """Sections for the report page, above those on speed, verification and calibration."""
        return ()
