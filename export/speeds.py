"""Latency and speed ratios of a bundle's rows for the report. Knows the profiler and the predictor, no family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_sdk.export.figures import Row
from edge_sdk.loading import load
from edge_sdk.profiling.compare import CompareOptions, compare
from edge_sdk.profiling.predicting import ring
from edge_sdk.profiling.processes import Side
from edge_sdk.profiling.run import ProfileOptions, ProfileReport, profile
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes import probe, targets
from edge_sdk.runtimes.probe import default_threads
from edge_sdk.verify import VerifyReport

Key = tuple[str, str]
"""(variant, runtime): which row of the table."""

QUICK = ProfileOptions(min_time_s=2.0, max_time_s=7.0, percentiles=(0.9, 0.99))
"""Seconds a row: enough calls for a p99 of anything below 10 ms."""
FACTORY = "edge_sdk.profiling.predicting:predict"


def worth_timing() -> tuple[str, ...]:
    """fp32, and the int8 variant that suits this CPU, if any does."""
    of_cpu = targets.detect(probe.cpu(), ()).variants
    return ("fp32", *[name for name in of_cpu if name.startswith("int8")][:1])


def measured_rows(rows: Sequence[Row], variants: Sequence[str], verified: VerifyReport) -> list[Row]:
    """The rows to time: of each variant and runtime the layout that `load` would take, if its answers are right."""
    right = {(r.variant, r.layout, r.runtime) for r in verified.rows if r.passed}
    return [
        r for r in rows
        if r.variant in variants and targets.layouts(r.runtime, r.variant)[0] == r.layout
        and (r.variant, r.layout, r.runtime) in right
    ]  # fmt: skip


def latencies(bundle: Path, rows: Sequence[Row], *, progress: Progress = silent) -> dict[Key, ProfileReport]:
    """The single-stream profile of each row, one after the other."""
    out = {}
    for row in rows:
        told = _noted(progress, f"timing {row.variant} on {row.runtime}")
        with load(bundle, variant=row.variant, runtime=row.runtime) as detector:
            subject = {"bundle_sha256": detector.bundle.digest, "variant": row.variant}
            out[row.variant, row.runtime] = profile(
                detector, ring(detector.bundle), options=QUICK, subject=subject, progress=told
            )
    return out


def _noted(progress: Progress, note: str) -> Progress:
    def told(done: int, total: int, _: str) -> None:
        progress(min(done, total), total, note)

    return told


def ratios(
    bundle: Path, rows: Sequence[Row], *, max_time_s: float = 10.0, progress: Progress = silent
) -> Mapping[Key, str]:
    """How many times faster than fp32 in the same runtime, with its interval: two processes, interleaved."""
    out: dict[Key, str] = {}
    jobs = [
        r for r in rows if r.variant != "fp32" and any(f.variant == "fp32" and f.runtime == r.runtime for f in rows)
    ]
    for done, row in enumerate(jobs):
        progress(done, len(jobs), f"comparing {row.variant} with fp32 on {row.runtime}")
        a, b = (_side(bundle, variant, row.runtime) for variant in ("fp32", row.variant))
        p = compare(a, b, options=CompareOptions(max_time_s=max_time_s, pairs=(100,))).ratios.p
        out[row.variant, row.runtime] = f"{1 / p.value:.2f}x [{1 / p.high:.2f}, {1 / p.low:.2f}]"
    progress(len(jobs), len(jobs), "compared")
    return out


def _side(bundle: Path, variant: str, runtime: str) -> Side:
    arguments = {"bundle": str(bundle), "variant": variant, "runtime": runtime}
    return Side(name=f"{variant} on {runtime}", factory=FACTORY, arguments=arguments, threads=default_threads())
