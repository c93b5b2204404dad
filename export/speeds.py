"""Latency and speed ratios of a bundle's variants for the report. Knows the profiler; no family and no task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_sdk.loading import load
from edge_sdk.profiling.compare import CompareOptions, compare
from edge_sdk.profiling.predicting import workload
from edge_sdk.profiling.processes import Side
from edge_sdk.profiling.run import ProfileOptions, ProfileReport, profile
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes import probe, targets
from edge_sdk.runtimes.probe import default_threads
from edge_sdk.verify import VerifyReport

Key = tuple[str, str]
"""(variant, runtime)."""

QUICK = ProfileOptions(min_time_s=2.0, max_time_s=7.0, percentiles=(0.9, 0.99))
"""Seconds each: enough calls for a p99 of anything below 10 ms."""
FACTORY = "edge_sdk.profiling.predicting:predict"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Speeds:
    """latency: single stream, one call after the other. ratios: to fp32 in the same runtime, as words."""

    latency: Mapping[Key, ProfileReport]
    ratios: Mapping[Key, str]


def worth_timing() -> tuple[str, ...]:
    """fp32, and the int8 variant that suits this CPU, if any does."""
    of_cpu = targets.detect(probe.cpu(), ()).variants
    return ("fp32", *[name for name in of_cpu if name.startswith("int8")][:1])


def timed(verified: VerifyReport, variants: Sequence[str]) -> list[Key]:
    """What to time: each variant and runtime whose answers are right in every role, in the layout that `load` takes."""
    roles = {row.role for row in verified.rows}
    right: dict[Key, set[str]] = {}
    for row in verified.rows:
        liked = targets.layouts(row.runtime, row.variant)[0] == row.layout
        if row.variant in variants and row.passed and liked:
            right.setdefault((row.variant, row.runtime), set()).add(row.role)
    return [key for key, of_roles in right.items() if of_roles == roles]


def measured(bundle: Path, keys: Sequence[Key], *, progress: Progress = silent) -> Speeds:
    """Latencies, then ratios."""
    return Speeds(latency=latencies(bundle, keys, progress=progress), ratios=ratios(bundle, keys, progress=progress))


def latencies(bundle: Path, keys: Sequence[Key], *, progress: Progress = silent) -> dict[Key, ProfileReport]:
    """The single-stream profile of each, one after the other."""
    out = {}
    for variant, runtime in keys:
        shown = _noted(progress, f"timing {variant} on {runtime}")
        with load(bundle, variant=variant, runtime=runtime) as predictor:
            subject = {"bundle_sha256": predictor.bundle.digest, "variant": variant}
            out[variant, runtime] = profile(
                predictor, workload(predictor), options=QUICK, subject=subject, progress=shown
            )
    return out


def _noted(progress: Progress, note: str) -> Progress:
    def noted(done: int, total: int, _: str) -> None:
        progress(min(done, total), total, note)

    return noted


def ratios(
    bundle: Path, keys: Sequence[Key], *, max_time_s: float = 10.0, progress: Progress = silent
) -> Mapping[Key, str]:
    """How many times faster than fp32 in the same runtime, with its interval: two processes, interleaved."""
    out: dict[Key, str] = {}
    jobs = [(variant, runtime) for variant, runtime in keys if variant != "fp32" and ("fp32", runtime) in keys]
    for done, (variant, runtime) in enumerate(jobs):
        progress(done, len(jobs), f"comparing {variant} with fp32 on {runtime}")
        a, b = (_side(bundle, one, runtime) for one in ("fp32", variant))
        p = compare(a, b, options=CompareOptions(max_time_s=max_time_s, pairs=(100,))).ratios.p
        out[variant, runtime] = f"{1 / p.value:.2f}x [{1 / p.high:.2f}, {1 / p.low:.2f}]"
    progress(len(jobs), len(jobs), "compared")
    return out


def _side(bundle: Path, variant: str, runtime: str) -> Side:
    arguments = {"bundle": str(bundle), "variant": variant, "runtime": runtime}
    return Side(name=f"{variant} on {runtime}", factory=FACTORY, arguments=arguments, threads=default_threads())
