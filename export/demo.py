"""The demo: every step of the product on data that ship with a family, and a report page. Needs no network."""

from __future__ import annotations

import platform
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from edge_sdk import atomic, locks
from edge_sdk.counted import counted
from edge_sdk.errors import BadUsage
from edge_sdk.export import build as builder
from edge_sdk.export import report, speeds
from edge_sdk.export.family import Family
from edge_sdk.export.tasks import export_task
from edge_sdk.export.tasks.base import Reading
from edge_sdk.progress import Progress
from edge_sdk.runtimes import probe
from edge_sdk.verify import verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Result of a demo. evaluation: as in report.json; headline: its summary, "" = nothing was evaluated. seconds: by
    stage.

    cut_short: a warning if the time budget ended before the steps were done, else "". family, data: name of the family
    and of its data argument, for the next command. next_steps: commands for the bundle itself, where it is worth using
    beyond the demo.
    """

    family: str
    data: str
    bundle: str
    page: str
    headline: str
    evaluation: Mapping[str, Any]
    verified: bool
    seconds: Mapping[str, float]
    cut_short: str = ""
    next_steps: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON object."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def text(self) -> str:
        """Summary for the terminal; its last line is the command for the user's own data."""
        steps = ", ".join(f"{name} {s:.0f} s" for name, s in self.seconds.items())
        return "\n".join([
            self.headline or "quality was not measured: the report says why",
            f"{'verified' if self.verified else 'NOT VERIFIED'} on every runtime here ({steps})",
            f"bundle  {self.bundle}",
            f"report  {self.page}  <- open this in a browser",
            *([self.cut_short] if self.cut_short else []),
            *(f"Use it: {step}" for step in self.next_steps),
            f"Your own: edge-sdk train {self.family} {self.data} --out mine.edge --time-budget 10min",
        ])  # fmt: skip


TRAINING = "training"
STAGES = (TRAINING, "export, int8, quality", "verify", "profile", "report")
"""As `on_stage` names them, in order. A demo that does not train has no stage `TRAINING`."""
TIME_BUDGET_S = 300.0
"""Of the training steps, unless the user says otherwise."""


class _Staged:
    """Progress with the number of the stage before each note: the time left of a step says nothing of those behind it.
    Knows how long each stage took. stages: those to come, in order."""

    def __init__(self, progress: Progress, stages: Sequence[str]) -> None:
        self.seconds: dict[str, float] = {}
        self._progress, self._stages, self._began = progress, stages, time.monotonic()

    def __call__(self, done: int, total: int, note: str, /) -> None:
        count = len(self._stages)
        self._progress(done, total, f"stage {min(len(self.seconds) + 1, count)} of {count}: {note}")

    def on_stage(self, name: str) -> None:
        """A stage has ended. One that is not to be shown counts to the next."""
        if name in self._stages:
            now = time.monotonic()
            self.seconds[name], self._began = now - self._began, now


def demo(
    out: Path, family: Family, *, time_budget_s: float | None = None, seed: int, timed: Sequence[str] | None = None,
    progress: Progress,
) -> Shown:  # fmt: skip
    """Train on the family's own data, or take the weights that ship; pack, evaluate, verify and profile:
    `out`/demo.edge and `out`/report.html.

    time_budget_s: of the training steps alone, None = TIME_BUDGET_S; what comes before and after them takes its own
    time. timed: variants whose latency is measured, some five seconds each; None = `speeds.worth_timing`. Raises
    BadUsage for a family without data, and for a time budget where nothing is trained.
    """
    brought = family.demo
    if brought is None:
        raise BadUsage(f"the family {family.name} ships no data to show", hint=f"edge-sdk train {family.name} --help")
    if time_budget_s is not None and not brought.trains:
        raise BadUsage(f"the demo of {family.name} trains nothing", hint="Leave --time-budget out")
    if out.exists() and not out.is_dir():
        raise BadUsage(f"--out {out} is a file", hint="Name a folder")
    atomic.folder(out)
    staged = _Staged(progress, STAGES if brought.trains else [one for one in STAGES if one != TRAINING])
    run = out / "run"
    if run.exists():  # a demo starts from nothing; `train` is what resumes
        hint = "Wait until it is done, end it, or name another folder with --out"
        with locks.exclusive(run, what=builder.WORK, hint=hint):
            pass
        shutil.rmtree(run)
    task = export_task(family.task)
    with resources.as_file(brought.folder) as folder:
        options = replace(brought.options, seed=seed)
        if brought.trains:
            options = replace(options, time_budget_s=TIME_BUDGET_S if time_budget_s is None else time_budget_s)
        how = Reading(seed=seed, preprocessing=options.preprocessing(), scratch=run, progress=staged)
        data = task.read(folder, brought.task_options, how)
        wanted = builder.BuildOptions(
            name=brought.name, out=out / "demo.edge", licence=brought.credit, overwrite=True,
            samples=brought.calibration_samples or builder.CALIBRATION_SAMPLES,
        )  # fmt: skip
        planned = builder.plan(family, data, options, brought.task_options, wanted, folder=run)
        built = builder.make(planned, progress=staged, on_stage=staged.on_stage)
        verified = verify(built.path, progress=staged)
        staged.on_stage("verify")
        keys = speeds.timed(verified, speeds.worth_timing() if timed is None else timed)
        taken = speeds.measured(built.path, keys, progress=staged)
        measured = report.measured(built, speeds=taken, verified=verified, machine=machine())
        staged.on_stage("profile")
        page = out / "report.html"
        report.write(page, built, measured)
        staged.on_stage("report")
    return Shown(
        family=family.name, data=task.options.data_name, bundle=str(built.path), page=str(page),
        headline=task.headline(built), evaluation=built.evaluation.to_json(), verified=verified.passed,
        seconds=staged.seconds, cut_short=report.cut_short(built.trained),
        next_steps=() if brought.trains else tuple(task.next_steps(shlex.quote(str(built.path)))),
    )  # fmt: skip


def machine() -> dict[str, str]:
    """The machine behind the measurements, for the report."""
    cpu = probe.cpu()
    return {
        "cpu": f"{cpu.model or platform.processor() or 'unknown'} ({counted(len(cpu.affinity), 'logical core')} here)",
        "instruction set": cpu.isa, "threads": str(probe.default_threads()),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }  # fmt: skip
