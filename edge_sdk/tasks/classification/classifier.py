"""The classification predictor: a picture or named arrays to probabilities of classes. Knows no family."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput
from edge_sdk.shown import shown
from edge_sdk.stages import Stages
from edge_sdk.tasks.base import MODEL, Loaded, Running, several
from edge_sdk.tasks.classification.result import Classification
from edge_sdk.tasks.classification.scores import (
    ClassificationSettings,
    looks_like_probabilities,
    output_of,
    probabilities_of,
)
from edge_sdk.tasks.images import batch_of
from edge_sdk.tasks.sources import Fed, Source, Sources
from edge_sdk.tensors import Array, batch_size

TWICE = "the scores look like probabilities, and the bundle says they are logits: softmax may have been applied twice"
ONE_COLOUR = "every pixel has the same value: check the camera"


class Classifier(Running[Source, Classification]):
    """A loaded classification bundle. `predict` may be called from any thread; use it as a context manager, or `close`
    it. labels: of the classes, in the order of the probabilities. inputs: of the graph."""

    noun: ClassVar[str] = "classifier"

    def __init__(self, loaded: Loaded, settings: ClassificationSettings) -> None:
        super().__init__(loaded)
        self._settings, self._sources = settings, Sources(loaded)
        self.labels, self.inputs = settings.labels, self._sources.inputs
        self._output = output_of(settings, self._sources.outputs).name

    @property
    def takes_pictures(self) -> bool:
        """Whether `predict` takes a picture: the bundle has preprocessing."""
        return self._sources.takes_pictures

    def predict(self, source: Source, /) -> Classification:
        """One sample. Of a bundle with preprocessing a picture: a path, encoded bytes, a PIL picture, or an array uint8
        or uint16 (H, W), (H, W, 3), (H, W, 4), in the colour order given to `load`. Otherwise arrays by input name, or
        an .npz file of them, with one row.

        Raises BadInput that names the picture or array, CheckFailed (the runtime's answer is not finite, or no set of
        probabilities), BadUsage (closed, loaded in another process).
        """
        self.require_open()
        clock = Stages()
        fed = self._taken(source, clock)
        scores = clock("infer", self._scores, fed.feeds)
        result = clock("postprocess", self._read, scores, fed)
        return replace(result, ran=self.run_info(clock))

    def predict_batch(self, sources: Iterable[Source], /) -> tuple[Classification, ...]:
        """Several samples, in order; those of one shape run together, up to the `max_batch` given to `load`. Stage
        times are per batch."""
        self.require_open()
        clock = Stages()
        given = batch_of(sources) if self.takes_pictures else list(several(sources))
        batch = [self._taken(source, clock) for source in given]
        if not batch:
            return ()
        rows = clock("infer", self._rows, batch)
        results = [clock("postprocess", self._read, row, fed) for row, fed in zip(rows, batch, strict=True)]
        ran = self.run_info(clock)
        return tuple(replace(result, ran=ran) for result in results)

    def _taken(self, source: Source, clock: Stages) -> Fed:
        fed = self._sources.take(source, clock)
        if (count := batch_size(fed.feeds, self.inputs)) not in (None, 1):
            raise BadInput(
                f"these arrays have {count} rows, predict takes one sample", where=shown(fed.file),
                hint="Write one .npz file for each sample" if fed.file
                else "Use predict_batch, with the arrays of one sample each",
            )  # fmt: skip
        return fed

    def _rows(self, batch: Sequence[Fed]) -> list[NDArray[Any]]:
        """Class scores (1, classes) of each. A graph without a batch axis, or samples of several shapes, run alone."""
        shapes = [{name: array.shape for name, array in fed.feeds.items()} for fed in batch]
        if not all(spec.batched for spec in self.inputs) or any(shape != shapes[0] for shape in shapes):
            return [self._scores(fed.feeds) for fed in batch]
        together = {name: np.concatenate([fed.feeds[name] for fed in batch]) for name in shapes[0]}
        return list(self._scores(together)[:, None])

    def _scores(self, feeds: dict[str, Array]) -> NDArray[Any]:
        """Class scores (rows, classes), as the graph answers them."""
        return np.atleast_2d(self.run(MODEL, feeds)[self._output])

    def _read(self, scores: NDArray[Any], fed: Fed) -> Classification:
        """The answer to one row of scores (1, classes)."""
        taken, name = fed.taken, fed.file if fed.taken is None else fed.taken.name
        (probabilities,) = probabilities_of(scores, self._settings.scores, where=name)
        probabilities.setflags(write=False)
        notes = [*fed.notes]
        if taken is not None and taken.one_colour:
            notes.append(ONE_COLOUR)
        if self._settings.scores == "logits" and looks_like_probabilities(scores):
            notes.append(TWICE)
        return Classification(
            probabilities=probabilities, labels=self.labels, ran=self._ran, top_count=self._settings.top, source=name,
            file=None if taken is None else taken.file, picture=taken is not None, notes=tuple(notes),
            bit_depth=self._sources.bit_depth,
        )  # fmt: skip

    def explain_task(self) -> Sequence[str]:
        how = "softmax of" if self._settings.scores == "logits" else "checked:"
        return (f"classes    {len(self.labels)}, {how} the output {shown(self._output)}",)
