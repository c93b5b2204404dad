"""Class scores of every variant on every runtime, for the samples of an evaluation. Knows graphs; no label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_sdk.calibration import Variant
from edge_sdk.export.each_runtime import RanOn, Tick, on_each_runtime
from edge_sdk.golden import answers
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes.protocol import Session
from edge_sdk.tasks.classification.scores import ScoreKind, probabilities_of
from edge_sdk.tensors import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassScores(RanOn):
    """scores: as the graph answers them, float64 (samples, classes). probabilities: of them, float32, same shape. None
    where the graph did not run, or answered no probabilities (`problem`)."""

    scores: NDArray[np.float64] | None = None
    probabilities: NDArray[np.float32] | None = None


def score_all(
    variants: Sequence[Variant], samples: Iterable[Mapping[str, Array]], output: str, kind: ScoreKind, *, count: int,
    axes: Mapping[str, int] | None = None, threads: int | None = None, progress: Progress = silent,
) -> list[ClassScores]:  # fmt: skip
    """Every variant on every runtime that is here, in the layout that `load` takes there.

    samples: feeds, as often as asked; rows of a batch run one at a time, as in `predict`. count: of samples, for the
    progress. output: the one that holds the class scores. axes, threads: as in `CompileOptions`.
    """

    def work(session: Session, variant: Variant, tick: Tick) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        found = []
        for feeds in samples:
            found.append(np.atleast_2d(answers(session, feeds)[output]).astype(np.float64))
            tick()
        scores = np.concatenate(found)
        return scores, probabilities_of(scores, kind, where=variant.variant)

    each = on_each_runtime(
        variants, count, work, doing="classifying with", threads=threads, axes=axes, progress=progress
    )
    out = []
    for ran, found in each:
        scores, probabilities = found or (None, None)
        out.append(ClassScores(**ran.facts(), scores=scores, probabilities=probabilities))
    return out
