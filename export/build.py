"""From data to a bundle: plan, train, graphs, quantize per role, site records, evaluate, pack.

Knows no family's and no task's insides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from edge_sdk import atomic, locks, tasks
from edge_sdk.bundle.signing import SigningKey, TrustPolicy
from edge_sdk.bundle.store import Bundle
from edge_sdk.calibration import AccuracyBound, Quantized
from edge_sdk.counted import counted
from edge_sdk.decision.record import Record
from edge_sdk.errors import BadInput, BadUsage, Stopped
from edge_sdk.export import calibrating
from edge_sdk.export.family import Exported, Family, FamilyOptions, SamplesOf, Trained, TrainingPlan
from edge_sdk.export.pack import Parts, pack, provenance, setup_of
from edge_sdk.export.tasks import export_task
from edge_sdk.export.tasks.base import Built, Checked, Evaluation, ExportTask, Made
from edge_sdk.export.training import launch
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes.probe import default_threads
from edge_sdk.shown import shown

CALIBRATION_SAMPLES = 64
"""Per role, unless the user says otherwise."""
RECORDS, TRAINING, RUN = "records", "training", "run"
"""In `Manifest.extra`: how many site records the bundle was packed with; `Trained.summary()`, and in it `Trained.run`.
"""
MAX_NAME = 255
"""Of a bundle, in characters: a file system's limit, since the name is the file's unless one is given."""
WORK = "training"
"""What one process at a time does in a run folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Options of one bundle. evaluate: measure quality. overwrite: overwrite `out` unconditionally. bound: how much an
    int8 graph may lose, of each role. force: accept int8 graphs with a large error. samples: of the calibration of each
    role, about so many."""

    name: str
    out: Path
    key: SigningKey | None = None
    licence: str = ""
    evaluate: bool = True
    overwrite: bool = False
    bound: AccuracyBound | None = None
    force: bool = False
    samples: int = CALIBRATION_SAMPLES

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > MAX_NAME or shown(self.name) != self.name:
            raise BadUsage(
                f"the name {shown(self.name)[:40]!r} of the bundle is empty, longer than {MAX_NAME} characters, or not "
                "plain text",
                hint='Name it for people, such as "Line 3"',
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BuildPlan:
    """A build whose inputs have all been checked, as `plan` returns it.

    task_options: of the export part of the family's task, which read `data`. checked: what it found in the data.
    replaces: a bundle of this run exists at `wanted.out` and will be replaced.
    """

    family: Family
    task: ExportTask
    data: Any
    options: FamilyOptions
    task_options: Any
    wanted: BuildOptions
    folder: Path
    checked: Checked
    training: TrainingPlan
    replaces: bool

    @property
    def threads(self) -> int:
        """Threads of training, calibration and evaluation."""
        return self.options.threads or default_threads()


StageCallback: TypeAlias = Callable[[str], None]
"""on_stage(name): called at the end of a long step, for instance to time it."""


def _no_stage(name: str) -> None:
    """Do nothing: the default callback."""


def plan(
    family: Family, data: Any, options: FamilyOptions, task_options: Any, wanted: BuildOptions, *, folder: Path
) -> BuildPlan:
    """Check everything that `make` needs, with `folder` as run folder, and write nothing. Raises for whatever would
    stop `make` later: sizes, files, folders, data that don't support a request, a bundle that would be lost."""
    for needed in (folder, wanted.out.parent):
        atomic.folder(next(p for p in (needed, *needed.absolute().parents) if p.exists()))
    here = launch.found()
    if here.rank == 0 and (folder / f"{WORK}.lock").exists():  # the first of several processes holds it for all
        with _exclusive(folder):
            pass
    if wanted.key is not None:
        _ = wanted.key.public  # needs a package that nothing else here needs
    task = export_task(family.task)
    checked = task.check(data, task_options)
    training = family.plan(data, options, folder=folder)
    if here.size != training.processes:
        raise BadUsage(
            f"this training takes {counted(training.processes, 'process')}, and {here.size} were started",
            hint="Start edge-sdk without torchrun",
        )
    return BuildPlan(
        family=family, task=task, data=data, options=options, task_options=task_options, wanted=wanted, folder=folder,
        checked=checked, training=training, replaces=_replaces(wanted, training.run),
    )  # fmt: skip


