"""What exporting a task adds to a family: data, golden samples, site records, evaluation, report. Knows no family.

A task's export part is a folder beside this file and a line in `export/tasks/__init__.py`; another package adds one as
an entry point of the group `edge_sdk.export_tasks`, a callable without arguments that returns an `ExportTask`. A task
without an export part is exported by `ExportTask` itself, which makes no site records and evaluates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from edge_sdk.runtimes.variants import KINDS
from edge_sdk.tasks.base import MODEL
from edge_sdk.tensors import Array
from edge_sdk.verify import VerifyReport

ANY_OUTPUT = "*"
"""The outputs that `tolerances` does not name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a task needs to read its data, besides its own options. seed: for splitting the data.

    preprocessing: how the family will prepare pictures, None = unknown or no pictures. scratch: what is too large for
    memory may be written near this folder, which need not exist; nothing stays there. progress: for long reads.
    """

    seed: int = 0
    preprocessing: Preprocessing | None = None
    scratch: Path | None = None
    progress: Progress = silent


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a task found in its data before anything is trained. rows: (name, text) for the printed plan; facts: the
    same for JSON; left_out: a line for whatever is not used, with the reason; notes: remarks on the rest."""

    rows: tuple[tuple[str, str], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What the provenance says about the data. digest: of the training data, independent of their folder; "" = none,
    and where there were data, a note says why. samples: how many there are. notes: further entries, by name."""

    digest: str = ""
    samples: int = 0
    notes: Mapping[str, str] = field(default_factory=dict)


NO_DIGEST = "data_digest"
"""Name of the note where `Sources.digest` is "" though there were data."""


@runtime_checkable
class HasDigest(Protocol):
    """Data whose digest goes into the provenance without an export part of the task's own."""

    @property
    def digest(self) -> str:
        """Of their contents, in hex, independent of their folder."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Golden:
    """One golden sample to be packed. source: what a user would give, as arrays in the form that `Task.feeds` takes.
    spare: packed only in place of another one, see `golden_choice`.
    """

    source: Mapping[str, Array]
    label: str = ""
    spare: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Made:
    """A trained model and all its graphs, before site records and evaluation. options: the task's own.

    quantized: by role. threads: for everything that runs. evaluate: whether to measure quality.
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
        made = self.quantized.get(role)
        return (float_variant(self.exported.graphs[role].onnx), *(made.variants if made is not None else ()))


def float_variant(onnx: bytes) -> Variant:
    """A float graph as the variant "fp32"."""
    return Variant(variant="fp32", layout="plain", graph=onnx, int8_convolutions=0)


@runtime_checkable
class Evaluation(Protocol):
    """What a task measured. Both report.json files, in the bundle and beside the report page, contain it."""

    def to_json(self) -> dict[str, Any]:
        """Plain values: members of one JSON object."""

    def lines(self) -> Sequence[str | Table]:
        """Lines and tables for a terminal."""


NOT_EVALUATED = "not_evaluated"
"""Key of an evaluation's JSON: why there are no metrics, or not all of them; "" or no such key = all are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotEvaluated:
    """The evaluation of a task that has none."""

    why: str = ""

    def to_json(self) -> dict[str, Any]:
        return {NOT_EVALUATED: self.why} if self.why else {}

    def lines(self) -> Sequence[str | Table]:
        return (f"quality was not measured: {self.why}",) if self.why else ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Built:
    """A bundle and what was measured while it was made. records: as stored in the file. refused: variants that are not
    in it, and why."""

    path: Path
    made: Made
    records: tuple[Record, ...]
    evaluation: Any
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def trained(self) -> Trained:
        trained: Trained = self.made.trained
        return trained


@runtime_checkable
class OffersGolden(Protocol):
    """A family that provides golden samples: needed if the task's export part does not."""

    def golden(self, data: Any, trained: Any) -> Sequence[Golden]:
        """Two or more sources in the form that `Task.feeds` takes; at least two of them differ."""


TOLERANCES: Mapping[str, Tolerance] = {
    kind.name: Tolerance(absolute=kind.absolute, relative=kind.relative, distance=kind.distance)
    for kind in KINDS.values()
}
"""How far a runtime may be from the ONNX standard's result, by variant; relative to the largest golden value. A task
whose outputs vary less than those of any graph states less."""


class ExportTask:
    """The export part of one task. The defaults make no site records and evaluate nothing.

    name: of the task, as in manifests. title: what it does, for the head of a page; "" = nothing to say. options: a
    dataclass whose fields made by `option` become options of `edge-sdk train FAMILY`, beside the family's own. Define
    it in a module with light imports, as a family does.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    options: ClassVar[type[TaskOptions]] = TaskOptions

    def read(self, path: Path | None, options: Any, how: Reading) -> Any:
        """Read the data at `path` and split them once by purpose. Every file is decoded once, here or later through the
        returned object. Raises BadInput, BadUsage. Default: the path itself, for families that read it themselves."""
        return path

    def check(self, data: Any, options: Any) -> Checked:
        """Check everything that would stop the build after the training. Raises BadInput, BadUsage, BoundNotMet."""
        return Checked()

    def check_exported(self, exported: Exported, options: Any) -> None:
        """Check what only the model's settings can tell, before minutes of calibration. Raises BadInput, BadUsage."""

    def check_answers(self, exported: Exported, first: Callable[[str], Mapping[str, Array]]) -> tuple[str, ...]:
        """Check what a float graph answers to one sample, before minutes of calibration; warnings.

        first: by role, the feeds of its first sample; reads it when it is called. Raises BadInput, BadUsage.
        """
        return ()

    def sources(self, data: Any, trained: Any) -> Sources:
        """For the provenance. Default: the digest that the data have, or a note that they have none."""
        if isinstance(data, HasDigest):
            return Sources(digest=data.digest, samples=trained.samples)
        notes = {} if data is None else {NO_DIGEST: "the data have no digest: nothing says what was learned from"}
        return Sources(samples=trained.samples, notes=notes)

    def golden(self, made: Made) -> Sequence[Golden]:
        """Two or more golden samples, at least two of which differ. Default: the family's. Raises BadUsage if it has
        none."""
        if isinstance(made.family, OffersGolden):
            return made.family.golden(made.data, made.trained)
        raise BadUsage(
            f"neither the task {made.family.task} nor the family {made.family.name} provides golden samples",
            hint="Add a method golden(data, trained) to the family, or an ExportTask with golden(made) to the task",
        )

    def tolerances(self, role: str, variant: str) -> Mapping[str, Tolerance]:
        """Allowed difference from the golden answers, by output; ANY_OUTPUT = all others."""
        return {ANY_OUTPUT: TOLERANCES[variant]}

    def decide(self, made: Made, *, progress: Progress = silent) -> tuple[Record, ...]:
        """The site records that the bundle is packed with, oldest first."""
        return ()

    def evaluate(self, made: Made, records: Sequence[Record], *, progress: Progress = silent) -> Evaluation:
        """Measure the graphs on data that training never saw. Must not raise if such data have been removed since."""
        return NotEvaluated()

    def refused(self, evaluation: Any) -> Mapping[str, str]:
        """Variants that are not packed, whatever `--force` says, and why: by name. fp32 is packed in any case."""
        return {}

    def lines(self, built: Built) -> Sequence[str]:
        """What to print about a new bundle: its records, what to check, warnings."""
        return ()

    def facts(self, built: Built) -> Mapping[str, Any]:
        """Entries of the JSON output beside the evaluation."""
        return {}

    def next_steps(self, bundle: str) -> Sequence[str]:
        """Commands to suggest after `edge-sdk verify`. bundle: quoted for a shell."""
        return ()

    def headline(self, built: Built) -> str:
        """The quality in one sentence, for the end of a demo; "" = nothing was evaluated."""
        return ""

    def cards(self, built: Built) -> Sequence[Card]:
        """Headline metrics for the report page."""
        return ()

    def sections(self, built: Built, verified: VerifyReport) -> Sequence[Section]:
        """Sections of the report page, above speed, verification and calibration. May run the bundle, once."""
        return ()
