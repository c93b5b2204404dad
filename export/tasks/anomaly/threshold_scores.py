"""The scores behind a threshold: of each held-out picture the highest that any graph gives it on any runtime here.

A rate that holds for these scores holds for every graph: a graph with lower scores rejects less. Quantized scores
differ from fp32's by some percent, and a threshold just above an fp32 score would often reject it in int8.

Knows scores and graphs; no family, no test picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.calibration import Variant
from edge_sdk.counted import percent
from edge_sdk.export.anomaly.data import AnomalyTrained
from edge_sdk.export.pictures.store import PictureStore
from edge_sdk.export.tasks.anomaly.evaluate import VariantScores, prepared, score_all
from edge_sdk.progress import Progress, silent

FAR = 0.1
"""Of the largest score: a graph that is further off on one picture is wrong, and would only raise the threshold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdScores:
    """scores: one per held-out picture. variants, runtimes: whose, in words. warnings: what did not count, and why."""

    scores: tuple[float, ...]
    variants: str
    runtimes: str
    warnings: tuple[str, ...] = ()


def highest(
    trained: AnomalyTrained, variants: Sequence[Variant], store: PictureStore, record: Preprocessing, *,
    threads: int | None = None, progress: Progress = silent,
) -> ThresholdScores:  # fmt: skip
    """Of `trained.scores` and those of every variant on every runtime that takes it, without what is far from the
    former, and without what a known fault makes wrong on this CPU: `load` does not take it here."""
    inputs = prepared(trained.held_out, store, record, progress=progress)
    scored = score_all(variants, inputs, threads=threads, progress=progress)
    return of(trained.scores, trained.scored_by, [one for one in scored if not one.unusable])


def of(scores: Sequence[float], scored_by: str, scored: Sequence[VariantScores]) -> ThresholdScores:
    """scores: fp32's, one per picture, by `scored_by`; scored: the other graphs', of the same pictures. Graphs that
    did not run are in the table, not here."""
    own, scored = np.array(scores, np.float64), [one for one in scored if not one.problem]
    most = FAR * float(np.abs(own).max())
    counted = [one for one in scored if float(np.abs(one.scores - own).max()) <= most]
    left_out = [one for one in scored if not any(one is other for other in counted)]
    return ThresholdScores(
        scores=tuple(np.max([own, *(one.scores for one in counted)], axis=0).tolist()),
        variants=", ".join(dict.fromkeys(("fp32", *(one.variant for one in counted)))),
        runtimes=", ".join(dict.fromkeys((scored_by, *(one.runtime for one in counted)))),
        warnings=tuple(
            dict.fromkeys(
                f"the threshold does not count {one.variant} on {one.runtime}: its scores of good parts are off by up "
                f"to {percent(float(np.abs(one.scores - own).max()) / most * FAR, 0)} of the largest"
                for one in left_out
            )
        ),
    )