def make(planned: BuildPlan, *, progress: Progress = silent, on_stage: StageCallback = _no_stage) -> Built:
    """Train, or resume from the checkpoint in the run folder, and build the bundle: the steps of `train` and `demo`.

    Raises Stopped on Ctrl-C, and BadUsage while another process works in the run folder.
    """
    folder = planned.folder
    for needed in (folder, planned.wanted.out.parent):
        atomic.folder(needed)
    with _exclusive(folder):
        try:
            trained = planned.family.train(
                planned.data, planned.options, planned=planned.training, folder=folder, progress=progress
            )
            on_stage("training")
            _replaces(planned.wanted, planned.training.run)  # a record may have been appended meanwhile
            built = build(
                planned.family, planned.data, trained, planned.task_options, planned.wanted, progress=progress
            )
        except KeyboardInterrupt as exc:
            raise Stopped(
                "stopped while building the bundle; the trained model is kept", where=str(folder),
                hint="Give the same command again: it resumes after the training",
            ) from exc  # fmt: skip
        on_stage("export, int8, quality")
    return built


def follow(planned: BuildPlan) -> None:
    """Take part in the training of `planned`, as one of several processes that is not the first: that one has the lock,
    shows progress, and builds the bundle when this one has ended."""
    atomic.folder(planned.folder)
    planned.family.train(
        planned.data, planned.options, planned=planned.training, folder=planned.folder, progress=silent
    )


def build(
    family: Family, data: Any, trained: Trained, task_options: Any, options: BuildOptions, *,
    may_replace: Callable[[], None] | None = None, progress: Progress = silent,
) -> Built:  # fmt: skip
    """Export and quantize the graphs, make site records, evaluate every variant on every runtime here, and pack.

    may_replace: as of `pack`; None = `unless_changed` from now on.
    """
    may_replace = may_replace or unless_changed(options)
    task = export_task(family.task)
    threads = trained.options.threads or default_threads()
    progress(0, 0, "exporting the graphs")
    exported = family.graphs(trained)
    # Before minutes of calibration: what the task does not take, it would not take from the packer either.
    setup_of(exported, tasks.task(family.task), family=family.name, where=str(options.out))
    task.check_exported(exported, task_options)
    samples_of = family.samples(data, trained, exported, options.samples)
    task.check_answers(exported, lambda role: next(iter(samples_of(role))))
    made = Made(
        family=family, data=data, options=task_options, trained=trained, exported=exported, threads=threads,
        quantized=quantized(
            exported, samples_of, threads, bound=options.bound, force=options.force, progress=progress
        ),
        evaluate=options.evaluate,
    )  # fmt: skip
    records = task.decide(made, progress=progress)
    evaluation = task.evaluate(made, records, progress=progress)
    refused = task.refused(evaluation)
    made = _without(made, refused)
    sources = task.sources(data, trained)
    parts = Parts(
        name=options.name, family=family.name, task=family.task, exported=exported, quantized=made.quantized,
        golden=task.golden(made), tolerances=task.tolerances, records=records, report=report(made, evaluation),
        provenance=provenance(
            data_digest=sources.digest, samples=sources.samples, seed=trained.options.seed, licence=options.licence,
            notes=sources.notes,
        ),
        extra={TRAINING: trained.summary(), RECORDS: len(records)},
    )  # fmt: skip
    pack(parts, options.out, key=options.key, threads=threads, may_replace=may_replace, progress=progress).close()
    return Built(path=options.out, made=made, records=_in_file(options.out), evaluation=evaluation, refused=refused)


def _without(made: Made, refused: Mapping[str, str]) -> Made:
    """Without the variants that the task refuses."""
    kept = {
        role: replace(one, variants=tuple(variant for variant in one.variants if variant.variant not in refused))
        for role, one in made.quantized.items()
    }
    return replace(made, quantized=kept)


