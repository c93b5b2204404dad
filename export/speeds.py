"""Latency and speed ratios of a bundle's variants for the report. Knows the profiler; no family and no task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_sdk.loading import load
from edge_sdk.profiling.compare import CompareOptions, compare
from edge_sdk.profiling.predicting import workload
from edge_sdk.profiling.processes import Side
from edge_sdk.profiling.run import ProfileOptions, ProfileReport, profile
from edge_sdk.profiling.warmup import WarmupOptions
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes import probe, targets
from edge_sdk.runtimes.probe import default_threads
from edge_sdk.runtimes.variants import is_int8
from edge_sdk.verify import VerifyReport

Key = tuple[str, str]
"""(variant, runtime)."""

QUICK = ProfileOptions(min_time_s=1.0, max_time_s=2.5, percentiles=(0.9, 0.99), warmup=WarmupOptions(max_s=2.0))
"""Of each variant and runtime: the 64 calls of a p90 fit up to 39 ms each, the 662 of a p99 up to 3.7 ms. Two cores
spend most of a demo on training, and `edge-sdk profile` measures for longer.
"""
PAIRED = CompareOptions(max_time_s=4.0, pairs=(100,), warmup=WarmupOptions(max_s=2.0))
"""Of each ratio: it ends as soon as it decides, and its interval says how much that was worth."""
FACTORY = "edge_sdk.profiling.predicting:predict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times faster than fp32: value with its 95 % interval. pairs: of blocks of calls, one of each side,
    measured in `seconds`."""

    value: float
    low: float
    high: float
    pairs: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.value:.2f}x [{self.low:.2f}, {self.high:.2f}]"

    @property
    def measured(self) -> str:
        """What the interval rests on."""
        return f"{self.pairs} pairs of blocks of calls, one block of each variant, in {self.seconds:.1f} s"

    def to_json(self) -> dict[str, float]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Speeds:
    """latency: single stream, one call after the other. ratios: to fp32 in the same runtime."""

    latency: Mapping[Key, ProfileReport]
    ratios: Mapping[Key, Ratio]


def worth_timing() -> tuple[str, ...]:
    """fp32, and the int8 variant that suits this CPU, if any does."""
    of_cpu = targets.detect(probe.cpu(), ()).variants
    return ("fp32", *[name for name in of_cpu if is_int8(name)][:1])


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
    for number, (variant, runtime) in enumerate(keys, start=1):
        shown = _noted(progress, f"timing {variant} on {runtime} ({number} of {len(keys)})")
        with load(bundle, variant=variant, runtime=runtime) as predictor:
            subject = {"bundle_sha256": predictor.bundle.digest, "variant": variant}
            out[variant, runtime] = profile(
                predictor, workload(predictor), options=QUICK, subject=subject, progress=shown
            )
    return out


def _noted(progress: Progress, note: str) -> Progress:
    def noted(done: int, total: int, phase: str) -> None:
        progress(min(done, total), total, f"{note}: {phase}")

    return noted


def ratios(
    bundle: Path, keys: Sequence[Key], *, options: CompareOptions = PAIRED, progress: Progress = silent
) -> Mapping[Key, Ratio]:
    """How many times faster than fp32 in the same runtime, with its interval: two processes, interleaved."""
    out: dict[Key, Ratio] = {}
    jobs = [(variant, runtime) for variant, runtime in keys if variant != "fp32" and ("fp32", runtime) in keys]
    for done, (variant, runtime) in enumerate(jobs):
        progress(done, len(jobs), f"comparing {variant} with fp32 on {runtime}")
        a, b = (_side(bundle, one, runtime) for one in ("fp32", variant))
        of = compare(a, b, options=options)
        out[variant, runtime] = Ratio(
            value=of.speedup, low=1 / of.ratios.p.high, high=1 / of.ratios.p.low, pairs=of.ratios.pairs,
            seconds=of.seconds,
        )  # fmt: skip
    progress(len(jobs), len(jobs), "compared")
    return out


def _side(bundle: Path, variant: str, runtime: str) -> Side:
    arguments = {"bundle": str(bundle), "variant": variant, "runtime": runtime}
    return Side(name=f"{variant} on {runtime}", factory=FACTORY, arguments=arguments, threads=default_threads())
