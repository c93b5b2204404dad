"""The demo: every step of the product on real pictures that ship, and a page that shows it. Offline."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from edge_sdk import atomic, locks
from edge_sdk.errors import BadUsage
from edge_sdk.export import build as builder
from edge_sdk.export import report, speeds
from edge_sdk.export.family import Family, Trained, TrainOptions
from edge_sdk.export.figures import Figures
from edge_sdk.export.pictures import read_pictures
from edge_sdk.progress import Progress
from edge_sdk.runtimes import probe
from edge_sdk.verify import verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the demo made. figures: of fp32, by picture; None where nothing could be judged. seconds: by lap.

    cut_short: what to say where the time was used up before the steps were done, else "".
    """

    bundle: str
    page: str
    figures: Figures | None
    verified: bool
    seconds: Mapping[str, float]
    cut_short: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON object."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def text(self) -> str:
        """The last words of the demo; the very last line says how to go on with one's own parts."""
        steps = ", ".join(f"{name} {s:.0f} s" for name, s in self.seconds.items())
        return "\n".join([
            self._quality(),
            f"{'verified' if self.verified else 'NOT VERIFIED'} on every runtime here ({steps})",
            f"bundle  {self.bundle}",
            f"report  {self.page}  <- open this in a browser",
            *([self.cut_short] if self.cut_short else []),
            "Your own parts: edge-sdk train FOLDER_OF_GOOD_PHOTOS --out mine.edge --time-budget 10min",
        ])  # fmt: skip

    def _quality(self) -> str:
        told = self.figures
        if told is None or told.auroc is None or told.misses is None:
            return "quality was not measured: the report says why"
        return (
            f"AUROC {told.auroc:.3f}; at the bundle's threshold {told.defects - told.misses} of {told.defects} defects "
            f"are found, {told.false_rejects} of {told.good} good ones rejected"
        )


def demo(
    out: Path, family: Family, *, time_budget_s: float, seed: int, timed: Sequence[str] | None = None,
    progress: Progress,
) -> Shown:  # fmt: skip
    """Trains on the family's own pictures, packs, verifies, judges, profiles: `out`/demo.edge and `out`/report.html.

    timed: variants whose latency is measured, some ten seconds each; None = `speeds.worth_timing`.
    """
    if out.exists() and not out.is_dir():
        raise BadUsage(f"--out {out} is a file", do="Name a folder")
    atomic.folder(out)
    began, seconds = time.monotonic(), {}

    def lap(name: str) -> None:
        nonlocal began
        now = time.monotonic()
        seconds[name], began = now - began, now

    run, shown = out / "run", family.demo_pictures
    if run.exists():  # a demo starts from nothing; `train` is what resumes
        with locks.exclusive(
            run, what=builder.WORK, do="Wait until it is done, end it, or name another folder with --out"
        ):
            pass
        shutil.rmtree(run)
    with resources.as_file(shown.folder) as folder:
        data = read_pictures(folder)
        options = TrainOptions(
            width=shown.side, height=shown.side, steps=shown.steps, time_budget_s=time_budget_s, seed=seed,
            holdout=shown.holdout,
        )  # fmt: skip
        wanted = builder.BuildOptions(
            name=shown.name, out=out / "demo.edge", rate=shown.rate, licence=shown.licence, overwrite=True
        )
        planned = builder.plan(family, data, options, wanted, folder=run)
        built = builder.make(planned, progress=progress, lap=lap)
        verified = verify(built.path, progress=progress)
        lap("verify")
        rows = speeds.measured_rows(built.rows, speeds.worth_timing() if timed is None else timed, verified)
        latency = speeds.latencies(built.path, rows, progress=progress)
        ratios = speeds.ratios(built.path, rows, progress=progress)
        lap("profile")
        pictures = report.shots_of(built.path, verified, data.test)
    measured = report.Measured(latency=latency, ratios=ratios, verified=verified, machine=machine())
    page = out / "report.html"
    report.write(page, built, measured, pictures)
    lap("report")
    row = next((r for r in built.rows if r.reference), None)
    return Shown(
        bundle=str(built.path), page=str(page), figures=None if row is None else row.by_picture,
        verified=verified.passed, seconds=seconds, cut_short=_cut_short(built.trained, shown.steps),
    )  # fmt: skip


def _cut_short(trained: Trained, wanted: int | None) -> str:
    if wanted is None or trained.steps >= wanted:
        return ""
    return (
        f"Only {trained.steps} of {wanted} training steps fitted into the time: the machine is busy or slow, and the "
        "figures above are worse for it. Give it more with --time-budget"
    )


def machine() -> dict[str, str]:
    """What a reader must know about the machine behind a figure."""
    cpu = probe.cpu()
    return {
        "cpu": f"{cpu.model or platform.processor() or 'unknown'} ({len(cpu.affinity)} logical cores here)",
        "instruction set": cpu.isa, "threads": str(probe.default_threads()),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }  # fmt: skip
