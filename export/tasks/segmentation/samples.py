"""Calibration samples of a segmenter's graphs: pictures, and prompts made of what is marked on them. Knows no family.

The decoder's samples hold what the float encoder answers, and the refiner's what the float decoder does, since that is
what they will be fed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.export.family import Exported
from edge_sdk.export.pack import axes_of
from edge_sdk.export.tasks.segmentation.annotations import BitMask
from edge_sdk.export.tasks.segmentation.prompting import box_of, innermost
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions, Session
from edge_sdk.tasks.base import Setup
from edge_sdk.tasks.segmentation.frame import Frame
from edge_sdk.tasks.segmentation.settings import ENCODER
from edge_sdk.tasks.segmentation.task import SegmentationTask
from edge_sdk.tensors import Array

PROMPTS = 8
"""Prompts of one sample at most: of segments spread evenly over those of a picture."""


KEEP_BYTES = 1 << 28
"""Of the encoder's answers: 64 of 4 MB each, as TinyViT at 1024 px gives them."""


class Marked(Protocol):
    """A picture with masks, from a file (`AnnotatedPicture`) or made by code. path: to name it."""

    @property
    def path(self) -> Path: ...
    def pixels(self) -> NDArray[np.uint8]: ...
    def masks(self, height: int, width: int) -> Iterator[BitMask]: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PromptSamples:
    """Samples of every role, of `count` pictures at most, spread evenly over `pictures`. Every second one is prompted
    with boxes, the others with points; a picture on which nothing is marked with its centre.

    What the float encoder answers is computed once and kept, as far as `keep_bytes` reach: decoder and refiner read
    their samples several times.
    """

    pictures: Sequence[Marked]
    exported: Exported
    setup: Setup
    count: int
    threads: int | None = None
    keep_bytes: int = KEEP_BYTES
    _encoded: dict[int, Mapping[str, Array]] = field(default_factory=dict, init=False, repr=False)

    def of(self, role: str) -> RoleSamples:
        """The samples of one role."""
        return RoleSamples(self, role)

    def __len__(self) -> int:
        return min(self.count, len(self.pictures))

    def feeds(self, role: str) -> Iterator[Mapping[str, Array]]:
        """One after another, the same in every pass."""
        roles = SegmentationTask.roles
        with ExitStack() as opened:
            sessions: dict[str, Session] = {}
            for before in roles[: roles.index(role)]:
                if before == ENCODER and len(self._encoded) == len(self):
                    continue
                graph = self.exported.graphs[before]
                options = CompileOptions(
                    graph_name=before, threads=self.threads, axes=axes_of(graph, self.setup.inputs[before])
                )
                sessions[before] = registry.runtime("onnxruntime").compile(graph.onnx, options)
                opened.callback(sessions[before].close)
            for number, at in enumerate(np.linspace(0, len(self.pictures) - 1, len(self)).astype(int)):
                yield self._feeds(role, number, self.pictures[at], sessions)

    def _feeds(self, role: str, number: int, picture: Marked, sessions: Mapping[str, Session]) -> Mapping[str, Array]:
        task = SegmentationTask()
        assert self.setup.preprocessing is not None  # `SegmentationTask.check` refuses a model without
        prepared = preprocess.apply(picture.pixels(), self.setup.preprocessing, where=str(picture.path))
        frame = Frame.of(prepared.geometry, self.setup.preprocessing.width)
        if role == ENCODER:
            return task.feeds_of(self.setup, prepared.tensor, frame, {}, role, {})
        source = _prompts(picture, frame, boxed=number % 2 == 0)
        answered: dict[str, Mapping[str, Array]] = {}
        if number in self._encoded:
            answered[ENCODER] = self._encoded[number]
        for before, session in sessions.items():
            if before not in answered:
                feeds = task.feeds_of(self.setup, prepared.tensor, frame, source, before, answered)
                answered[before] = session.run(feeds)
        self._keep(number, answered[ENCODER])
        return task.feeds_of(self.setup, prepared.tensor, frame, source, role, answered)

    def _keep(self, number: int, answer: Mapping[str, Array]) -> None:
        """All samples are of one size, so that the first says how many are kept."""
        size = sum(array.nbytes for array in answer.values())
        if (len(self._encoded) + 1) * size <= self.keep_bytes:
            self._encoded[number] = answer


@dataclass(frozen=True, slots=True, eq=False)
class RoleSamples:
    """Feeds of one role by picture; iterating again gives the same ones."""

    made: PromptSamples
    role: str

    def __len__(self) -> int:
        return len(self.made)

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        return self.made.feeds(self.role)


def _prompts(picture: Marked, frame: Frame, *, boxed: bool) -> dict[str, Array]:
    """Points or boxes of a stored source."""
    masks = [mask for mask in picture.masks(frame.height, frame.width) if mask.any()]
    if not masks:
        return {"points": np.array([[(frame.width - 1) / 2, (frame.height - 1) / 2]])}
    chosen = [masks[at] for at in np.unique(np.linspace(0, len(masks) - 1, PROMPTS).astype(int))]
    if boxed:
        return {"boxes": np.stack([box_of(mask) for mask in chosen])}
    return {"points": np.stack([innermost(mask)[None] for mask in chosen])}