def quantized(
    exported: Exported, samples_of: SamplesOf, threads: int, *, bound: AccuracyBound | None = None,
    force: bool = False, progress: Progress = silent,
) -> Mapping[str, Quantized]:  # fmt: skip
    """Quantize the float graph of each role on its calibration samples. Raises BadUsage for a metric of more than one
    graph: nothing says how the graphs of a metric's model are put together."""
    if bound is not None and bound.metric is not None and len(exported.graphs) > 1:
        raise BadUsage(
            f"the metric {bound.name} is of one graph, and there are {len(exported.graphs)}",
            hint="Bound the difference of the outputs instead, such as --max-drop 2%",
        )
    out = {}
    for role, graph in exported.graphs.items():
        out[role] = calibrating.quantized(
            graph, samples_of(role), bound=bound, threads=threads, force=force, samples_of=samples_of,
            progress=progress,
        )  # fmt: skip
    return out


def report(made: Made, evaluation: Evaluation) -> dict[str, Any]:
    """What the bundle's own report.json holds; calibration by role."""
    return {
        "schema": "edge-sdk.report/2", **evaluation.to_json(),
        "calibration": {role: msgspec.to_builtins(one.report) for role, one in made.quantized.items()},
        "history": [{"step": step, **values} for step, values in made.trained.history],
    }  # fmt: skip


def _exclusive(folder: Path) -> AbstractContextManager[None]:
    return locks.exclusive(folder, what=WORK, hint="Wait until it is done, end it, or name another folder with --run")


def _replaces(wanted: BuildOptions, run: str) -> bool:
    """Whether a bundle of this run exists at `wanted.out`. Raises BadUsage for anything else, which would be lost."""
    out = wanted.out
    if out.is_dir():
        raise BadUsage("this is a folder", where=str(out), hint="Name a file ending in .edge with --out")
    if wanted.overwrite or not out.exists():
        return False
    hint = "Name another file with --out, or give --overwrite to lose it"
    try:
        with Bundle.open(out, trust=TrustPolicy(mode="off"), lazy=True) as old:
            kinds = tasks.task(old.manifest.task).records
            later, made_by = old.records(kinds)[_packed(old) :], run_of(old)
    except BadInput as exc:
        raise BadUsage("the file exists and is not a readable bundle", where=str(out), hint=hint) from exc
    if later:
        raise BadUsage(
            f"this bundle got {counted(len(later), 'record')} on site after it was packed, the last at "
            f"{later[-1].created_utc or 'an unknown time'} ({later[-1].summary()}); replacing it would lose them",
            where=str(out), hint=hint,
        )  # fmt: skip
    if made_by != run:
        raise BadUsage("this bundle was made from other data, options or weights", where=str(out), hint=hint)
    return True


def unless_changed(wanted: BuildOptions) -> Callable[[], None]:
    """A check for the end of a build, minutes later: raises BadUsage if something else is at `wanted.out` than now, and
    --overwrite was not given. Another build, or a record appended on site, would be lost without a word."""
    before = _file_at(wanted.out)

    def check() -> None:
        if not wanted.overwrite and _file_at(wanted.out) not in (None, before):
            raise BadUsage(
                "this file was written while the bundle was being built, and is kept", where=str(wanted.out),
                hint="Nothing was written. Name another file with --out, or give --overwrite to lose it",
            )  # fmt: skip

    return check


def _file_at(path: Path) -> tuple[int, int, int] | None:
    """What tells one file at `path` from another, None = there is none. Every write renames a new file, so the inode
    differs even if size and time do not."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def run_of(bundle: Bundle) -> str:
    """`Trained.run` of the training that a bundle was made of; "" where it was not made by `build`."""
    training = bundle.manifest.extra.get(TRAINING)
    run = training.get(RUN) if isinstance(training, dict) else None
    return run if isinstance(run, str) else ""


def _packed(bundle: Bundle) -> int:
    """How many of its records a bundle was packed with; the others were appended on site."""
    count = bundle.manifest.extra.get(RECORDS, 0)
    return count if isinstance(count, int) else 0


def _in_file(path: Path) -> tuple[Record, ...]:
    """The records as stored in the file, with their digests."""
    with Bundle.open(path) as bundle:
        return bundle.records(tasks.task(bundle.manifest.task).records)
