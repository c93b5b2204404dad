"""The demo: every step of the product on real pictures that ship, and a page that shows it. Offline."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from edge_sdk.errors import BadUsage
from edge_sdk.export import build as builder
from edge_sdk.export import registry, report, speeds
from edge_sdk.export.family import TrainOptions
from edge_sdk.export.pictures import read_pictures
from edge_sdk.loading import load
from edge_sdk.progress import Progress
from edge_sdk.runtimes import probe
from edge_sdk.verify import verify

LICENCE = (
    "Pictures: toy aliens from aws-samples/amazon-lookout-for-vision, Copyright Amazon.com, Inc. or its affiliates, "
    "CC BY-SA 4.0; scaled and re-encoded."
)
RATE = "10%"
"""The false-reject rate that the few good parts of the demo support."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the demo made. seconds: by step."""

    bundle: str
    page: str
    auroc: float
    found: int
    defects: int
    rejected: int
    good: int
    verified: bool
    seconds: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON object."""
        return asdict(self)

    def text(self) -> str:
        """The last words of the demo; the very last line says how to go on with one's own parts."""
        steps = ", ".join(f"{name} {s:.0f} s" for name, s in self.seconds.items())
        return "\n".join([
            f"AUROC {self.auroc:.3f}; at the bundle's threshold {self.found} of {self.defects} damaged toys are found, "
            f"{self.rejected} of {self.good} good ones rejected",
            f"{'verified' if self.verified else 'NOT VERIFIED'} on every runtime here ({steps})",
            f"bundle  {self.bundle}",
            f"report  {self.page}  <- open this in a browser",
            "Your own parts: edge-sdk train FOLDER_OF_GOOD_PHOTOS --out mine.edge --time-budget 10min",
        ])  # fmt: skip


def demo(out: Path, *, family: str, time_budget_s: float, seed: int, progress: Progress) -> Shown:
    """Trains on the shipped toys, packs, verifies, judges, profiles; writes `out`/demo.edge and `out`/report.html."""
    if out.exists() and not out.is_dir():
        raise BadUsage(f"--out {out} is a file", do="Name a folder")
    out.mkdir(parents=True, exist_ok=True)
    began, seconds = time.monotonic(), {}

    def lap(name: str) -> None:
        nonlocal began
        now = time.monotonic()
        seconds[name], began = now - began, now

    maker = registry.family(family)
    run = out / "run"
    if run.exists():
        shutil.rmtree(run)  # a demo starts from nothing; `train` is what resumes
    with resources.as_file(resources.files("edge_sdk.export.efficientad").joinpath("aliens")) as folder:
        data = read_pictures(folder)
        options = TrainOptions(time_budget_s=time_budget_s, seed=seed, holdout=0.27, quantiles=0.1)
        trained = maker.train(data, options, folder=run, progress=progress)
        lap("training")
        wanted = builder.BuildOptions(name="Toy aliens", out=out / "demo.edge", rate=RATE, licence=LICENCE)
        built = builder.build(maker, data, trained, wanted, progress=progress)
        lap("export, int8, quality")
        verified = verify(built.path, progress=progress)
        lap("verify")
        timed = speeds.measured_rows(built.rows, ("fp32", "int8"))
        latency = speeds.latencies(built.path, timed, progress=progress)
        ratios = speeds.ratios(built.path, timed, progress=progress)
        lap("profile")
        with load(built.path) as detector:
            pictures = report.shots(detector, data.test)
    measured = report.Measured(latency=latency, ratios=ratios, verified=verified, machine=machine())
    page = out / "report.html"
    report.write(page, built, trained, measured, pictures)
    lap("report")
    first = built.rows[0]
    return Shown(
        bundle=str(built.path), page=str(page), auroc=first.auroc or 0.0, found=first.defects - (first.misses or 0),
        defects=first.defects, rejected=first.false_rejects or 0, good=first.good, verified=verified.passed,
        seconds=seconds,
    )  # fmt: skip


def machine() -> dict[str, str]:
    """What a reader must know about the machine behind a figure."""
    cpu = probe.cpu()
    return {
        "cpu": f"{cpu.model or platform.processor() or 'unknown'} ({len(cpu.affinity)} logical cores here)",
        "instruction set": cpu.isa, "threads": str(probe.default_threads()),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }  # fmt: skip
