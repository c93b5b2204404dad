"""The anomaly predictor: picture to score, verdict, map and regions. Knows no family."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk.decision.threshold import Threshold, verdict
from edge_sdk.errors import BadInput, CheckFailed
from edge_sdk.preprocess import Grid
from edge_sdk.stages import Stages
from edge_sdk.tasks.anomaly.result import AnomalyResult
from edge_sdk.tasks.base import MODEL, Loaded, RunInfo, Running
from edge_sdk.tasks.images import Pictures, Source, Taken, batch_of

ANOMALY = "anomaly"
"""The task's name in manifests."""


class AnomalySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an anomaly bundle keeps in its manifest. grid: where the cells of its map lie. reduction: how the graph made
    its score of the map, in words."""

    grid: Grid
    reduction: str = ""


class AnomalyDetector(Running[Source, AnomalyResult]):
    """A loaded anomaly bundle. `predict` may be called from any thread; use it as a context manager, or `close` it."""

    noun: ClassVar[str] = "anomaly detector"

    def __init__(self, loaded: Loaded, settings: AnomalySettings) -> None:
        self.threshold: Threshold | None = loaded.bundle.in_force(Threshold)
        super().__init__(loaded, record=self.threshold.digest if self.threshold else "")
        self._grid, self._pictures = settings.grid, Pictures(loaded.bundle, color=loaded.color)
        self._input = loaded.models[MODEL].session.inputs[0].name

    def predict(self, source: Source, /) -> AnomalyResult:
        """One picture: a path, encoded bytes, a PIL picture, or an array uint8 or uint16 (H, W), (H, W, 3), (H, W, 4).

        Arrays are in the colour order given to `load`. Raises BadInput (the picture, one of a single colour too),
        CheckFailed (the runtime's answer is not finite), BadUsage (closed, loaded in another process).
        """
        self.require_open()
        clock = Stages()
        taken = self._pictures.take(source, clock)
        cells, scores = clock("infer", self._answer, taken.prepared.tensor)
        result = clock("postprocess", self._read, cells, scores, taken)
        return replace(result, ran=self.run_info(clock))

    def predict_batch(self, sources: Iterable[Source], /) -> tuple[AnomalyResult, ...]:
        """Several pictures, in order; run together up to the `max_batch` given to `load`. Stage times are per batch."""
        self.require_open()
        images = batch_of(sources)
        clock = Stages()
        batch = [self._pictures.take(image, clock) for image in images]
        if not batch:
            return ()
        cells, scores = clock("infer", self._answer, np.concatenate([one.prepared.tensor for one in batch]))
        results, at = [], 0
        for one in batch:
            end = at + len(one.prepared.tensor)
            results.append(clock("postprocess", self._read, cells[at:end], scores[at:end], one))
            at = end
        ran: RunInfo = self.run_info(clock)
        return tuple(replace(r, ran=ran) for r in results)

    def _answer(self, tensor: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(map cells (n, h, w), scores (n,)) of network inputs uint8 (n, h, w, 3)."""
        got = self.run(MODEL, {self._input: tensor})
        return got["map"], got["score"]

    def _read(self, cells: NDArray[np.float32], scores: NDArray[np.float32], taken: Taken) -> AnomalyResult:
        score = float(scores.max())  # several scores only for tiles: the highest decides
        if not (np.isfinite(score) and bool(np.isfinite(cells).all())):
            raise CheckFailed(
                f"the runtime answered score {score} and a map with {int(np.count_nonzero(~np.isfinite(cells)))} cells "
                "that are no number",
                where=taken.name,
                hint="Run edge-sdk verify on this device",
            )
        if taken.one_colour:
            # A camera without a signal, or with all of it saturated: a network may find such a picture good, and the
            # part would pass unseen. A dark picture with noise in it is not caught here, it is scored like any other.
            raise BadInput(
                "every pixel has the same value: this is not a picture of a part", where=taken.name,
                hint="Is the lens covered, the exposure wrong, or the camera without a signal?",
            )  # fmt: skip
        return AnomalyResult(
            score=score, verdict=verdict(score, self.threshold), cells=cells, grid=self._grid,
            geometry=taken.prepared.geometry, ran=self._ran, source=taken.name, file=taken.file,
            bit_depth=self._pictures.record.bit_depth, notes=taken.notes,
        )  # fmt: skip

    def explain_task(self) -> Sequence[str]:
        d = self.threshold
        if d is None:
            return ("decision   none",)
        of = f"; by the scores of {d.variant} on {d.runtime}" if d.variant else ""
        return (f"decision   {d.rule}, score > {d.threshold:.6g}, {d.words}{of}",)
