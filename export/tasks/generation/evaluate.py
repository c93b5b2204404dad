"""What every variant draws on every runtime, from the same seeds: beside fp32's pictures and beside real ones.

A variant that falls apart is refused here, with the figure that broke: others export int8 that draws one grey picture
and say nothing. Knows graphs and measures; no family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_sdk.calibration import Variant
from edge_sdk.export.each_runtime import RanOn, Tick, on_each_runtime
from edge_sdk.export.tasks.generation import measures
from edge_sdk.export.tasks.generation.measures import Paired
from edge_sdk.export.tasks.generation.real import FRECHET, RECALL, Real
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions, Session
from edge_sdk.tasks.generation.asked import Asked, GenerationSettings, label_among
from edge_sdk.tasks.generation.generator import BATCH_ROWS, feeds_of
from edge_sdk.tensors import BATCH

SEED = 2**62 + 2**61
"""Of the pictures that are measured: neither golden ones nor those that calibrated."""
SPREAD, SHARE, DISTANCE = 0.7, 0.5, 1.5
"""Limits of a collapse. Of fp32's spread between pictures, the share that has to be left, either way round; of a
class's pictures, the share that may come or go; of fp32's Frechet distance, the factor that it may grow by."""
CHECKED = 512
"""Pictures that are computed by the letter, at most."""
LETTER = "ONNX to the letter"
"""Instead of a runtime's name, of rows that ONNX Runtime computes without optimisation."""
Work: TypeAlias = Callable[[Session, Variant, Tick, int], NDArray[np.uint8]]
LEAST_SPREAD, LEAST_RECALL = 1.0, 0.5
"""Of fp32: grey levels between pictures, and the share of the real ones, below which a warning is said."""
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

    def work(session: Session, variant: Variant, tick: Tick, most: int = count) -> NDArray[np.uint8]:
        parts = []
        for batch in batches[: -(-most // rows)]:
            parts.append(np.array(session.run(feeds_of(batch, shape, settings))[settings.image_output], np.uint8))
            tick()
        return np.concatenate(parts)[:most]

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
    if first is not None:
        out += [_by_the_letter(one, first, work, rows) for one in variants if _only_wrong_here(one, out)]
    return out


def _only_wrong_here(variant: Variant, rows: Sequence[Row]) -> bool:
    """Whether this CPU computes the variant wrongly wherever it runs, so that no row tells what it draws elsewhere."""
    mine = [row for row in rows if row.variant == variant.variant]
    return bool(mine) and all(row.unusable for row in mine)


def _by_the_letter(variant: Variant, first: NDArray[np.uint8], work: Work, rows: int) -> Row:
    """What a graph means by the standard, without a runtime's optimisations: slow, so on CHECKED pictures at most. They
    are held against as many of the first row's; other measures depend on how many there are."""
    wanted = first[:CHECKED]
    row = Row(variant=variant.variant, layout=variant.layout, runtime=LETTER, size_bytes=len(variant.graph))
    options = CompileOptions(reference=True, graph_name=variant.variant, axes={BATCH: rows})
    session = registry.runtime("onnxruntime").compile(variant.graph, options)
    try:
        pictures = work(session, variant, lambda: None, len(wanted))
    finally:
        session.close()
    row = replace(
        row, count=len(wanted), spread=measures.spread_of(pictures), quality={},
        paired=measures.paired(wanted, pictures),
    )  # fmt: skip
    reference = replace(row, spread=measures.spread_of(wanted), paired=None)
    return replace(row, collapsed=collapse(row, reference, None))


def doubts(rows: Sequence[Row]) -> list[str]:
    """What is wrong with the generator itself, in words: fp32's pictures, which nothing refuses."""
    first = next(iter(rows), None)
    if first is None or first.problem:
        return []
    found, quality = [], first.quality or {}
    if first.spread < LEAST_SPREAD:
        found.append(f"all pictures are nearly the same: they differ by {first.spread:.2f} grey levels")
    if quality.get("least_class", 1.0) < SHARE:
        found.append(f"the rarest class is drawn {quality['least_class']:.2f} times as often as it is real")
    if quality.get(RECALL, 1.0) < LEAST_RECALL:
        found.append(f"only {100 * quality[RECALL]:.0f} % of the real pictures are covered: train longer")
    return found


def _compared(row: Row, reference: Row, real: Real | None) -> Row:
    """With the figure that broke, beside the first row."""
    return row if row is reference else replace(row, collapsed=collapse(row, reference, real))


def collapse(row: Row, reference: Row, real: Real | None) -> str:
    """Which figure of a variant falls apart beside the reference, in words; "" = none."""
    left = row.spread / max(reference.spread, 1e-9)
    if not SPREAD <= left <= 1.0 / SPREAD:
        return f"its pictures differ by {row.spread:.1f} grey levels, those of fp32 by {reference.spread:.1f}"
    if row.paired is not None and (away := 255.0 * 10.0 ** (-row.paired.psnr_db / 20.0)) > reference.spread:
        return (
            f"its pictures are {away:.1f} grey levels from those that fp32 draws from the same seeds, which differ by "
            f"{reference.spread:.1f} from each other"
        )
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
