"""What every variant draws on every runtime, from the same seeds: beside fp32's pictures and beside real ones.

A variant that falls apart is refused here, with the figure that broke: others export int8 that draws one grey picture
and say nothing. Knows graphs and measures; no family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_sdk.calibration import Variant
from edge_sdk.export.each_runtime import RanOn, Tick, on_each_runtime
from edge_sdk.export.tasks.generation import measures
from edge_sdk.export.tasks.generation.measures import Paired
from edge_sdk.export.tasks.generation.real import FRECHET, RECALL, Real
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes.protocol import Session
from edge_sdk.tasks.generation.asked import Asked, GenerationSettings, label_among
from edge_sdk.tasks.generation.generator import BATCH_ROWS, feeds_of
from edge_sdk.tensors import BATCH

SEED = 2**62 + 2**61
"""Of the pictures that are measured: neither golden ones nor those that calibrated."""
SPREAD, SHARE, DISTANCE, DECIBELS = 0.7, 0.5, 1.5, 15.0
"""Limits of a collapse. Of fp32's spread between pictures, the share that has to be left, either way round; of a
class's pictures, the share that may come or go; of fp32's Frechet distance, the factor that it may grow by; dB that a
picture keeps of fp32's."""
FLOOR = 0.05
"""Of the real pictures' total variance of features: Frechet distances that differ by less are not told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(RanOn):
    """One variant on one runtime. count: of pictures. spread: between them, grey levels. quality: what `Real.of`
    answers, {} = there are no real pictures. paired: beside the pictures of the first row, None = it is the first, or
    did not run. collapsed: which figure broke, "" = none."""

    count: int = 0
    spread: float = 0.0
    quality: Mapping[str, float] | None = None
    paired: Paired | None = None
    collapsed: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def rows_of(
    variants: Sequence[Variant], settings: GenerationSettings, shape: Sequence[int], real: Real | None, *, count: int,
    rows: int = BATCH_ROWS, threads: int | None = None, progress: Progress = silent,
) -> list[Row]:  # fmt: skip
    """Every variant on every runtime that is here; fp32 comes first in `variants`. shape: of one picture's noise.
    rows: pictures of one call."""
    classes = len(settings.labels)
    asked = [Asked(seed=SEED, index=at, label=label_among(at, count, classes)) for at in range(count)]
    batches = [asked[at : at + rows] for at in range(0, count, rows)]

    def work(session: Session, variant: Variant, tick: Tick) -> NDArray[np.uint8]:
        parts = []
        for batch in batches:
            parts.append(np.array(session.run(feeds_of(batch, shape, settings))[settings.image_output], np.uint8))
            tick()
        return np.concatenate(parts)

    each = on_each_runtime(
        variants, len(batches), work, doing="drawing with", threads=threads, axes={BATCH: rows},
        progress=progress,
    )  # fmt: skip
    first: NDArray[np.uint8] | None = None
    out: list[Row] = []
    for ran, pictures in each:
        if pictures is None:
            out.append(Row(**ran.facts()))
            continue
        row = Row(
            **ran.facts(), count=count, spread=measures.spread_of(pictures),
            quality=real.of(pictures) if real is not None else {},
            paired=None if first is None else measures.paired(first, pictures),
        )  # fmt: skip
        first = pictures if first is None else first
        reference = out[0] if out else row
        out.append(_compared(row, reference, real))
    return out


def _compared(row: Row, reference: Row, real: Real | None) -> Row:
    """With the figure that broke, beside the first row."""
    return row if row is reference else replace(row, collapsed=collapse(row, reference, real))


def collapse(row: Row, reference: Row, real: Real | None) -> str:
    """Which figure of a variant falls apart beside the reference, in words; "" = none."""
    left = row.spread / max(reference.spread, 1e-9)
    if not SPREAD <= left <= 1.0 / SPREAD:
        return f"its pictures differ by {row.spread:.1f} grey levels, those of fp32 by {reference.spread:.1f}"
    if row.paired is not None and row.paired.psnr_db < DECIBELS:
        return f"its pictures are only {row.paired.psnr_db:.1f} dB from those of fp32, {DECIBELS:g} dB are the least"
    now, then = row.quality or {}, reference.quality or {}
    for name, words in (("least_class", "least"), ("most_class", "most")):
        if name in now and abs(now[name] - then[name]) > SHARE:
            return (
                f"the share of the {words} frequent class is {now[name]:.2f} of its real one, of fp32 {then[name]:.2f}"
            )
    if real is not None and FRECHET in now:
        floor = FLOOR * float(np.trace(real.statistics.covariance))
        if now[FRECHET] > DISTANCE * then[FRECHET] + floor:
            return f"its Frechet distance from real pictures is {now[FRECHET]:.3g}, of fp32 {then[FRECHET]:.3g}"
        if then[RECALL] - now[RECALL] > SHARE:
            return f"it covers {100 * now[RECALL]:.0f} % of the real pictures, fp32 {100 * then[RECALL]:.0f} %"
    return ""
